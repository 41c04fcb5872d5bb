"""Durations as one types them: 90s, 15m, 12h, 7d."""

import re

import typer

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds(text: str) -> float:
    """The seconds of a duration; a number alone is in seconds. Raises typer.BadParameter."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no duration: write 90s, 15m, 12h or 7d")
    return float(found[1]) * _UNITS_S[found[2]]


def shortly(seconds: float) -> str:
    """A duration as `seconds` takes it, in its largest unit: "7200" s is "2h"."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"


def for_people(ms: int) -> str:
    """A duration in its two largest units: "1 h 5 min"; below a second in ms."""
    if ms < 1_000:
        return f"{ms} ms"
    seconds = ms // 1_000
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    at = next(place for place, (_, length) in enumerate(units) if seconds >= length)
    (unit, length), *rest = units[at : at + 2]
    parts = [f"{seconds // length} {unit}"]
    parts += [f"{more} {name}" for name, each in rest if (more := seconds % length // each)]
    return " ".join(parts)
