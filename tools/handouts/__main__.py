"""Writes the handouts: python -m tools.handouts build/handouts [CHAPTER...]"""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.chapters import CHAPTERS
from tools.guide.__main__ import GUIDE
from tools.handouts.cheatsheet import TITLE, cheat_sheet
from tools.handouts.editions import EDITIONS, Edition
from tools.handouts.questions import TITLE as QUESTIONS_TITLE
from tools.handouts.questions import question_sheet
from tools.handouts.render import Handout, write_html, write_pdf

Job = Callable[[Path], Handout]
"""Makes a handout; its pictures are written into the folder."""


def chapters(name: str, title: str, edition: Edition, of: list[Chapter], work: Path) -> Handout:
    """Chapters in one edition."""
    texts = [(chapter, _joined(edition.contents(chapter, work))) for chapter in of]
    return Handout(
        f"{name}-{edition.name}", title, edition.says, texts, edition.name,
        of_tasks=edition.of_tasks,
    )  # fmt: skip


def sheet(work: Path) -> Handout:
    """The cheat sheet."""
    text = _joined(cheat_sheet(work))
    return Handout("cheat-sheet", TITLE, "cheat sheet", [(None, text)], is_dense=True)


def questions(_: Path) -> Handout:
    """The questions for the end, with room to write and without the answers."""
    text = _joined(question_sheet())
    return Handout(
        "questions", QUESTIONS_TITLE, "for learners: with room to write", [(None, text)]
    )


def guide(_: Path) -> Handout:
    """The instructor's guide from docs/, with a table of contents in print."""
    title, text = GUIDE.read_text().split("\n", 1)
    text = f"{title}\n\n```{{=typst}}\n#contents()\n```\n{text}"
    return Handout("instructor", "The instructor's guide", "instructor's guide", [(None, text)])


def jobs(chosen: list[Chapter]) -> Iterator[Job]:
    """All handouts to write, the longest first."""
    for edition in EDITIONS:
        yield partial(chapters, "book", "RedisFlow Lab", edition, _with(edition, chosen))
    yield from (guide, sheet, questions)
    for chapter in chosen:
        name, title = Path(chapter.file).stem, f"{chapter.number} {chapter.title}"
        for edition in EDITIONS:
            if of := _with(edition, [chapter]):
                yield partial(chapters, name, title, edition, of)


def _with(edition: Edition, chosen: list[Chapter]) -> list[Chapter]:
    """The chapters that this edition contains."""
    return [chapter for chapter in chosen if chapter.exercises or not edition.of_tasks]


def write(job: Job, folder: Path) -> str:
    """Write one handout in both formats, and return its name."""
    with TemporaryDirectory() as work:
        handout = job(Path(work))
        write_html(handout, folder, Path(work))
        write_pdf(handout, folder, Path(work))
    return handout.name


def _joined(parts: Iterator[str]) -> str:
    return "\n\n".join(parts)


def main(folder: Path, numbers: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    began = perf_counter()
    chosen = [chapter for chapter in CHAPTERS if not numbers or chapter.number in numbers]
    with ProcessPoolExecutor() as pool:
        running = [pool.submit(write, job, folder) for job in jobs(chosen)]
        for count, done in enumerate(as_completed(running), start=1):
            print(f"{count:3} of {len(running)}  {done.result()}", flush=True)
    print(f"{2 * len(running)} files in {folder}, in {perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
