"""The parts of a recording: the stream at each moment, and what happened in between."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from redisflow_lab.inspection.state import State

NO_STREAM = "this stream does not exist"
"""`Moment.trouble` if the stream did not exist."""


@dataclass(frozen=True, slots=True)
class Happening:
    """A command of the notebook, or an event of a consumer, a process or the server.

    t_s:      seconds since the recording began
    kind:     an `events.Kind`, or "command"; of a process "started", "ended" or "died"; of the
              server "down" or "up"
    text:     what happened, in words
    group:    of the consumer; empty if no consumer is involved, or its group is not known
    consumer: name of the consumer or process; empty if none is involved
    entry_id: of the entry; only for an `events.Kind`, and empty for an outage
    """

    t_s: float
    kind: str
    text: str
    group: str = ""
    consumer: str = ""
    entry_id: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of a stream at one moment, as the server reported it.

    t_s:     seconds since the recording began
    state:   None if it could not be read
    trouble: why it could not be read, in words
    """

    t_s: float
    state: State | None
    trouble: str = ""


def deleted_since(moments: Iterable[Moment]) -> Iterator[bool]:
    """For each moment, whether the stream was deleted since the one before.

    A new stream has new entries, even if their ids are the same.
    """
    added = 0
    for moment in moments:
        if moment.state is None:
            yield moment.trouble == NO_STREAM
            added = 0 if moment.trouble == NO_STREAM else added
        else:
            yield moment.state.added < added
            added = moment.state.added
