"""`predict` notes what a learner expects of a cell; `reveal` compares it with the result."""

import difflib
import math
from collections.abc import Callable
from typing import Any

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.workshop.chapters import PREDICTIONS
from redisflow_lab.lab.workshop.progress import Progress
from redisflow_lab.lab.workshop.verdict import wrapped

LONGEST = 200
"""The most characters of a predicted text, and the most digits of a predicted number."""

MAX_CHARACTERS = 20
"""The most parts of a predicted list."""


class Predictions:
    """The predictions of one learner.

    progress: returns where they are kept; called each time, as the current folder may change
    """

    def __init__(self, progress: Callable[[], Progress]) -> None:
        self._progress = progress

    def predict(self, name: str, value: Any, *more: Any) -> None:
        """Note what you expect, before you run the cell that shows it.

        name:  of the prediction, such as "04-bob"
        value: a number, a text, or a list of them; `...` stands for nothing yet
        more:  not accepted: several values belong in one list
        """
        _check_name(name)
        if more:
            print(f"Put them into one list, [{', '.join(map(repr, (value, *more)))}].")
            return
        value = _plain(value)
        if value is ... or (isinstance(value, list) and ... in value):
            print("Put what you expect in the place of the dots, and run this cell again.")
        elif problem := _problem_of(value):
            print(f"This was not noted: {problem}. Predict a number, or a short text.")
        else:
            self._note(name, value)

    def _note(self, name: str, value: Any) -> None:
        """Keep a prediction, unless its answer was already shown."""
        progress = self._progress()
        known = progress.read("predictions", name)
        if known.get("right") is not None:
            before = _shown(known["predicted"])
            print(f"You predicted {before} before the answer was shown. That one counts.")
            return
        progress.write("predictions", name, predicted=value, right=None)
        print(f"Noted: {_shown(value)}")

    def reveal(self, name: str, value: Any) -> None:
        """Print the value and the prediction; if that was wrong, also why people predict it.

        The first time counts: a cell that is run again may show another value.
        """
        why = _check_name(name)
        value = _plain(value)
        progress = self._progress()
        known = progress.read("predictions", name)
        if "predicted" not in known:
            print(f"{_shown(value)}   (no prediction)")
            return
        predicted = known["predicted"]
        if known.get("right") is not None:
            print(f"{_shown(value)}   (you predicted {_shown(predicted)}; counted before)")
            return
        if problem := _misfit(predicted, value):
            said = f"you predicted {_shown(predicted)}: not counted, {problem}"
            print(f"{_shown(value)}   ({said})")
            return
        is_right = _same(predicted, value)
        progress.write("predictions", name, actual=value, right=is_right)
        said = "as you predicted" if is_right else f"you predicted {_shown(predicted)}"
        print(f"{_shown(value)}   ({said})")
        if not is_right:
            print(wrapped(why))


def _check_name(name: str) -> str:
    """The text that explains a wrong prediction. Raises KeyError for an unknown name."""
    if not isinstance(name, str) or name not in PREDICTIONS:
        near = difflib.get_close_matches(str(name), PREDICTIONS, n=1, cutoff=0.0)
        raise KeyError(f"there is no prediction {name!r}; the nearest is {near[0]!r}")
    return PREDICTIONS[name]


def _problem_of(value: Any) -> str:
    """Why this value cannot be a prediction; empty if it can."""
    if isinstance(value, list):
        if len(value) > MAX_CHARACTERS:
            return f"it has {len(value):,} parts"
        return next(filter(None, map(_problem_of, value)), "")
    if isinstance(value, str) and len(value) > LONGEST:
        return f"it has {len(value):,} characters"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is no number to compare with"
    if isinstance(value, int) and abs(value) >= 10**LONGEST:
        return f"it has more than {LONGEST} digits"
    if value is None or isinstance(value, str | int | float):
        return ""
    return f"it is a {type(value).__name__}"


def _plain(value: Any, depth: int = 3) -> Any:
    """A value as JSON can store it, if it can: also one from a table or from numpy."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple) and depth:
        return [_plain(part, depth - 1) for part in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    return value


def _same(predicted: Any, actual: Any) -> bool:
    """Whether both say the same, apart from case, spaces, quotes and a list of one part."""
    predicted, actual = _unwrapped(predicted), _unwrapped(actual)
    if isinstance(predicted, list) and isinstance(actual, list):
        return len(predicted) == len(actual) and all(map(_same, predicted, actual))
    if isinstance(predicted, int | float) and isinstance(actual, int | float):
        return predicted == actual
    return _letters(predicted) == _letters(actual)


def _misfit(predicted: Any, actual: Any) -> str:
    """Why a prediction cannot be right, because of its type; empty if it can."""
    predicted, actual = _unwrapped(predicted), _unwrapped(actual)
    if _same(predicted, actual):
        return ""
    if isinstance(actual, list) and isinstance(predicted, int | float):
        return "as the answer is a list"
    if isinstance(actual, str) and isinstance(predicted, int | float):
        return "as the answer is a text, in quotes"
    if isinstance(actual, int | float) and not isinstance(predicted, int | float | list):
        return "as the answer is a number"
    return ""


def _unwrapped(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _letters(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_letters, value))
    return "".join(str(value).split()).casefold()


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "nothing"
    return printable(str(value), LONGEST)
