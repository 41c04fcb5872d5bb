"""Makes untrusted text, such as names, errors and tracebacks, safe to show."""

import traceback
import unicodedata
from textwrap import indent

from redisflow_lab._internal.user_code import ENDS_THE_PROCESS

_MAX_CHARACTERS = 200
"""How many characters to show: a name of several megabytes would hide everything else."""
_MAX_TRACEBACK = 20_000

# Control characters, format characters (which reverse the direction of text, for example),
# lone surrogates, and the two separators that end a line.
_ESCAPED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # format characters that emoji and several scripts need


def printable(text: str, most: int = _MAX_CHARACTERS) -> str:
    """`text` on one line, with control characters escaped, truncated to `most` characters.

    Entries, names and errors may hold text from anyone. Without this, an escape sequence could
    change the terminal, and a line break could forge a log line.
    """
    shown = "".join(map(_escape, text[:most]))
    return f"{shown}… ({len(text):,} characters)" if len(text) > most else shown


def printable_lines(text: str) -> str:
    """`text` with control characters escaped, except line breaks and tabs; not truncated."""
    return "".join(
        character if character in "\n\t" else _escape(character) for character in text
    )


def printable_traceback(error: BaseException) -> str:
    """The traceback of an exception, with each message made `printable`."""
    try:
        formatted = list(traceback.TracebackException.from_exception(error).format())
    except ENDS_THE_PROCESS:
        raise
    except BaseException:  # raised by the exception itself, whose class is the user's
        return f"{type(error).__name__} (its traceback cannot be shown)"
    parts = [
        # A frame has line breaks of its own. Everything else may be untrusted text.
        printable_lines(part.rstrip("\n"))
        if part.lstrip(" |").startswith('File "')
        else printable(part.strip("\n"), 1_000)
        for part in formatted
    ]
    # Indented, so that no line of a message looks like a line of the log.
    return indent("\n".join(parts)[-_MAX_TRACEBACK:], "  ")


def _escape(character: str) -> str:
    if unicodedata.category(character) in _ESCAPED and character not in _JOINERS:
        return character.encode("unicode_escape").decode()
    return character
