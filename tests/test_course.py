"""A chapter's notebook and what is known of it besides agree."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from redisflow_lab.lab.chapters import read_needs
from redisflow_lab.lab.workshop.chapter import PARTS, Chapter
from redisflow_lab.lab.workshop.chapters import CHAPTERS
from tools.course_table import README, with_table

pytestmark = pytest.mark.once

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
MAX_PREDICTIONS = 8
MAX_MINUTES = 30
EXTRA = r"^\*Extra, about (\d+) minutes?\.\*$"
"""The line right below the heading of a section that can be skipped."""

each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda c: c.number)


def source(chapter: Chapter, kind: str = "code") -> str:
    cells = nbformat.read(NOTEBOOKS / chapter.file, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == kind)


def named(call: str, code: str) -> list[str]:
    """The first arguments of all calls of a function, in order."""
    return re.findall(rf"\b{call}\(\s*\"([^\"]+)\"", code)


def test_each_notebook_is_a_chapter() -> None:
    files = [path.name for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
    assert files == [chapter.file for chapter in CHAPTERS]


@each_chapter
def test_each_prediction_is_asked_once_and_then_revealed(chapter: Chapter) -> None:
    code = source(chapter)
    assert named("predict", code) == [*chapter.predictions]
    assert sorted(named("reveal", code)) == sorted(chapter.predictions)
    assert len(chapter.predictions) <= MAX_PREDICTIONS
    for name in chapter.predictions:
        assert name.startswith(f"{chapter.number}-")
        assert code.index(f'predict("{name}"') < code.index(f'reveal("{name}"')


@each_chapter
def test_each_exercise_is_set_in_its_order(chapter: Chapter) -> None:
    assert named("exercise", source(chapter)) == [task.id for task in chapter.exercises]
    for task in chapter.exercises:
        assert task.id.startswith(f"{chapter.number}-")
        assert set(task.needs) <= set(chapter.needs)
    if chapter.number >= "01":
        assert 2 <= len(chapter.exercises) <= 4


@each_chapter
def test_title_needs_and_minutes_agree(chapter: Chapter) -> None:
    text = source(chapter, "markdown")
    assert f" {chapter.duration}" in text
    assert chapter.minutes <= MAX_MINUTES
    assert read_needs(NOTEBOOKS / chapter.file) == list(chapter.needs)
    assert chapter.number[0] in PARTS
    numbers = {each.number for each in CHAPTERS}
    assert set(chapter.builds_on) <= {n for n in numbers if n < chapter.number}
    assert chapter.mistakes


@each_chapter
def test_chapters_are_named_by_their_titles(chapter: Chapter) -> None:
    titles = {each.file: f"{each.number}, *{each.title}*" for each in CHAPTERS}
    first = nbformat.read(NOTEBOOKS / chapter.file, as_version=4).cells[0].source
    for text, file in re.findall(r"\[([^\]]+, \*[^\]]+)\]\(([^)]+\.ipynb)\)", first):
        assert text.endswith(titles[file])


@each_chapter
def test_extra_minutes_are_those_of_the_extra_sections(chapter: Chapter) -> None:
    said = re.findall(EXTRA, source(chapter, "markdown"), re.MULTILINE)
    assert chapter.extra == sum(map(int, said))
    is_extra = {
        name: in_extra
        for cell, in_extra in with_extra(chapter)
        if cell.cell_type == "code"
        for name in named("exercise", cell.source)
    }
    assert is_extra == {task.id: task.extra for task in chapter.exercises}


@each_chapter
def test_the_headings_say_what_is_extra(chapter: Chapter) -> None:
    """A reader sees where such a section ends, also in a table of contents."""
    for cell, in_extra in with_extra(chapter):
        if cell.cell_type == "markdown":
            for heading in re.findall(r"^##+ .*$", cell.source, re.MULTILINE):
                assert heading.endswith(" (extra)") == in_extra, heading


@each_chapter
def test_what_is_extra_can_be_skipped(chapter: Chapter) -> None:
    """No other cell uses a name that only an extra section has made."""
    made: set[str] = set()
    made_in_extra: set[str] = set()
    for cell, in_extra in with_extra(chapter):
        if cell.cell_type == "code":
            nodes = [*ast.walk(ast.parse(cell.source))]
            used = {node.id for node in nodes if isinstance(node, ast.Name)}
            parameters = {node.arg for node in nodes if isinstance(node, ast.arg)}
            new = stored(nodes)
            if not in_extra:
                assert not (used & made_in_extra) - made - new - parameters, cell.source
            (made_in_extra if in_extra else made).update(new)


def with_extra(chapter: Chapter) -> Iterator[tuple[NotebookNode, bool]]:
    """Each cell, and whether it belongs to a section that is called extra."""
    level = 0  # of the heading of the extra section
    for cell in nbformat.read(NOTEBOOKS / chapter.file, as_version=4).cells:
        if cell.cell_type == "markdown":
            heading = re.match(r"(#+) .*\n*", cell.source)
            if heading:
                depth = len(heading[1])
                if re.match(EXTRA, cell.source[heading.end() :], re.MULTILINE):
                    level = level or depth
                elif depth <= level:
                    level = 0
        yield cell, level > 0


def stored(nodes: list[ast.AST]) -> set[str]:
    """The names that these nodes make: variables, functions and classes."""
    return {
        node.id
        for node in nodes
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    } | {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@each_chapter
def test_each_link_works_where_a_learner_opens_it(chapter: Chapter) -> None:
    """In notebooks/, and in a copy, where Jupyter shows no file outside of the folder.

    What lies elsewhere in the project is named, as a path from its folder, and not linked.
    """
    for target in links(source(chapter, "markdown")):
        if not target.startswith(("https://", "#")):
            assert target.partition("#")[0] in {each.file for each in CHAPTERS}, target


@each_chapter
def test_what_a_chapter_names_in_the_project_exists(chapter: Chapter) -> None:
    text = source(chapter, "markdown")
    for named_path in re.findall(r"`((?:docs|examples|tests|tools)/[\w./-]+)`", text):
        assert (NOTEBOOKS.parent / named_path).exists(), named_path


def links(text: str) -> list[str]:
    """The targets of links and images, inline, by reference and in HTML."""
    inline = re.findall(r"\]\(\s*<?([^\s)>]+)", text)
    by_reference = re.findall(r"^\s*\[[^\]]+\]:\s*<?([^\s>]+)", text, re.MULTILINE)
    return inline + by_reference + re.findall(r"(?:href|src)=[\"']([^\"']+)", text)


@pytest.mark.parametrize(
    "text",
    [
        "[a](../docs/x.md)",
        "![a](../docs/x.png 'b')",
        "[a]: ../docs/x.md",
        '<a href="../x">b</a>',
    ],
)
def test_a_link_is_found(text: str) -> None:
    assert [link[:3] for link in links(text)] == ["../"]


def test_the_readme_has_the_chapters_as_they_are() -> None:
    """`make notebooks` writes them."""
    text = README.read_text()
    assert with_table(text) == text


def test_there_are_thirty_exercises() -> None:
    assert sum(len(chapter.exercises) for chapter in CHAPTERS) >= 30
