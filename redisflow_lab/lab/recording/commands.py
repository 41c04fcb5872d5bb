"""Describes commands that change a stream, for captions and events."""

from collections.abc import Sequence
from typing import Any

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.prefix import without_prefix

_CHANGE = {
    "XADD", "XTRIM", "XDEL", "XSETID", "XGROUP", "XREADGROUP", "XACK", "XCLAIM", "XAUTOCLAIM",
    "XACKDEL", "XDELEX", "XNACK", "DEL", "RENAME",
}  # fmt: skip
_MAX_CHARACTERS = 20
"""The most characters that are shown of each part of a command."""


def changes(command: Sequence[Any], stream: str) -> bool:
    """Whether a command may change a stream or the state of its groups."""
    name = _text(command[0]).split()[0].upper()
    return name in _CHANGE and stream in map(_text, command)


def in_words(command: Sequence[Any], reply: Any) -> str:
    """The command as typed in redis-cli, and a summary of the reply."""
    parts = [printable(without_prefix(_text(part)), _MAX_CHARACTERS) for part in command]
    if parts[0].upper() == "XADD":  # the content of a message is not shown
        parts = [*parts[: _first_field(parts)], "..."]
    return f"{' '.join(parts)} → {_answer(reply)}"


def _first_field(parts: Sequence[str]) -> int:
    """The position of the first field of XADD, right after the id."""
    for position, part in enumerate(parts[2:], start=2):
        if part == "*" or (part.replace("-", "").rstrip("*").isdigit() and "-" in part):
            return position + 1
    return 2


def _answer(reply: Any) -> str:
    match reply:
        case True:
            return "OK"
        case bytes() | str() | int():
            return printable(_text(reply), _MAX_CHARACTERS)
        case None:
            return "nothing"
        case list() | dict() if not reply:
            return "nothing"
        case [[_, list() as entries]]:  # XREADGROUP
            return _counted(len(entries))
        case [_, list() as entries, *_]:  # XAUTOCLAIM
            return _counted(len(entries))
        case list() | dict():
            return _counted(len(reply))
    return printable(str(reply), _MAX_CHARACTERS)


def _counted(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _text(part: Any) -> str:
    return part.decode(errors="replace") if isinstance(part, bytes) else str(part)
