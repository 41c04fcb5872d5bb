"""What is measured: a side is one way to publish or to consume, and a job says how much."""

from collections.abc import Callable
from dataclasses import dataclass, field

from redis import Redis

from redisflow_lab import Message
from redisflow_lab.pb.redisflow.v1.stream_message import StreamMessage

BATCH = 500
"""Messages in one round trip, for every side that works by batch."""

parse = StreamMessage.FromString
"""Decodes a message, as every consuming side does unless its mode says otherwise."""


@dataclass(frozen=True)
class Job:
    """One run: move `count` copies of one message, whose content is `size` bytes long.

    url: the address of the server, with its password
    """

    url: str = field(repr=False)
    count: int
    size: int
    stream: str = "orders"
    group: str = "billing"

    def connect(self) -> Redis:
        return Redis.from_url(self.url)

    @property
    def message(self) -> Message:
        return Message("Producer1", "x" * self.size)

    @property
    def data(self) -> bytes:
        return self.message.to_bytes()


@dataclass(frozen=True)
class Side:
    """A way to publish a job's messages, or to consume and acknowledge them.

    count: messages in one measured run; fewer for a side that is many times slower
    """

    library: str
    mode: str
    run: Callable[[Job], None]
    count: int = 30_000


def one_by_one(library: str, run: Callable[[Job], None]) -> Side:
    return Side(library, "one by one", run, count=1_000)


def by_batch(library: str, run: Callable[[Job], None], how: str = "") -> Side:
    return Side(library, f"by batch of {BATCH}{how}", run)
