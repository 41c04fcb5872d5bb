"""The shapes that matplotlib and the browser draw."""

from dataclasses import dataclass

# The palette of Okabe and Ito, distinct under each common form of colour blindness.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#555555"


@dataclass(frozen=True, slots=True)
class Style:
    """How the shapes of one style look. A fill of "hatch" is white with orange lines.

    dashes: lengths of a dash and of the gap after it, in px
    size:   of a text, in px
    """

    fill: str = "none"
    line: str = "none"
    width: float = 1.0
    dashes: tuple[float, float] | None = None
    size: float = 11.0
    bold: bool = False


STYLES = {
    "acked": Style(fill=BLUE, line=BLUE, width=1.2),
    "pending": Style(fill="hatch", line=ORANGE, width=1.2),
    "waiting": Style(fill="white", line="#000000", width=1.2),
    "gone": Style(fill="white", line=GREY, width=1.2, dashes=(2, 2)),
    "letter": Style(fill="#dddddd", line=GREY, width=1.2),
    "on-acked": Style(fill="#ffffff"),
    "plain": Style(fill="#000000"),
    "plate": Style(fill="#ffffff"),
    "name": Style(fill="#000000", size=12.0),
    "small": Style(fill=GREY, size=10.0),
    "title": Style(fill="#000000", size=13.0, bold=True),
    "rule": Style(line="#bbbbbb", width=0.6),
    "cursor": Style(fill=RED, line=RED, width=2.0),
    "cross": Style(line=RED, width=4.0),
    "dead": Style(fill=RED, size=10.0, bold=True),
    "arc": Style(line=GREEN, width=2.0),
    "head": Style(fill=GREEN, line=GREEN),
    "axis": Style(line="#777777", width=0.8),
    "lag": Style(line=BLUE, width=2.0),
    "pending-line": Style(line=ORANGE, width=2.0, dashes=(5, 3)),
    "mark": Style(line=GREY, width=1.0, dashes=(2, 2)),
    "now": Style(line="#000000", width=1.2),
}


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle from its upper left corner, in px."""

    style: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text, its middle at `y` and its `anchor` ("start", "middle", "end") at `x`."""

    style: str
    x: float
    y: float
    text: str
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Path:
    """A line through points, in px. `curved`: a curve; the second of three is its control."""

    style: str
    points: tuple[tuple[float, float], ...]
    curved: bool = False


Shape = Rect | Text | Path
Frame = dict[str, Shape]
"""The shapes of a picture by name. A shape keeps its name, so that a browser can move it; later
shapes cover earlier ones."""
