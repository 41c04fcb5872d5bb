"""Pipes, sockets and locks whose end tells others that this process is gone.

A fork of this process, such as a worker of a multiprocessing pool, inherits them. If it kept
them open, the server would live as long as the fork, although the kernel has ended.
"""

import os
from typing import Protocol, TypeVar
from weakref import WeakSet


class Closable(Protocol):
    """A file or a socket."""

    def close(self) -> object:
        """Close it, in this process only."""


Kept = TypeVar("Kept", bound=Closable)

_lifelines: WeakSet[Closable] = WeakSet()


def close_in_forks(lifeline: Kept) -> Kept:
    """Return `lifeline`, which every later fork of this process closes at its start.

    lifeline: without a buffer, because closing it in the fork would write the buffer
    """
    _lifelines.add(lifeline)
    return lifeline


def _close_all() -> None:
    for lifeline in [*_lifelines]:
        lifeline.close()


os.register_at_fork(after_in_child=_close_all)
