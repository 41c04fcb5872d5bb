"""Text that somebody else wrote, in a form that is safe to show."""

import unicodedata

_MOST = 200
"""How many characters are shown: a name of several megabytes hides everything beside it."""

# Control characters, format characters (which reverse the direction of text, for example),
# lone surrogates, and the two separators that end a line.
_ESCAPED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # format characters that emoji and several scripts need


def printable(text: str, most: int = _MOST) -> str:
    """`text` on one line, with control characters as escapes, cut after `most` characters.

    An entry, a name and an error may hold what anyone wrote. Shown as it is, an escape
    sequence changes the terminal, and a line break forges a line.
    """
    shown = "".join(_escape(character) for character in text[:most])
    return f"{shown}… ({len(text):,} characters)" if len(text) > most else shown


def printable_lines(text: str) -> str:
    """`text` with control characters as escapes, except line breaks and tabs; not cut."""
    return "".join(
        character if character in "\n\t" else _escape(character) for character in text
    )


def _escape(character: str) -> str:
    if unicodedata.category(character) in _ESCAPED and character not in _JOINERS:
        return character.encode("unicode_escape").decode()
    return character
