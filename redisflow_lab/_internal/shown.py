"""Text from outside, such as names, errors and tracebacks, as it may be shown in a log."""

import traceback

MOST = 1_000
"""Characters that are shown of one text."""
_MOST_OF_A_TRACEBACK = 20_000


def shown(text: str, most: int = MOST) -> str:
    """`text` on one line, in characters that every log can take, and cut to `most`.

    Otherwise a message could clear a terminal, forge a line of the log, or fill the disk.
    """
    cut = text[:most]
    escaped = "".join(char if char.isprintable() else _escaped(char) for char in cut)
    return f"{escaped} ... ({len(text):,} characters)" if len(text) > most else escaped


def shown_traceback(error: BaseException) -> str:
    """The traceback of an exception, in which each message is `shown`."""
    lines = [
        # A frame is indented, and has line breaks of its own.
        part.rstrip("\n") if part.startswith("  ") else shown(part.strip("\n"))
        for part in traceback.TracebackException.from_exception(error).format()
    ]
    return "\n".join(lines)[-_MOST_OF_A_TRACEBACK:]


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()
