"""What a learner has done, what is next, and where predictions were wrong."""

from typing import Any

from redisflow_lab.lab.views.tables import Table
from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.chapters import CHAPTERS
from redisflow_lab.lab.workshop.grading.stages import STAGES
from redisflow_lab.lab.workshop.progress import Progress


def scorecard(progress: Progress) -> Table:
    """One row for each chapter, and one for the learner's own consumer.

    Columns: chapter, predicted (right, of all), wrong (names of wrong predictions), exercises
    (passed, of all), next (exercise or stage).
    """
    predictions, tasks = progress.read_all("predictions"), progress.read_all("exercises")
    rows = [_row(chapter, predictions, tasks) for chapter in CHAPTERS]
    stages = progress.read_all("stages")
    passed = [stage for stage in STAGES if stages.get(stage.name, {}).get("passed")]
    ahead = [stage for stage in STAGES if stage not in passed]
    rows.append(
        {
            "chapter": "your consumer.py",
            "predicted": "-",
            "wrong": "",
            "exercises": f"{len(passed)} of {len(STAGES)} stages",
            "next": f"stage {ahead[0].number}: {ahead[0].name}" if ahead else "",
        }
    )
    table = Table(rows, columns=["chapter", "predicted", "wrong", "exercises", "next"])
    table.attrs["caption"] = "scorecard"
    return table


def _row(
    chapter: Chapter, predictions: dict[str, Any], tasks: dict[str, Any]
) -> dict[str, str]:
    known = {name: predictions.get(name, {}) for name in chapter.predictions}
    right = [name for name, found in known.items() if found.get("right")]
    wrong = [name for name, found in known.items() if found.get("right") is False]
    passed = [task for task in chapter.exercises if tasks.get(task.id, {}).get("passed")]
    ahead = [task.id for task in chapter.exercises if task not in passed]
    return {
        "chapter": f"{chapter.number} {chapter.title}",
        "predicted": f"{len(right)} of {len(known)}" if known else "-",
        "wrong": ", ".join(wrong),
        "exercises": f"{len(passed)} of {len(chapter.exercises)}" if chapter.exercises else "-",
        "next": ahead[0] if ahead else "",
    }
