"""Writes the README's pictures from the outputs of the chapters: python -m tools.pictures"""

import io
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
from PIL import Image

from redisflow_lab.lab.views.layout import WIDTH
from redisflow_lab.lab.views.shapes import Frame, Rect, Shape, Text
from redisflow_lab.lab.views.shapes import Path as Line
from redisflow_lab.lab.views.still import Panel, draw_still
from redisflow_lab.lab.workshop.chapters import CHAPTERS
from tools.handouts.cells import Picture, cells_of

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
TIMELINE = ("04", "Delivery timeline")
"""The chapter, and the beginning of the alt text."""
REPLAY = ROOT / "notebooks" / "10_take_over.ipynb"
_STEP_MS, _LAST_MS = 900, 4_000


def timeline() -> bytes:
    """The first delivery timeline of the chapter, as PNG."""
    number, begins = TIMELINE
    chapter = next(chapter for chapter in CHAPTERS if chapter.number == number)
    return next(
        output.png
        for cell in cells_of(chapter)
        for output in cell.shown
        if isinstance(output, Picture) and output.alt.startswith(begins)
    )


def stored_replay() -> tuple[list[dict[str, Any]], float]:
    """The steps of the replay of the chapter, and the height of its picture in px."""
    notebook = nbformat.read(REPLAY, as_version=4)
    pages = (
        output.data["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "srcdoc=" in output.get("data", {}).get("text/html", "")
    )
    page = unescape(next(pages))
    [stored] = re.findall(r'id="recording">(.*?)</script>', page, flags=re.DOTALL)
    [height] = re.findall(r'viewBox="0 0 \d+ ([\d.]+)"', page)
    return json.loads(stored)["steps"], float(height)


def moving() -> bytes:
    """The replay of the chapter, as an animated GIF."""
    steps, height = stored_replay()
    frame: Frame = {}
    images = []
    for step in steps:
        frame |= {name: _shape(packed) for name, packed in step["set"].items()}
        frame = {name: shape for name, shape in frame.items() if name not in step["drop"]}
        panel = Panel(step["caption"], frame, height)
        png = io.BytesIO(draw_still([panel], WIDTH, "").png)
        images.append(Image.open(png).convert("P", palette=Image.Palette.ADAPTIVE, colors=48))
    gif = io.BytesIO()
    lasts = [_STEP_MS] * (len(images) - 1) + [_LAST_MS]
    images[0].save(
        gif, "GIF", save_all=True, append_images=images[1:], duration=lasts, loop=0,
        optimize=True,
    )  # fmt: skip
    return gif.getvalue()


def _shape(packed: list[Any]) -> Shape:
    match packed:
        case ["r", style, x, y, width, height]:
            return Rect(style, x, y, width, height)
        case ["t", style, x, y, text, anchor]:
            return Text(style, x, y, text, anchor)
        case ["p", style, line]:
            numbers = [float(number) for number in re.findall(r"-?[\d.]+", line)]
            points = tuple(zip(numbers[::2], numbers[1::2], strict=True))
            return Line(style, points, curved="Q" in line)
    raise ValueError(f"not a shape: {packed}")


if __name__ == "__main__":
    (DOCS / "timeline.png").write_bytes(timeline())
    (DOCS / "replay.gif").write_bytes(moving())
