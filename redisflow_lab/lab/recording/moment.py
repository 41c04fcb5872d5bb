"""What a recording consists of: what the server said at a moment, and what happened."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from redisflow_lab.inspection.state import State

NO_STREAM = "this stream does not exist"
"""The trouble of a moment at which there was no stream."""


@dataclass(frozen=True, slots=True)
class Happening:
    """A command of the notebook, or something that happened to a consumer or the server.

    t_s:      seconds since the recording began
    kind:     an `events.Kind`; or "command"; "started", "ended", "died" of a process; "down",
              "up" of the server
    text:     in words
    group:    whose consumer it was; empty if it was none, or is not known
    consumer: its name, or that of a process
    entry_id: of the entry, for an `events.Kind`
    """

    t_s: float
    kind: str
    text: str
    group: str = ""
    consumer: str = ""
    entry_id: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """What the server answered at a moment.

    t_s:     seconds since the recording began
    state:   None if it could not be read
    trouble: why not, in words
    """

    t_s: float
    state: State | None
    trouble: str = ""


def deleted_since(moments: Iterable[Moment]) -> Iterator[bool]:
    """For each moment: whether the stream was deleted since the one before.

    The entries of a new stream are other ones, also if they have the same ids.
    """
    added = 0
    for moment in moments:
        if moment.state is None:
            yield moment.trouble == NO_STREAM
            added = 0 if moment.trouble == NO_STREAM else added
        else:
            yield moment.state.added < added
            added = moment.state.added
