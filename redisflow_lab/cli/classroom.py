"""The progress of a class, from the progress files of its learners."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.workshop.chapters import EXERCISES, PREDICTIONS
from redisflow_lab.lab.workshop.grading.stages import STAGES
from redisflow_lab.lab.workshop.progress import read_file


def class_table(files: Iterable[Path]) -> str:
    """A table as text, with one row for each file.

    Columns: learner (name of the file's folder); predicted and right (predictions); exercises
    and stages (passed, of all); next (exercise); tries (failed checks of it); hints (of three).
    A file that cannot be read has a row that says so.
    """
    rows = [_row(file) for file in files]
    table = pd.DataFrame(rows, dtype=object).fillna("")
    return table.to_string(index=False)


def _row(file: Path) -> dict[str, object]:
    row: dict[str, object] = {"learner": _learner(file)}
    try:
        content = read_file(file)
    except (OSError, ValueError) as error:
        return row | {"next": f"cannot be read: {printable(str(error), 60)}"}
    revealed = [
        known for name, known in content["predictions"].items()
        if name in PREDICTIONS and known.get("right") is not None
    ]  # fmt: skip
    tasks = content["exercises"]
    passed = [name for name in EXERCISES if tasks.get(name, {}).get("passed")]
    # The last exercise that was begun and not passed; else the first that was not passed.
    begun = [name for name in EXERCISES if name in tasks and name not in passed]
    ahead = [name for name in EXERCISES if name not in passed]
    present = (begun[-1:] or ahead[:1] or [""])[0]
    known = tasks.get(present, {})
    stages = [stage for stage in STAGES if content["stages"].get(stage.name, {}).get("passed")]
    return row | {
        "predicted": len(revealed),
        "right": sum(known["right"] is True for known in revealed),
        "exercises": f"{len(passed)} of {len(EXERCISES)}",
        "stages": f"{len(stages)} of {len(STAGES)}",
        "next": present,
        "tries": known.get("checks") or 0,
        "hints": known.get("hints") or 0,
    }


def _learner(file: Path) -> str:
    """The name of the nearest folder that is not a usual one; else the name of the file."""
    usual = {"work", "redisflow-lab", ""}
    names = [part.name for part in file.absolute().parents if part.name not in usual]
    return printable(names[0] if file.name == "progress.json" and names else file.stem, 40)
