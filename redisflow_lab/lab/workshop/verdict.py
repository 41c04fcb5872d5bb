"""How the answer to a check, a hint or a solution is shown."""

import re
from dataclasses import dataclass
from enum import Enum
from html import escape
from textwrap import fill, indent


class Outcome(Enum):
    """The result of a check. Its value is the sign that it shows besides its colour."""

    PASSED = "✓"
    FAILED = "✗"
    NOT_ATTEMPTED = "○"
    ERROR = "!"
    NOTE = "→"

    @property
    def title(self) -> str:
        return {"FAILED": "Not yet", "NOT_ATTEMPTED": "Nothing done yet", "NOTE": ""}.get(
            self.name, self.name.capitalize()
        )


_CODE = re.compile(r"`([^`\n]+)`")
"""Code in a text, as Markdown marks it."""

_WIDTH = 76  # characters of a line in print
_COLOURS = {Outcome.PASSED: "#1a7f37", Outcome.FAILED: "#9a6700", Outcome.ERROR: "#b3261e"}


@dataclass(frozen=True)
class Verdict:
    """The answer to a check, a hint or a solution: a box in JupyterLab, text elsewhere.

    outcome: what was found
    text:    what to know, in plain lines
    code:    shown as code below it; may be empty
    """

    outcome: Outcome
    text: str
    code: str = ""

    def __repr__(self) -> str:
        head = wrapped(f"{self.outcome.value} {self._headline()}")
        return f"{head}\n\n{indent(self.code, '    ')}" if self.code else head

    def _repr_html_(self) -> str:
        colour = _COLOURS.get(self.outcome, "#6e7781")
        code = f"<pre>{escape(self.code)}</pre>" if self.code else ""
        marked = _CODE.sub(r"<code>\1</code>", escape(self._headline()))
        text = marked.replace("\n", "<br>")
        return (
            f'<div role="status" style="border-left:4px solid {colour};padding:.3em .8em;'
            f'margin:.4em 0">{self.outcome.value} {text}{code}</div>'
        )

    def _headline(self) -> str:
        title = self.outcome.title
        return f"{title}. {self.text}".strip() if title else self.text


def wrapped(text: str) -> str:
    """The text, wrapped to the width of a printed page, without the marks of Markdown."""
    return "\n".join(_filled(_CODE.sub(r"\1", line), _WIDTH) for line in text.splitlines())


def indented(text: str, margin: str) -> str:
    """The text, wrapped to the width of a printed page, each line after a margin."""
    width = _WIDTH - len(margin)
    return indent("\n".join(_filled(line, width) for line in text.splitlines()), margin)


def _filled(line: str, width: int) -> str:
    """A wrapped line. Keys and commands stay whole, so that they can be copied."""
    return fill(line, width, break_on_hyphens=False, break_long_words=False)
