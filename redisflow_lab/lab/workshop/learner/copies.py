"""Copies of the chapters for a learner, who may change them."""

import hashlib
import json
import re
from pathlib import Path

import nbformat

from redisflow_lab.lab.workshop.chapters import CHAPTERS
from redisflow_lab.lab.workshop.progress import FILE, Progress

_LAID = ".laid.json"
CONSUMER = "consumer.py"
ON_COLAB = """\
# On Google Colab: install the course, from the wheel that you uploaded.
import sys
from glob import glob

if "google.colab" in sys.modules:
    wheels = glob("redisflow_lab-*.whl")
    assert wheels, "upload the file redisflow_lab-....whl, then run this cell again"
    %pip install -q "{wheels[0]}[colab]"
"""


class Copies:
    """The learner's folder, and the chapters from which it is made.

    A file that the learner has changed, if only by running and saving it, is never
    overwritten: a newer version is written beside it, with "newer" in its name.

    chapters:  folder of the notebooks
    work:      folder of the learner
    for_colab: whether each chapter begins with a cell that installs the course on Google Colab
    """

    def __init__(self, chapters: Path, work: Path, *, for_colab: bool = False) -> None:
        self._chapters, self._work = chapters, work
        self._for_colab = for_colab

    def update(self) -> list[str]:
        """Create missing files and update unchanged ones. Returns messages for the learner."""
        self._work.mkdir(parents=True, exist_ok=True)
        if not (self._work / FILE).exists():
            Progress(self._work).begin()
        told = []
        for name in [*(chapter.file for chapter in CHAPTERS), CONSUMER]:
            fresh, file = self._fresh(name), self._work / name
            laid = self._laid().get(name)
            if not file.exists() or _digest(file.read_bytes()) == laid:
                self._lay(name, fresh)
            elif file.read_bytes() == fresh:
                self._note(name, fresh)
            elif _digest(fresh) != laid:
                newer = _free_name(file, "newer")
                newer.write_bytes(fresh)
                self._note(name, fresh)
                told.append(
                    f"{name} has a newer version. Yours is as it was; the newer one is "
                    f"{newer.name}."
                )
        return told

    def reset(self, chapter: str) -> str:
        """Restore one chapter or consumer.py, and keep the learner's version beside it.

        chapter: its number, such as "04", or "consumer"

        Returns a message for the learner. Raises ValueError for a chapter that does not exist.
        """
        name = self._named(chapter)
        file, told = self._work / name, f"{name} is as new."
        self._work.mkdir(parents=True, exist_ok=True)
        if file.exists():
            yours = _free_name(file, "yours")
            file.replace(yours)
            told += f" Yours is {yours.name}."
        self._lay(name, self._fresh(name))
        return told

    def _named(self, chapter: str) -> str:
        if chapter.removesuffix(".py") == "consumer":
            return CONSUMER
        found = re.match(r"(\d{1,2})(?!\d)", chapter)
        for known in CHAPTERS:
            if found and known.number == found[1].zfill(2):
                return known.file
        numbers = ", ".join(known.number for known in CHAPTERS)
        raise ValueError(
            f"there is no chapter {chapter!r}; say which: CHAPTER=04, for example. There are "
            f"{numbers}, and consumer"
        )

    def _fresh(self, name: str) -> bytes:
        """The content of a file as a learner gets it: a chapter has no outputs."""
        if name == CONSUMER:
            return Path(__file__).with_name(f"{CONSUMER}.txt").read_bytes()
        notebook = nbformat.read(self._chapters / name, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        if self._for_colab:
            first = nbformat.v4.new_code_cell(ON_COLAB, id="on-colab")
            notebook.cells.insert(0, first)
        return f"{nbformat.writes(notebook)}\n".encode()

    def _lay(self, name: str, content: bytes) -> None:
        (self._work / name).write_bytes(content)
        self._note(name, content)

    def _laid(self) -> dict[str, str]:
        """A digest of each file as it was written to the folder."""
        file = self._work / _LAID
        try:
            found = json.loads(file.read_text()) if file.exists() else {}
        except ValueError:  # then each file counts as changed
            return {}
        return found if isinstance(found, dict) else {}

    def _note(self, name: str, content: bytes) -> None:
        laid = {**self._laid(), name: _digest(content)}
        (self._work / _LAID).write_text(json.dumps(laid, indent=1))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _free_name(file: Path, what: str) -> Path:
    names = (file.with_stem(f"{file.stem}-{what}-{n}") for n in range(1, 10_000))
    return next(name for name in names if not name.exists())
