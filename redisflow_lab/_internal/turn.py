"""Lets one consumer of a process at a time redeliver an entry alone."""

from collections.abc import Callable
from threading import Event as ThreadEvent
from threading import Lock

_LOOKS_S = 0.1


class Turn:
    """The turn of a consumer to redeliver an entry alone, and to handle it.

    Such an entry may be the one that kills the process, and a crash uses up a delivery of
    whatever is in hand: also of what the process handles in other threads. So consumers that
    share their turns have one such entry in hand at a time.

    while_waiting: called again and again while another consumer has the turn
    """

    def __init__(self, while_waiting: Callable[[], object]) -> None:
        self._while_waiting = while_waiting
        self._lock = Lock()
        self._is_held = False

    def share_with(self, other: "Turn") -> None:
        """Take turns with this consumer, and with those that it shares them with."""
        self._lock = other._lock

    def take(self, stop: ThreadEvent) -> bool:
        """Wait for the turn. Returns False if `stop` is set before."""
        while not self._lock.acquire(timeout=_LOOKS_S):
            if stop.is_set():
                return False
            self._while_waiting()
        self._is_held = True
        return True

    def give_back(self) -> bool:
        """Let another consumer have it. Returns whether this one had it."""
        was_held, self._is_held = self._is_held, False
        if was_held:
            self._lock.release()
        return was_held
