"""Frames drawn by matplotlib, for saved notebooks, GitHub and print."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Line

from redisflow_lab.lab.views.picture import Picture
from redisflow_lab.lab.views.shapes import STYLES, Frame, Rect, Shape, Text

_DPI = 100
_ACROSS = {"start": "left", "middle": "center", "end": "right"}
_HEAD, _FOOT = 22.0, 8.0


@dataclass(frozen=True)
class Panel:
    """A frame with its title. height: of the frame, in px."""

    title: str
    frame: Frame
    height: float


def draw_still(panels: Sequence[Panel], width: float, alt: str) -> Picture:
    """Draw panels one below the other, in one picture."""
    total = sum(panel.height + _HEAD for panel in panels) + _FOOT
    figure = Figure(figsize=(width / _DPI, total / _DPI), dpi=_DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(total, 0)
    axes.set_axis_off()
    top = 0.0
    for panel in panels:
        _draw(axes, Text("title", 8, 14, panel.title), top)
        for shape in panel.frame.values():
            _draw(axes, shape, top + _HEAD)
        top += panel.height + _HEAD
    return Picture(figure, alt)


def _draw(axes: Axes, shape: Shape, top: float) -> None:
    style = STYLES[shape.style]
    points = 72 / _DPI
    if isinstance(shape, Text):
        axes.text(
            shape.x, shape.y + top, shape.text, ha=_ACROSS[shape.anchor], va="center",
            fontsize=style.size * points, color=style.fill,
            fontweight="bold" if style.bold else "normal",
        )  # fmt: skip
        return
    hatched = style.fill == "hatch"
    look: dict[str, Any] = {
        "facecolor": "white" if hatched else style.fill,
        "edgecolor": style.line,
        "hatch": "////" if hatched else None,
        "linewidth": style.width * points,
        "linestyle": (0, style.dashes) if style.dashes else "-",
    }
    if isinstance(shape, Rect):
        corner = (shape.x, shape.y + top)
        axes.add_patch(Rectangle(corner, shape.width, shape.height, **look))
        return
    step = Line.CURVE3 if shape.curved else Line.LINETO
    codes = [Line.MOVETO, *[step] * (len(shape.points) - 1)]
    axes.add_patch(PathPatch(Line([(x, y + top) for x, y in shape.points], codes), **look))
