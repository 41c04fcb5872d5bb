"""Copies the chapters to a folder, for people without a clone of the repository."""

from pathlib import Path

import redisflow_lab
from redisflow_lab.lab.workshop.learner.copies import Copies

PACKAGE = Path(redisflow_lab.__file__).parent


def chapters() -> Path:
    """The folder of the notebooks: in the wheel, or beside the package in a clone."""
    carried = PACKAGE / "notebooks"
    return carried if carried.exists() else PACKAGE.parent / "notebooks"


def lay_course(folder: Path, reset: str, for_colab: bool) -> list[str]:
    """Copy the chapters to a folder, or restore one of them. Returns the lines to print.

    reset:     the number of the chapter to restore; empty to update all unchanged ones
    for_colab: whether each begins with a cell that installs the course on Google Colab

    Raises ValueError for a chapter that does not exist, and OSError for a folder that cannot
    be written to.
    """
    copies = Copies(chapters(), folder, for_colab=for_colab)
    if reset:
        return [copies.reset(reset)]
    return [*copies.update(), f"The course is in {folder}. To open it: jupyter lab {folder}"]
