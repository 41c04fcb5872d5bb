"""The cheat sheet: two pages of commands, from the tables at the end of the chapters."""

import re
from collections.abc import Iterator
from pathlib import Path

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.chapters import CHAPTERS
from tools.handouts.cells import cells_of

TITLE = "Redis Streams on two pages"
PICTURE = Path(__file__).parent / "layout" / "life.svg"
ALT = (
    "The life of an order in a group. XADD makes it: not delivered. XREADGROUP > makes it "
    "pending, with an owner and a count. There, XREADGROUP 0 counts one more, and XCLAIM or "
    "XAUTOCLAIM changes the owner and counts one more. XACK makes it acknowledged. At the "
    "limit, one transaction of XADD and XACK makes it a dead letter, and one of XADD and XDEL "
    "redrives it, so that it is not delivered yet."
)


def cheat_sheet(folder: Path) -> Iterator[str]:
    """Markdown: the life of an order, then the recap of each chapter. Writes the picture."""
    (folder / PICTURE.name).write_bytes(PICTURE.read_bytes())
    yield f"# {TITLE}"
    yield f"## The life of an order in a group\n\n![{ALT}]({PICTURE.name})"
    for chapter in CHAPTERS:
        yield f"## {chapter.number} {chapter.title}\n\n" + "\n\n".join(recap(chapter))


def recap(chapter: Chapter) -> list[str]:
    """The tables below the heading Recap of a chapter, as Markdown."""
    text = "\n".join(cell.text for cell in cells_of(chapter))
    section = re.search(r"^## Recap\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if section is None:
        raise ValueError(f"chapter {chapter.number} has no heading Recap")
    return re.findall(r"(?:^\|.*\n?)+", section[1], re.MULTILINE)
