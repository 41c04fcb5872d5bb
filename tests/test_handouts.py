"""What is printed: no answer leaks, no line of code is cut, every page can be handed out."""

import html
import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.chapters import CHAPTERS
from tools.handouts import cells
from tools.handouts.cells import Cell, Part, Picture, answers_of, cells_of, without_remark
from tools.handouts.cheatsheet import cheat_sheet, recap
from tools.handouts.editions import EDITIONS, Edition

pytestmark = pytest.mark.once

each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda c: c.number)
edition = {edition.name: edition for edition in EDITIONS}
for_learners = pytest.mark.parametrize("name", ["learner", "exercises"])


def flat(text: str) -> str:
    """Without marks and spaces, which each format has in other places."""
    return re.sub(r"[\s\\`*]+", "", text)


def markdown(chapter: Chapter, name: str, folder: Path) -> str:
    return "\n\n".join(edition[name].contents(chapter, folder))


def secrets(chapter: Chapter) -> Iterator[str]:
    """What would answer a question: outputs, hints, solutions, and why they are so.

    What stands in the code, the text and the tasks is no secret: an id, a word to be printed.
    """
    all_cells = cells_of(chapter)
    texts = [cell.text for cell in all_cells if cell.part in (Part.CODE, Part.PROSE)]
    tasks = [text for exercise in chapter.exercises for text in (exercise.goal, exercise.given)]
    known = flat("".join([*texts, *tasks]))
    yield from chapter.predictions.values()
    for exercise in chapter.exercises:
        yield from (exercise.why, *exercise.hints)
        yield from (line for line in lines(exercise.solution) if flat(line) not in known)
    for cell in all_cells:
        if cell.part is Part.CODE:
            yield from (line for line in shown_lines(cell) if flat(line) not in known)


def lines(text: str) -> Iterator[str]:
    """Lines that are long enough to be recognised."""
    return (line for line in text.splitlines() if len(flat(line)) >= 14)


def shown_lines(cell: Cell) -> Iterator[str]:
    for output in cell.shown:
        if isinstance(output, Picture):
            yield output.alt
        else:
            yield from lines(without_remark(output))


def leaks(chapter: Chapter, text: str) -> list[str]:
    printed = flat(text)
    return [secret for secret in secrets(chapter) if flat(secret) in printed]


@for_learners
@each_chapter
def test_no_answer_is_in_what_learners_get(chapter: Chapter, name: str, tmp_path: Path) -> None:
    assert leaks(chapter, markdown(chapter, name, tmp_path)) == []
    assert list(tmp_path.iterdir()) == []  # no picture either


def test_what_a_learner_is_to_draw_is_not_told_below_the_box(tmp_path: Path) -> None:
    chapter = next(chapter for chapter in CHAPTERS if chapter.number == "05")
    told = "two dots, one for each life, so two invoices"
    assert told in markdown(chapter, "answers", tmp_path)
    assert told not in markdown(chapter, "learner", tmp_path)


@each_chapter
def test_every_answer_is_in_what_instructors_get(chapter: Chapter, tmp_path: Path) -> None:
    printed = flat(markdown(chapter, "answers", tmp_path))
    assert [secret for secret in secrets(chapter) if flat(secret) not in printed] == []
    assert set(answers_of(cells_of(chapter))) == set(chapter.predictions)
    assert "noprediction" not in printed


@each_chapter
def test_a_learner_is_asked_every_question(chapter: Chapter, tmp_path: Path) -> None:
    printed = markdown(chapter, "learner", tmp_path)
    for name in chapter.predictions:
        assert f"I expect (`{name}`)" in printed
    for exercise in chapter.exercises:
        assert f"**{exercise.id}**" in printed
    assert printed.count(":::: {.room") >= len(chapter.predictions) + len(chapter.exercises)


@each_chapter
def test_no_question_is_dropped_as_an_explanation(chapter: Chapter) -> None:
    """A text that explains and asks would be left out: it has to be two cells."""
    for cell in cells_of(chapter):
        if cell.part is Part.EXPLANATION:
            assert not cell.text.endswith("?"), cell.text
            assert "\n## " not in cell.text, cell.text


def test_the_cheat_sheet_has_the_recap_of_each_chapter(tmp_path: Path) -> None:
    text = "\n".join(cheat_sheet(tmp_path))
    for chapter in CHAPTERS:
        assert recap(chapter)
        for table in recap(chapter):
            assert table in text


def test_a_picture_without_alt_text_names_its_chapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chapter = next(chapter for chapter in CHAPTERS if chapter.number == "04")
    notebook = nbformat.read(cells.NOTEBOOKS / chapter.file, as_version=4)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("metadata", {}).pop("image/png", None)
    nbformat.write(notebook, tmp_path / chapter.file)
    monkeypatch.setattr(cells, "NOTEBOOKS", tmp_path)
    with pytest.raises(ValueError, match="a picture of chapter 04 has no alt text"):
        cells_of(chapter)


def test_an_exercise_with_too_few_wrong_answers_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chapter = next(chapter for chapter in CHAPTERS if chapter.number == "04")
    monkeypatch.setattr(chapter.exercises[0], "wrong", chapter.exercises[0].wrong[:2])
    with pytest.raises(ValueError, match="04-after-delivery has 2 wrong answers, and needs 3"):
        cells_of(chapter)


# What follows makes PDFs. `make handouts` installs what that needs.

Printed = Callable[..., Path]


@pytest.fixture(scope="session")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Printed:
    """Prints a chapter in an edition: the path of the PDF; the HTML lies beside it."""
    pytest.importorskip("typst", reason="make handouts installs typst and pandoc")
    from tools.handouts.__main__ import chapters, write

    @cache
    def write_both(number: str, name: str, run: int) -> Path:
        folder = tmp_path_factory.mktemp(f"run-{run}")
        chapter = next(chapter for chapter in CHAPTERS if chapter.number == number)
        chosen: Edition = edition[name]
        job = partial(chapters, number, chapter.title, chosen, [chapter])
        return folder / f"{write(job, folder)}.pdf"

    return lambda chapter, name, run=1: write_both(chapter.number, name, run)


def pages(pdf: Path) -> list[str]:
    """The text of each page."""
    from pypdfium2 import PdfDocument

    with PdfDocument(pdf) as document:
        return [page.get_textpage().get_text_range() for page in document]


def read_html(path: Path) -> str:
    """Its text as it is read, and the values of all attributes."""
    raw = path.read_text()
    attributes = " ".join(re.findall(r'="([^"]*)"', raw))
    return html.unescape(re.sub(r"<[^>]*>", "", raw) + attributes)


def read_pdf(path: Path) -> str:
    """The text of its pages, its properties, and a word for each picture."""
    from pypdfium2 import PdfDocument, raw

    with PdfDocument(path) as document:
        pictures = [
            "<image>" for page in document for _ in page.get_objects([raw.FPDF_PAGEOBJ_IMAGE])
        ]
        return "".join([*pages(path), *document.get_metadata_dict().values(), *pictures])


@pytest.mark.slow
@for_learners
@each_chapter
def test_no_answer_is_anywhere_in_the_files(
    chapter: Chapter, name: str, printed: Printed
) -> None:
    """In text, attributes, properties and the text layer; and no picture could show one."""
    if name == "exercises" and not chapter.exercises:
        return
    pdf = printed(chapter, name)
    in_html, in_pdf = read_html(pdf.with_suffix(".html")), read_pdf(pdf)
    assert leaks(chapter, in_html) == leaks(chapter, in_pdf) == []
    assert "data:image" not in in_html
    assert "<image>" not in in_pdf


@pytest.mark.slow
@each_chapter
def test_the_search_for_answers_finds_those_that_instructors_get(
    chapter: Chapter, printed: Printed
) -> None:
    pdf = printed(chapter, "answers")
    everything = [*secrets(chapter)]
    assert leaks(chapter, read_html(pdf.with_suffix(".html"))) == everything
    alts = {
        output.alt
        for cell in cells_of(chapter)
        for output in cell.shown
        if isinstance(output, Picture)
    }
    missed = set(everything) - alts - set(leaks(chapter, read_pdf(pdf)))
    assert len(missed) <= len(everything) // 20  # a page or a hyphen may stand in between


@pytest.mark.slow
@pytest.mark.parametrize("name", ["learner", "answers"])
@each_chapter
def test_every_line_of_code_is_on_paper_and_no_heading_is_left_alone(
    chapter: Chapter, name: str, printed: Printed
) -> None:
    text = pages(printed(chapter, name))
    whole = flat("".join(text))
    all_cells = cells_of(chapter)
    code = "\n".join(cell.text for cell in all_cells if cell.part is Part.CODE)
    assert [line for line in code.splitlines() if flat(line) not in whole] == []
    prose = "\n".join(cell.text for cell in all_cells)
    headings = set(map(flat, re.findall(r"^## (.*)$", prose, re.MULTILINE)))
    for page in text:
        *_, last, _footer = [line for line in page.splitlines() if line.strip()]
        assert flat(last) not in headings


@pytest.mark.slow
@pytest.mark.parametrize("name", edition)
@each_chapter
def test_no_mark_of_another_format_is_printed(
    chapter: Chapter, name: str, printed: Printed
) -> None:
    if edition[name].of_tasks and not chapter.exercises:
        return
    text = "\n".join(pages(printed(chapter, name)))
    assert re.findall(r"\\[<>*_`#]|(?<![\w*])\*\w+\*(?![\w*])|<IPython\S*|○.*", text) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["learner", "exercises"])
@each_chapter
def test_what_is_asked_is_on_the_page_on_which_one_writes(
    chapter: Chapter, name: str, printed: Printed
) -> None:
    if edition[name].of_tasks and not chapter.exercises:
        return
    pdf = printed(chapter, name)
    before = {
        flat(previous.text)[-40:]
        for previous, cell in pairwise(cells_of(chapter))
        if cell.part in (Part.TASK, Part.PREDICTION) and previous.part is Part.PROSE
    }
    for text, has_room in zip(pages(pdf), end_with_lines(pdf), strict=True):
        _header, *lines_of_text, _footer = [line for line in text.splitlines() if line.strip()]
        if not lines_of_text:
            continue
        assert not lines_of_text[0].startswith(("I expect (", "predict("))
        end = flat("".join(lines_of_text[-3:]))
        assert not [text for text in before if end.endswith(text)]
        assert has_room or lines_of_text[-1] != "task"  # the last line of a box


def end_with_lines(pdf: Path) -> Iterator[bool]:
    """For each page, whether lines to write on are below its last text, the footer aside."""
    from pypdfium2 import PdfDocument, raw

    footer = 45  # points from the bottom: 16 mm
    with PdfDocument(pdf) as document:
        for page in document:
            text = page.get_textpage()
            rects = [text.get_rect(index) for index in range(text.count_rects())]
            lowest = min((low for _, low, _, _ in rects if low > footer), default=0)
            bounds = [path.get_bounds() for path in page.get_objects([raw.FPDF_PAGEOBJ_PATH])]
            yield any(
                right - left > 300 and top - low < 3 and footer - 3 < low < lowest
                for left, low, right, top in bounds
            )


@pytest.mark.slow
def test_exercises_say_their_own_minutes(printed: Printed) -> None:
    chapter = next(chapter for chapter in CHAPTERS if chapter.number == "04")
    pdf = printed(chapter, "exercises")
    assert f"About {chapter.solving} minutes." in read_html(pdf.with_suffix(".html"))
    assert f"about {chapter.solving} minutes" in pages(pdf)[0]


@pytest.mark.slow
def test_no_answer_is_in_the_questions_for_the_end(tmp_path: Path) -> None:
    pytest.importorskip("typst", reason="make handouts installs typst and pandoc")
    from tools.guide.questions import QUESTIONS
    from tools.handouts.__main__ import questions, write

    pdf = tmp_path / f"{write(questions, tmp_path)}.pdf"
    for text in map(flat, (read_pdf(pdf), read_html(pdf.with_suffix(".html")))):
        for question in QUESTIONS:
            assert flat(question.asks) in text
            parts = re.split(r"(?<=[.:;]) ", question.answer)
            assert not [part for part in parts if len(part) > 8 and flat(part) in text]


@pytest.mark.slow
@each_chapter
def test_a_pdf_passes_the_rules_that_pdfua_knows(chapter: Chapter, printed: Printed) -> None:
    """A sixth of PDF/UA-1; typst checks others when it writes."""
    from pdfua import validate

    assert list(validate(printed(chapter, "answers")).findings) == []


@pytest.mark.slow
def test_two_runs_give_the_same_bytes(printed: Printed) -> None:
    files = []
    for run in (1, 2):
        pdf = printed(CHAPTERS[4], "answers", run)
        files.append((pdf.read_bytes(), pdf.with_suffix(".html").read_bytes()))
    assert files[0] == files[1]


@pytest.mark.slow
def test_the_cheat_sheet_has_two_pages(tmp_path: Path) -> None:
    pytest.importorskip("typst", reason="make handouts installs typst and pandoc")
    from tools.handouts.__main__ import sheet, write

    pdf = tmp_path / f"{write(sheet, tmp_path)}.pdf"
    assert len(pages(pdf)) == 2
    assert crossing(pdf, columns=3) == []


def crossing(pdf: Path, columns: int) -> list[str]:
    """Texts, header and footer aside, that reach out of their column."""
    from pypdfium2 import PdfDocument

    found = []
    with PdfDocument(pdf) as document:
        for page in document:
            width, height = page.get_size()
            text = page.get_textpage()
            margin = 25.5  # points: 9 mm
            step = (width - 2 * margin) * 1.04 / columns  # with the gutter, 4 % of the width
            for index in range(text.count_rects()):
                left, low, right, top = text.get_rect(index)
                column = int((left - margin + 2) / step)
                end = margin + step * (column + 1) - 0.04 * (width - 2 * margin)
                if low > 34 and top < height - 40 and right > end + 1:
                    found.append(text.get_text_bounded(left, low, right, top))
    return found
