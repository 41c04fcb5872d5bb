"""Lets the consumers of a process take turns with entries that are redelivered alone."""

from collections.abc import Callable
from threading import Event as ThreadEvent
from threading import Lock

_LOOKS_S = 0.1


class Line:
    """The waiting line of consumers that take turns.

    One consumer has the turn, and one is next. Without the second lock, a consumer that gives
    its turn back and wants another one would be faster than those that wait.
    """

    def __init__(self) -> None:
        self.turn, self.next = Lock(), Lock()


class Turn:
    """A consumer's turn to redeliver an entry alone, and to handle it.

    Such an entry may be the one that kills the process, and a crash uses up a delivery of
    each entry that is being handled, in any thread. So the consumers of one line handle one
    such entry at a time. A consumer that is in no line never waits.

    while_waiting: called again and again while another consumer has the turn
    """

    def __init__(self, while_waiting: Callable[[], object]) -> None:
        self._while_waiting = while_waiting
        self._line: Line | None = None
        self.is_held = False
        """Whether the others of the line are waiting for this consumer."""

    def wait_in(self, line: Line) -> None:
        """Share turns with all other consumers of this line."""
        self._line = line

    def take(self, stop: ThreadEvent) -> bool:
        """Wait for the turn. Returns False if `stop` is set before."""
        if self._line is None:
            return True
        if not self._acquire(self._line.next, stop):
            return False
        try:
            self.is_held = self._acquire(self._line.turn, stop)
        finally:
            self._line.next.release()
        return self.is_held

    def give_back(self) -> None:
        """Let the next one have the turn, if this consumer has it."""
        if self._line is not None and self.is_held:
            self.is_held = False
            self._line.turn.release()

    def _acquire(self, lock: Lock, stop: ThreadEvent) -> bool:
        while not lock.acquire(timeout=_LOOKS_S):
            if stop.is_set():
                return False
            self._while_waiting()
        return True
