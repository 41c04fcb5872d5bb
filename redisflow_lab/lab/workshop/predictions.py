"""`predict` before a cell is run, `reveal` when it has: what one expected, and what is so."""

import difflib
import math
from collections.abc import Callable
from textwrap import fill
from typing import Any

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.workshop.chapters import PREDICTIONS
from redisflow_lab.lab.workshop.progress import Progress

LONGEST = 200
"""Characters of a text that is predicted."""


class Predictions:
    """The predictions of one learner.

    progress: where they are kept; asked for each time, as the current folder may change
    """

    def __init__(self, progress: Callable[[], Progress]) -> None:
        self._progress = progress

    def predict(self, name: str, value: Any) -> None:
        """Note what you expect, before you run the cell that shows it.

        name:  of the prediction, such as "04-bob"
        value: a number, a text, or a list of them; `...` is nothing yet
        """
        _check_name(name)
        if value is ... or (isinstance(value, list | tuple) and ... in value):
            print("Put what you expect in the place of the dots, and run this cell again.")
        elif problem := _problem_of(value):
            print(f"This was not noted: {problem}. Predict a number, or a short text.")
        else:
            self._progress().write("predictions", name, predicted=_plain(value))
            print(f"Noted: {_shown(value)}")

    def reveal(self, name: str, value: Any) -> None:
        """Say what it is, what was predicted, and if that was wrong, why people think so."""
        why = _check_name(name)
        progress = self._progress()
        known = progress.read("predictions", name)
        if "predicted" not in known:
            print(f"{_shown(value)}   (no prediction)")
            return
        predicted = known["predicted"]
        is_right = _same(predicted, _plain(value))
        progress.write("predictions", name, right=is_right)
        said = "as you predicted" if is_right else f"you predicted {_shown(predicted)}"
        print(f"{_shown(value)}   ({said})")
        if not is_right:
            print(fill(why, 76))


def _check_name(name: str) -> str:
    """The text that explains a wrong prediction. Raises KeyError for a name that is none."""
    if name not in PREDICTIONS:
        near = difflib.get_close_matches(str(name), PREDICTIONS, n=1, cutoff=0.0)
        raise KeyError(f"there is no prediction {name!r}; the nearest is {near[0]!r}")
    return PREDICTIONS[name]


def _problem_of(value: Any) -> str:
    """Why this is no prediction; empty if it is one."""
    if isinstance(value, list | tuple):
        return next(filter(None, map(_problem_of, value)), "")
    if isinstance(value, str) and len(value) > LONGEST:
        return f"it has {len(value):,} characters"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is no number to compare with"
    if value is None or isinstance(value, str | int | float | bytes):
        return ""
    return f"it is a {type(value).__name__}"


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _same(predicted: Any, actual: Any) -> bool:
    """Whether they are equal, upper and lower case and the type of a number aside."""
    if isinstance(predicted, list) and isinstance(actual, list):
        return len(predicted) == len(actual) and all(map(_same, predicted, actual))
    if isinstance(predicted, str) or isinstance(actual, str):
        return str(predicted).strip().casefold() == str(actual).strip().casefold()
    return bool(predicted == actual)


def _shown(value: Any) -> str:
    plain = _plain(value)
    if isinstance(plain, list):
        return ", ".join(map(_shown, plain)) or "nothing"
    return printable(str(plain), LONGEST)
