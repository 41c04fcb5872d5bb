"""Lays the chapters into a folder, for those who have no clone of the repository."""

from pathlib import Path

import redisflow_lab
from redisflow_lab.lab.workshop.learner.copies import Copies

PACKAGE = Path(redisflow_lab.__file__).parent


def chapters() -> Path:
    """The folder of the notebooks: in the wheel, or beside the package in a clone."""
    carried = PACKAGE / "notebooks"
    return carried if carried.exists() else PACKAGE.parent / "notebooks"


def lay_course(folder: Path, reset: str, for_colab: bool) -> list[str]:
    """Lay the chapters into a folder, or one of them anew. Returns what is to be told.

    reset:     the number of the chapter to lay anew; empty for all that are unchanged
    for_colab: whether each begins with a cell that installs the course on Google Colab

    Raises ValueError for a chapter that does not exist, and OSError for a folder that cannot
    be written to.
    """
    copies = Copies(chapters(), folder, for_colab=for_colab)
    if reset:
        return [copies.reset(reset)]
    return [*copies.update(), f"The course is in {folder}. To open it: jupyter lab {folder}"]
