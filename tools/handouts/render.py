"""Renders Markdown as HTML and PDF, with pandoc and typst, which are installed as wheels."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pypandoc
import typst

from redisflow_lab.lab.workshop.chapter import Chapter

LAYOUT = Path(__file__).parent / "layout"
_READS = "commonmark+pipe_tables+fenced_divs+raw_attribute+attributes+gfm_auto_identifiers"


@dataclass(frozen=True)
class Handout:
    """A document to be printed.

    name:     of its files
    title:    in the document's properties, and on the first page of a book
    edition:  in words, for the top of each page
    chapters: each with its Markdown; None stands for a document that is not a chapter
    suffix:   of the file names of the chapters to which its links lead, in the same edition
    is_dense: a sheet in three columns, in small print
    of_tasks: it has only the tasks of each chapter, so it gives the minutes for these
    """

    name: str
    title: str
    edition: str
    chapters: Sequence[tuple[Chapter | None, str]]
    suffix: str = ""
    is_dense: bool = False
    of_tasks: bool = False

    @property
    def is_book(self) -> bool:
        return len(self.chapters) > 1


def write_html(handout: Handout, folder: Path, pictures: Path) -> None:
    """Write one file, with its style and its pictures embedded.

    pictures: folder that holds them
    """
    text = "\n\n".join(_html_title(handout, one) + text for one, text in handout.chapters)
    contents = ["--toc", "--toc-depth=1"] if handout.is_book else []
    html = _pandoc(
        handout, text, "html5", "--standalone", "--embed-resources", *contents,
        f"--resource-path={pictures}",
        f"--css={LAYOUT / 'handout.css'}", f"--metadata=pagetitle:{handout.title}",
        "--variable=lang:en",
    )  # fmt: skip
    (folder / f"{handout.name}.html").write_text(html)


def write_pdf(handout: Handout, folder: Path, pictures: Path) -> None:
    """Write a tagged PDF (PDF/UA-1) with an outline. typst refuses pictures without alt text.

    pictures: folder that holds them, and in which typst works
    """
    source = [f'#import "handout.typ": *\n#show: handout.with({_typst_options(handout)})\n']
    for chapter, text in handout.chapters:
        source += [_typst_title(handout, chapter), _pandoc(handout, text, "typst")]
    (pictures / "handout.typ").write_bytes((LAYOUT / "handout.typ").read_bytes())
    path = pictures / f"{handout.name}.typ"
    path.write_text("\n".join(source))
    typst.compile(
        path, output=folder / f"{handout.name}.pdf", root=pictures, ignore_system_fonts=True,
        pdf_standards="ua-1", timestamp=0,
    )  # fmt: skip


def _pandoc(handout: Handout, text: str, to: str, *options: str) -> str:
    command = [
        pypandoc.get_pandoc_path(), f"--from={_READS}", f"--to={to}", "--wrap=none",
        f"--lua-filter={LAYOUT / 'handout.lua'}",
        f"--metadata=chapters:{'book' if handout.is_book else 'one'}",
        f"--metadata=suffix:{handout.suffix}", *options,
    ]  # fmt: skip
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode or done.stderr:
        raise RuntimeError(f"pandoc could not write {handout.name}: {done.stderr}")
    return done.stdout


def _minutes(handout: Handout, chapter: Chapter) -> tuple[int, str]:
    """The minutes for what is printed, as a number and in words."""
    if not handout.of_tasks:
        return chapter.minutes, chapter.duration
    extra = sum(task.minutes for task in chapter.exercises if task.extra)
    more = f", and {extra} more for what is called extra" if extra else ""
    return chapter.solving, f"About {chapter.solving} minutes{more}."


def _html_title(handout: Handout, chapter: Chapter | None) -> str:
    if chapter is None:
        return ""
    return (
        f"# {chapter.number} {chapter.title} {{#chapter-{chapter.number}}}\n\n"
        f"::: minutes\n{_minutes(handout, chapter)[1]}\n:::\n\n"
    )


def _typst_title(handout: Handout, chapter: Chapter | None) -> str:
    if chapter is None:
        return ""
    label = f"chapter-{chapter.number}"
    values = [chapter.number, chapter.title, *_minutes(handout, chapter), label]
    return f"\n#chapter({', '.join(map(json.dumps, values))})\n"


def _typst_options(handout: Handout) -> str:
    contents = json.dumps(handout.is_book)
    title, edition = json.dumps(handout.title), json.dumps(handout.edition)
    dense = json.dumps(handout.is_dense)
    return f"title: {title}, edition: {edition}, contents: {contents}, dense: {dense}"
