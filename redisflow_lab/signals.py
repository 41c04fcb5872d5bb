"""Turns SIGTERM and SIGINT into an event that ends a loop between two messages."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event as ThreadEvent
from types import FrameType


@contextmanager
def stop_on_signals() -> Iterator[ThreadEvent]:
    """An event that SIGTERM and SIGINT (Ctrl-C) set while the block runs.

    A second signal does what it would have done without this: usually it ends the process
    at once. Raises ValueError outside the main thread, where Python does not handle signals.

    A program that embeds Python may handle one of these signals itself. Python cannot restore
    such a handler: after the first signal, or after the block, that signal has its default
    action, which ends the process.
    """
    stop = ThreadEvent()
    before = {
        # None stands for a handler that Python did not install. Leaving ours in its place
        # would swallow every later signal.
        number: signal.SIG_DFL if (handler := signal.getsignal(number)) is None else handler
        for number in (signal.SIGTERM, signal.SIGINT)
    }

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
