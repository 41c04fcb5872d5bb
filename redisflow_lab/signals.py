"""SIGTERM and SIGINT as an event, so that a loop can end between two messages."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event as ThreadEvent
from types import FrameType


@contextmanager
def stop_on_signals() -> Iterator[ThreadEvent]:
    """An event that SIGTERM or SIGINT (Ctrl-C) sets; only in the main thread.

    The second signal does what it did before: it ends the process wherever it is.
    """
    stop = ThreadEvent()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()
        restore()

    for number in before:
        signal.signal(number, ask_to_stop)
    try:
        yield stop
    finally:
        restore()
