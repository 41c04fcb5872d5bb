"""What an instructor needs to know about each chapter, as Markdown."""

from collections.abc import Iterator

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.chapters import CHAPTERS
from redisflow_lab.lab.workshop.grading.stages import STAGES
from tools.guide.agendas import AGENDAS, Agenda
from tools.handouts.cells import answers_of, cells_of, extra_of, questions_of


def minutes_table() -> str:
    """One row for each chapter: what its minutes are for."""
    lines = [
        "| chapter | reading | predicting | exercises | all | extra |",
        "|---|---|---|---|---|---|",
    ]
    for chapter in CHAPTERS:
        lines.append(
            f"| {chapter.number} {chapter.title} | {chapter.reading} | {chapter.predicting} "
            f"| {chapter.solving} | {chapter.minutes} | {chapter.extra or ''} |"
        )
    return "\n".join(lines)


def chapters() -> str:
    """A section for each chapter."""
    return "\n\n".join("\n\n".join(_section(chapter)) for chapter in CHAPTERS)


def stages() -> str:
    """What the learner's own consumer can do at each stage, and where it is taught."""
    rows = [f"| {stage.number} | {stage.name} | {stage.taught} |" for stage in STAGES]
    return "\n".join(["| stage | the consumer | chapter |", "|---|---|---|", *rows])


def agendas() -> str:
    """A table for each plan, with the minute at which each part begins."""
    return "\n\n".join(map(_agenda, AGENDAS))


def _section(chapter: Chapter) -> Iterator[str]:
    yield f"### {chapter.number} {chapter.title}"
    needed = ", ".join(chapter.builds_on)
    needs = f" It builds on {needed}." if needed else ""
    yield f"**Afterwards people can:** {chapter.goal}{needs}"
    yield f"**The surprise.** {chapter.surprise}"
    yield "**Many people think**\n\n" + "\n".join(f"- {text}" for text in chapter.mistakes)
    cells = cells_of(chapter)
    answer, asked, extra = answers_of(cells), questions_of(cells), extra_of(cells)
    rows = "\n".join(
        f"| `{name}`{', extra' if name in extra else ''} | {asked[name]} | `{answer[name]}` "
        f"| {why} |"
        for name, why in chapter.predictions.items()
    )
    head = "| prediction | asked | answer | what to say to those who predicted something else |"
    yield f"{head}\n|---|---|---|---|\n{rows}"
    if chapter.exercises:
        tasks = "\n".join(
            f"| `{task.id}` | {task.minutes}{', extra' if task.extra else ''} | {task.goal} |"
            for task in chapter.exercises
        )
        yield f"| exercise | minutes | goal |\n|---|---|---|\n{tasks}"
    yield f"**If time is short.** {chapter.skippable}"
    yield f"**If it breaks.** {chapter.trouble}"


def _agenda(agenda: Agenda) -> str:
    rows = []
    for begins, item in agenda.times():
        what = f"*{item.what}*" if item.is_break else item.what
        rows.append(f"| {_time(begins)} | {item.minutes} | {what} |")
    head = f"### {agenda.title}\n\n| begins | minutes | |\n|---|---|---|"
    left = agenda.limit - agenda.minutes
    end = f"End, {left} minutes early" if left else "End"
    return "\n".join([head, *rows, f"| {_time(agenda.minutes)} | | {end} |"])


def _time(minute: int) -> str:
    return f"{minute // 60}:{minute % 60:02}"
