"""Writes the table of the chapters into README.md, from the definitions of the chapters.

python -m tools.course_table
"""

from collections.abc import Sequence
from pathlib import Path

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.chapters import CHAPTERS
from tools.marked import with_part

README = Path(__file__).parent.parent / "README.md"


def table() -> str:
    """The chapters as a Markdown table, with a row for each part before its chapters."""
    lines = [
        "| chapter | afterwards you can | you do | minutes |",
        "|---|---|---|---|",
    ]
    part = ""
    for chapter in CHAPTERS:
        if chapter.part != part:
            part = chapter.part
            of_part = [each for each in CHAPTERS if each.part == part]
            lines.append(f"| **{part}** | | | {_with_extra(of_part)} |")
        lines.append(_row(chapter))
    return "\n".join(lines) + "\n"


def with_table(text: str) -> str:
    """The text of the README with this table between its marks."""
    return with_part(text, "chapters", table())


def _row(chapter: Chapter) -> str:
    link = f"[{chapter.number} {chapter.title}](notebooks/{chapter.file})"
    return f"| {link} | {chapter.goal} | {_done(chapter)} | {_with_extra([chapter])} |"


def _done(chapter: Chapter) -> str:
    """What the learner does, such as "5 predictions, 3 exercises (1 of them extra)"."""
    counts = {"prediction": len(chapter.predictions), "exercise": len(chapter.exercises)}
    done = ", ".join(
        f"{count} {what}{'s' if count != 1 else ''}" for what, count in counts.items() if count
    )
    extra = sum(task.extra for task in chapter.exercises)
    return f"{done} ({extra} of them extra)" if extra else done


def _with_extra(chapters: Sequence[Chapter]) -> str:
    """The minutes of chapters, such as "29", or "29 (+ 4)" if they have extra sections."""
    minutes = sum(chapter.minutes for chapter in chapters)
    extra = sum(chapter.extra for chapter in chapters)
    return f"{minutes} (+ {extra})" if extra else f"{minutes}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
