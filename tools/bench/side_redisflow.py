"""The helper of this project, through its public interface only."""

from itertools import repeat
from threading import Event

from redisflow_lab import Delivery, RedisStreamConsumer, RedisStreamProducer
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
)
from tools.bench.side_redis_py import PIPELINED


def publish_one_by_one(place: Place, payload: Payload, count: int) -> None:
    producer = RedisStreamProducer(place.connect(), place.stream)
    for _ in range(count):
        producer.publish(payload.message)


def publish_by_batch(place: Place, payload: Payload, count: int) -> None:
    producer = RedisStreamProducer(place.connect(), place.stream)
    producer.publish_many(repeat(payload.message, count), batch_size=BATCH)


def consume(place: Place, count: int, *, batch: int) -> int:
    consumer = RedisStreamConsumer(
        place.connect(), place.stream, place.group, "ours", batch=batch, ack_every=batch
    )
    handled = 0
    stop = Event()

    # Stopped by its last message: a server that sleeps notices the end of a BLOCK up to
    # 100 ms late, which is no work of anybody.
    def handle(_: Delivery) -> None:
        nonlocal handled
        handled += 1
        if handled == count:
            stop.set()

    consumer.run(handle, stop=stop)
    return handled


BATCHED_PUBLISHER = Publisher("redisflow", BY_BATCH, publish_by_batch)
BATCHED_CONSUMER = Consumer(
    "redisflow", BY_BATCH, PIPELINED, lambda place, count: consume(place, count, batch=BATCH)
)
SIDES: list[Side] = [
    Publisher("redisflow", ONE_BY_ONE, publish_one_by_one, FEW),
    BATCHED_PUBLISHER,
    Consumer(
        "redisflow",
        ONE_BY_ONE,
        PIPELINED,
        lambda place, count: consume(place, count, batch=1),
        FEW,
    ),
    BATCHED_CONSUMER,
]
