"""What is measured: a side is one way to publish, or one way to consume."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from redis import Redis

from redisflow_lab import Message
from redisflow_lab.pb.redisflow.v1.stream_message_pb2 import StreamMessage

BATCH = 500
"""Messages in one round trip, for every side that works by batch."""

BY_BATCH = f"by batch of {BATCH}"
ONE_BY_ONE = "one by one"

MANY = 30_000
"""Messages in one measured run of a side that works by batch."""

FEW = 1_000
"""Messages in one measured run of a side that works one by one: it is many times slower."""

parse = StreamMessage.FromString
"""Decodes a message, as every consuming side does unless its mode says otherwise."""


class Payload:
    """The message that is published over and over, and its protobuf bytes.

    size: of its content, bytes
    """

    def __init__(self, size: int) -> None:
        self.message = Message("Producer1", "x" * size, datetime(2025, 11, 3, 22, tzinfo=UTC))
        self.data = self.message.to_bytes()


@dataclass(frozen=True)
class Place:
    """Where a side works: the address of the server with its password, a stream, a group."""

    url: str
    stream: str = "orders"
    group: str = "billing"

    def connect(self) -> Redis:
        return Redis.from_url(self.url)


@dataclass(frozen=True)
class Publisher:
    """A way to publish.

    name:    of the library, and of what is used of it
    mode:    how it is used, such as "by batch of 500"
    publish: writes the payload so many times
    count:   messages in one measured run
    stream:  the key it writes to, where the library does not take that of the place
    """

    name: str
    mode: str
    publish: Callable[[Place, Payload, int], None]
    count: int = MANY
    stream: str = Place.stream


@dataclass(frozen=True)
class Consumer:
    """A way to consume what `source` published.

    name, mode, count: as in Publisher
    consume: handles so many messages and acknowledges each after it was handled; returns
             how many it handled
    group:   the group it reads in, where the library does not take that of the place
    """

    name: str
    mode: str
    source: Publisher
    consume: Callable[[Place, int], int]
    count: int = MANY
    group: str = Place.group


Side = Publisher | Consumer
