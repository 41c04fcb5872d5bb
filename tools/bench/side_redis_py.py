"""Plain redis-py: what one writes by hand, and what the others are compared with."""

from collections.abc import Callable
from typing import Any

from tools.bench.side import (
    BATCH,
    BY_BATCH,
    FEW,
    ONE_BY_ONE,
    Consumer,
    Payload,
    Place,
    Publisher,
    Side,
    parse,
)


def publish_one_by_one(place: Place, payload: Payload, count: int) -> None:
    redis = place.connect()
    for _ in range(count):
        redis.xadd(place.stream, {"data": payload.data})


def publish_by_batch(place: Place, payload: Payload, count: int) -> None:
    redis = place.connect()
    for _ in range(count // BATCH):
        pipeline = redis.pipeline(transaction=False)
        for _ in range(BATCH):
            pipeline.xadd(place.stream, {"data": payload.data})
        pipeline.execute()


def consume(place: Place, *, batch: int, decode: bool) -> int:
    redis = place.connect()
    redis.xgroup_create(place.stream, place.group, id="0")
    handled = 0
    # redis-py types every shape an answer may have; this client gets the default one.
    read: Callable[..., Any] = redis.xreadgroup
    while reply := read(place.group, "plain", {place.stream: ">"}, count=batch):
        entries = reply[0][1]
        if decode:
            for _, fields in entries:
                parse(fields[b"data"])
        redis.xack(place.stream, place.group, *[entry_id for entry_id, _ in entries])
        handled += len(entries)
    return handled


ONE = Publisher("redis-py", ONE_BY_ONE, publish_one_by_one, FEW)
PIPELINED = Publisher("redis-py", BY_BATCH, publish_by_batch)
NOT_DECODING = Consumer(
    "redis-py",
    f"{BY_BATCH}, not decoding",
    PIPELINED,
    lambda place, _: consume(place, batch=BATCH, decode=False),
)
DECODING = Consumer(
    "redis-py",
    f"{BY_BATCH}, decoding",
    PIPELINED,
    lambda place, _: consume(place, batch=BATCH, decode=True),
)
SIDES: list[Side] = [
    ONE,
    PIPELINED,
    Consumer(
        "redis-py",
        ONE_BY_ONE,
        PIPELINED,
        lambda place, _: consume(place, batch=1, decode=True),
        FEW,
    ),
    NOT_DECODING,
    DECODING,
]
