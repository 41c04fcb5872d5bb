"""The editions of a handout: what each of them shows of a chapter, as Markdown for pandoc."""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import Exercise
from tools.handouts.cells import Cell, Part, Picture, answers_of, cells_of, without_remark


@dataclass(frozen=True)
class Edition:
    """One way to print a chapter.

    name:     of its files
    says:     what it is, for the title
    of_tasks: whether it has only tasks, so that it leaves out chapters without any
    contents: makes the Markdown of a chapter; pictures are written into the folder
    """

    name: str
    says: str
    of_tasks: bool
    contents: Callable[[Chapter, Path], Iterator[str]]


def learner(chapter: Chapter, _: Path) -> Iterator[str]:
    """Text, code and questions, with room to write, and no answers."""
    yield room(1, "Name")
    noted = False
    for cell in cells_of(chapter):
        if cell.part is Part.EXPLANATION:
            if not noted:
                yield room(3, "What happened, and why? Run the cell; the notebook says more.")
            noted = True
            continue
        noted = False
        match cell.part:
            case Part.PROSE:
                yield _without_title(cell.text)
            case Part.CODE:
                if cell.draws and "lab.replay(" not in cell.text:  # several pictures at once
                    yield _box("sketch", "Draw what the next cell will show, then run it.")
                yield _code(cell.text)
            case Part.PREDICTION:
                yield _code(cell.text)
                yield from (room(1, f"I expect ({_code_word(name)})") for name in cell.names)
            case Part.TASK:
                yield _task(cell)
            case Part.TURN:
                yield _room_for(cell)


def answers(chapter: Chapter, folder: Path) -> Iterator[str]:
    """The whole chapter: with outputs, answers, hints, solutions, and explanations."""
    cells = cells_of(chapter)
    answer = answers_of(cells)
    for cell in cells:
        match cell.part:
            case Part.PROSE | Part.EXPLANATION:
                yield _without_title(cell.text)
            case Part.CODE:
                yield _code(cell.text)
                yield from (_shown(output, folder) for output in cell.shown)
            case Part.PREDICTION:
                yield from (
                    _box("answer", f"**{_code_word(name)}** is `{answer[name]}`. {why}")
                    for name in cell.names
                    if (why := chapter.predictions[name])
                )
            case Part.TASK:
                yield _task(cell)
                yield from _hints(cell)
            case Part.TURN:
                yield _solution(cell)


def exercises(chapter: Chapter, _: Path) -> Iterator[str]:
    """The tasks alone, with room to write."""
    yield room(1, "Name")
    yield _ABOVE
    for cell in _of_tasks(chapter):
        yield _room_for(cell) if cell.part is Part.TURN else _given(cell)


def solutions(chapter: Chapter, _: Path) -> Iterator[str]:
    """The tasks, each with its solution."""
    yield _ABOVE
    for cell in _of_tasks(chapter):
        yield _solution(cell) if cell.part is Part.TURN else _given(cell)


_ABOVE = "What a task calls *above* is in the notebook of the chapter."

EDITIONS = (
    Edition("learner", "for learners: with room to write", False, learner),
    Edition("answers", "with outputs, answers and solutions", False, answers),
    Edition("exercises", "the exercises", True, exercises),
    Edition("solutions", "the exercises with solutions", True, solutions),
)


def _without_title(text: str) -> str:
    """The text of a cell without the chapter's title and minutes: the layout writes them."""
    minutes = r" About \d+ minutes(, and \d+ more for what is called extra)?\.$"
    return re.sub(rf"\A# .*\n|{minutes}", "", text, flags=re.MULTILINE)


def _task(cell: Cell) -> str:
    exercise = _exercise(cell)
    return _box(
        "task",
        f"**{exercise.id}**, about {exercise.minutes} minutes\n\n{_escaped(exercise.goal)}\n\n"
        f"You have: {_escaped(exercise.given)}\n\n{_code(cell.text)}",
    )


def _of_tasks(chapter: Chapter) -> Iterator[Cell]:
    """The cells of the tasks: each is set, then shown what it needs, then solved."""
    in_task = False
    for cell in cells_of(chapter):
        in_task = cell.part is Part.TASK or (in_task and cell.part is Part.CODE)
        if in_task or cell.part is Part.TURN:
            yield cell


def _given(cell: Cell) -> str:
    return _task(cell) if cell.part is Part.TASK else _code(cell.text)


def _hints(cell: Cell) -> Iterator[str]:
    for number, hint in enumerate(_exercise(cell).hints, start=1):
        yield f"Hint {number}. {_escaped(hint)}"


def _solution(cell: Cell) -> str:
    exercise = _exercise(cell)
    return _box("answer", f"{_code(exercise.solution)}\n\n{_escaped(exercise.why)}")


def _room_for(cell: Cell) -> str:
    return room(len(_exercise(cell).solution.splitlines()) + 3, "")


def _exercise(cell: Cell) -> type[Exercise]:
    assert cell.exercise is not None
    return cell.exercise


def _shown(output: str | Picture, folder: Path) -> str:
    if isinstance(output, str):
        return _fenced("output", without_remark(output))
    name = f"{hashlib.sha256(output.png).hexdigest()[:16]}.png"
    (folder / name).write_bytes(output.png)
    return f"![{_escaped(output.alt)}]({name})"


def _code(source: str) -> str:
    return _fenced("python", source.rstrip())


def _fenced(kind: str, text: str) -> str:
    return f"~~~~~ {kind}\n{text}\n~~~~~"


def _box(kind: str, text: str) -> str:
    return f":::: {kind}\n{text}\n::::"


def room(lines: int, label: str) -> str:
    """Ruled lines to write on, below a label, which may be empty."""
    return f":::: {{.room lines={lines}}}\n{label}\n::::"


def _code_word(name: str) -> str:
    return f"`{name}`"


def _escaped(text: str) -> str:
    """Text as Markdown, in which only `code` and *words* keep their markup."""
    marked = re.split(r"(`[^`]*`|\*\w+\*)", text)
    marked[::2] = [re.sub(r"([\\*_{}\[\]<>#|~^])", r"\\\1", plain) for plain in marked[::2]]
    return "".join(marked)
