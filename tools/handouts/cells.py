"""The cells of a chapter for print, each with its part in the lesson."""

import ast
import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.chapters import EXERCISES
from redisflow_lab.lab.workshop.exercise import Exercise

Calls = dict[str, tuple[Any, ...]]

WRONG_ANSWERS = 3
"""The fewest wrong answers that an exercise has."""

_NOT_SAID = "<IPython|○ "
"""How outputs begin that say nothing in print: a live view, and a task not yet begun."""

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"


class Part(Enum):
    """The part that a cell has in the lesson."""

    PROSE = auto()
    """Text that every reader may see."""
    EXPLANATION = auto()
    """Text that explains a result: it stands below a reveal, or below a picture."""
    CODE = auto()
    """Code that is run as it is."""
    PREDICTION = auto()
    """The learner writes down what is expected."""
    TASK = auto()
    """An exercise is set."""
    TURN = auto()
    """The empty cell in which an exercise is solved."""
    CHECK = auto()
    """An exercise is checked."""


@dataclass(frozen=True)
class Picture:
    """A picture that a cell has shown.

    png: its bytes
    alt: what it shows, in words
    """

    png: bytes
    alt: str


@dataclass(frozen=True)
class Cell:
    """One cell of a chapter.

    text:     Markdown or code
    shown:    its outputs, in order: texts, and pictures
    names:    of the predictions that it asks for or reveals
    exercise: the one that is set, solved or checked in it
    """

    part: Part
    text: str
    shown: tuple[str | Picture, ...] = ()
    names: tuple[str, ...] = ()
    exercise: type[Exercise] | None = None

    @property
    def draws(self) -> bool:
        """Whether it shows a picture."""
        return any(isinstance(output, Picture) for output in self.shown)


def cells_of(chapter: Chapter) -> list[Cell]:
    """The cells of a chapter, in order, with the outputs that are stored in its notebook.

    Raises ValueError for a picture without alt text, and names its chapter; and for an
    exercise with fewer than three wrong answers.
    """
    notebook = nbformat.read(NOTEBOOKS / chapter.file, as_version=4)
    cells: list[Cell] = []
    exercise = None
    explains = drawn = False
    for index, node in enumerate(notebook.cells):
        if node.cell_type == "markdown":
            is_new = _begins_or_asks(notebook.cells, index)
            explains = explains and not is_new
            if drawn and not is_new:  # the first paragraph says what the picture shows
                about, _, more = node.source.partition("\n\n")
                cells.append(Cell(Part.EXPLANATION, about))
                cells += [Cell(Part.PROSE, more)] if more else []
            else:
                cells.append(Cell(Part.EXPLANATION if explains else Part.PROSE, node.source))
            drawn = False
            continue
        calls = _calls(node.source)
        part = _part(node.source, calls)
        if part is Part.TASK:
            exercise = EXERCISES[calls["exercise"][0]]
            if len(exercise.wrong) < WRONG_ANSWERS:
                raise ValueError(
                    f"the exercise {exercise.id} has {len(exercise.wrong)} wrong answers, and "
                    f"needs {WRONG_ANSWERS} to show what its check rejects"
                )
        shown = tuple(_shown(node, chapter))
        names = calls.get("predict") or calls.get("reveal", ())
        doing = part in (Part.TASK, Part.TURN, Part.CHECK)
        cells.append(Cell(part, node.source, shown, names, exercise if doing else None))
        explains = "reveal" in calls or (explains and part is Part.CODE and cells[-1].draws)
        drawn = cells[-1].draws and not explains
    return cells


def answers_of(cells: list[Cell]) -> dict[str, str]:
    """The right answer to each prediction, by its name."""
    answers: dict[str, str] = {}
    for cell in cells:
        if cell.part is Part.CODE and cell.names:
            lines = "\n".join(text for text in cell.shown if isinstance(text, str))
            found = re.findall(r"^(.*?) +\(no prediction\)$", lines, re.MULTILINE)
            answers |= zip(cell.names, found, strict=True)
    return answers


def questions_of(cells: list[Cell]) -> dict[str, str]:
    """What each prediction asks, by its name: the last sentences of the text before it."""
    questions: dict[str, str] = {}
    asked: list[str] = [""]
    for cell in cells:
        if cell.part in (Part.PROSE, Part.EXPLANATION):
            paragraphs = cell.text.split("\n\n")
            asked = [part for part in paragraphs if "?" in part] or paragraphs[-1:]
        elif cell.part is Part.PREDICTION:
            # One question for each, in their order, or one for all.
            count = len(cell.names) if len(asked) >= len(cell.names) else 1
            parts = [" ".join(part.split()).replace("|", "\\|") for part in asked[-count:]]
            if len(parts) < len(cell.names):
                parts = _one_for_each(parts[0], len(cell.names))
            questions |= zip(cell.names, parts, strict=True)
    return questions


def extra_of(cells: list[Cell]) -> set[str]:
    """The names of the predictions in sections that are called extra."""
    extra: set[str] = set()
    level = 0  # of the heading of the extra section; 0 outside of one
    for cell in cells:
        heading = re.match(r"(#+) .*\n*", cell.text)
        if heading and cell.part in (Part.PROSE, Part.EXPLANATION):
            depth = len(heading[1])
            if cell.text.startswith("*Extra, about ", heading.end()):
                level = level or depth
            elif depth <= level:
                level = 0
        if level and cell.part is Part.PREDICTION:
            extra.update(cell.names)
    return extra


def _one_for_each(text: str, count: int) -> list[str]:
    """Split a text into `count` questions, each with the sentences before the first.

    Returns the whole text `count` times if it does not have exactly `count` questions.
    """
    sentences = re.split(r"(?<=[.?!]) ", text)
    asks = [sentence for sentence in sentences if sentence.endswith("?")]
    if len(asks) != count:
        return [text] * count
    before = sentences[: sentences.index(asks[0])]
    return [" ".join([*before, question]) for question in asks]


def without_remark(text: str) -> str:
    """An output without "(no prediction)", which says nothing in print."""
    return re.sub(r" +\(no prediction\)$", "", text, flags=re.MULTILINE)


def _begins_or_asks(nodes: list[NotebookNode], index: int) -> bool:
    """Whether a text begins a section, or comes right before a prediction or exercise."""
    following = nodes[index + 1] if index + 1 < len(nodes) else None
    asks = following is not None and following.cell_type == "code" and (
        not {"predict", "exercise"}.isdisjoint(_calls(following.source))
    )  # fmt: skip
    text = nodes[index].source
    # A list of definitions says how to read a picture, not what is in it.
    return asks or text.startswith(("#", "**Your turn", "- **")) or "**Guess" in text


def _part(source: str, calls: Calls) -> Part:
    if source.startswith("# your turn"):
        return Part.TURN
    if source == "task.check()":
        return Part.CHECK
    if calls.get("exercise"):
        return Part.TASK
    return Part.PREDICTION if calls.get("predict") else Part.CODE


def _calls(source: str) -> Calls:
    """The first arguments of all calls that are constants, in order, by function name."""
    calls: Calls = {}
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            calls[node.func.id] = (*calls.get(node.func.id, ()), node.args[0].value)
    return calls


def _shown(node: NotebookNode, chapter: Chapter) -> Iterator[str | Picture]:
    for output in node.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            alt = output.metadata.get("image/png", {}).get("alt")
            if not alt:
                raise ValueError(
                    f"a picture of chapter {chapter.number} has no alt text for screen "
                    f"readers. It is shown by this cell:\n{node.source}"
                )
            yield Picture(base64.b64decode(data["image/png"]), alt)
            continue
        text = str(output.get("text") or data.get("text/plain", "")).rstrip("\n")
        if text and not re.match(_NOT_SAID, text):
            yield text
