"""What a browser needs to draw shapes: scripts, styles, and the shapes in JSON."""

from importlib.resources import files
from typing import Any

from redisflow_lab.lab.views.shapes import ORANGE, STYLES, Frame, Path, Rect, Shape, Text

HATCH = (
    '<pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="7" height="7" fill="#fff"/>'
    f'<path d="M0 0V7" stroke="{ORANGE}" stroke-width="2.5"/></pattern>'
)
"""The fill of pending entries."""


def read(name: str) -> str:
    """A file of this folder."""
    return (files(__name__) / name).read_text()


def packed(frame: Frame) -> dict[str, list[Any]]:
    """Shapes as picture.js reads them."""
    return {name: pack(shape) for name, shape in frame.items()}


def pack(shape: Shape) -> list[Any]:
    """A shape as picture.js reads it."""
    match shape:
        case Rect(style, x, y, width, height):
            return ["r", style, *(round(number, 1) for number in (x, y, width, height))]
        case Text(style, x, y, text, anchor):
            return ["t", style, round(x, 1), round(y, 1), text, anchor]
        case Path(style, points, curved):
            (x, y), *others = ((round(x, 1), round(y, 1)) for x, y in points)
            rest = " ".join(f"{x:g} {y:g}" for x, y in others)
            line = f"{'Q' if curved else 'L'}{rest}" if others else ""
            return ["p", style, f"M{x:g} {y:g}{line}"]


def styles(scope: str) -> str:
    """The styles of shapes as CSS rules, for the elements below a selector."""
    rules = []
    for name, style in STYLES.items():
        fill = "url(#hatch)" if style.fill == "hatch" else style.fill
        rule = f"fill:{fill};stroke:{style.line};stroke-width:{style.width}"
        if style.dashes:
            rule += f";stroke-dasharray:{' '.join(map(str, style.dashes))}"
        weight = ";font-weight:bold" if style.bold else ""
        rules.append(f"{scope} .{name}{{{rule}}}")
        rules.append(f"{scope} text.{name}{{font-size:{style.size}px;stroke:none{weight}}}")
    return "\n".join(rules)
