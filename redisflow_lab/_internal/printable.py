"""Text that somebody else wrote, such as names, errors and tracebacks, safe to show."""

import traceback
import unicodedata
from textwrap import indent

from redisflow_lab._internal.user_code import ENDS_THE_PROCESS

_MOST = 200
"""How many characters are shown: a name of several megabytes hides everything beside it."""
_MOST_OF_A_TRACEBACK = 20_000

# Control characters, format characters (which reverse the direction of text, for example),
# lone surrogates, and the two separators that end a line.
_ESCAPED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # format characters that emoji and several scripts need


def printable(text: str, most: int = _MOST) -> str:
    """`text` on one line, with control characters as escapes, cut after `most` characters.

    An entry, a name and an error may hold what anyone wrote. Shown as it is, an escape
    sequence changes the terminal, and a line break forges a line.
    """
    shown = "".join(map(_escape, text[:most]))
    return f"{shown}… ({len(text):,} characters)" if len(text) > most else shown


def printable_lines(text: str) -> str:
    """`text` with control characters as escapes, except line breaks and tabs; not cut."""
    return "".join(
        character if character in "\n\t" else _escape(character) for character in text
    )


def printable_traceback(error: BaseException) -> str:
    """The traceback of an exception, in which each message is `printable`."""
    try:
        formatted = list(traceback.TracebackException.from_exception(error).format())
    except ENDS_THE_PROCESS:
        raise
    except BaseException:  # of the exception itself: its class is the user's
        return f"{type(error).__name__} (its traceback cannot be shown)"
    parts = [
        # A frame has line breaks of its own. Everything else may be text of anyone.
        printable_lines(part.rstrip("\n"))
        if part.lstrip(" |").startswith('File "')
        else printable(part.strip("\n"), 1_000)
        for part in formatted
    ]
    # Indented, so that no line of a message looks like a line of the log.
    return indent("\n".join(parts)[-_MOST_OF_A_TRACEBACK:], "  ")


def _escape(character: str) -> str:
    if unicodedata.category(character) in _ESCAPED and character not in _JOINERS:
        return character.encode("unicode_escape").decode()
    return character
