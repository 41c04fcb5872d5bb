"""A figure for a notebook: a PNG with alt text."""

import base64
import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


class Picture:
    """A figure as PNG, and its alt text, which is also its plain-text form in a notebook."""

    def __init__(self, figure: Figure, alt: str) -> None:
        self.alt = alt
        for text in figure.findobj(Text):
            text.set_parse_math(False)  # a name may contain $
        canvas = FigureCanvasAgg(figure)
        png = io.BytesIO()
        canvas.print_png(png)
        self.png = png.getvalue()

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        data = {"text/plain": self.alt, "image/png": base64.b64encode(self.png).decode()}
        return data, {"image/png": {"alt": self.alt}}
