"""How long each call of a handler took."""

from math import nan
from operator import sub
from time import monotonic


class Laps:
    """Times calls that follow each other, with one reading of the clock for each.

    A call ends when the next one begins. Only where something else comes after it, such as
    an acknowledgement, `end` says so; a call that does not count, because it raised, is made
    `void`. All durations are computed at once. `make bench` shows what that costs, as
    "ClientMetrics against none".
    """

    def __init__(self) -> None:
        self._marks: list[float] = []  # seconds; a difference to or from nan is no duration
        self.begin = self._marks.append
        """Note when a call begins, in monotonic seconds."""

    def end(self) -> None:
        """Note that the call that was begun last has ended, and that no other one begins."""
        self._marks += (monotonic(), nan)

    def void(self) -> None:
        """Do not count the call that was begun last."""
        self._marks.append(nan)

    def take(self) -> list[float]:
        """The durations of all calls that have ended, in seconds; they are forgotten here."""
        marks = self._marks
        taken = [lap for lap in map(sub, marks[1:], marks) if lap == lap]
        marks.clear()
        return taken
