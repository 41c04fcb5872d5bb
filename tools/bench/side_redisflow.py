"""The helper of this project, and for each of its clever parts the plain way beside it."""

from itertools import repeat
from threading import Event
from typing import Any

from hiredis import pack_command

from redisflow_lab import Delivery, RedisStreamConsumer, RedisStreamProducer
from redisflow_lab.events import BatchHook, Hook
from redisflow_lab.metrics import ClientMetrics
from tools.bench.side import BATCH, Job, by_batch, one_by_one


def publish_one_by_one(job: Job) -> None:
    producer, message = RedisStreamProducer(job.connect(), job.stream), job.message
    for _ in range(job.count):
        producer.publish(message)


def publish_by_batch(job: Job) -> None:
    producer = RedisStreamProducer(job.connect(), job.stream)
    producer.publish_many(repeat(job.message, job.count), batch_size=BATCH)


def publish_plainly(job: Job) -> None:
    """As `publish_many`, but by what hiredis and redis-py offer for packing and reading."""
    connection = job.connect().connection_pool.get_connection()
    message, start = job.message, ("XADD", job.stream, "*", b"data")
    entry_ids: list[str] = []
    for sent in range(0, job.count, BATCH):
        commands: Any = [(*start, message.to_bytes()) for _ in range(BATCH)]
        connection.send_packed_command([b"".join([pack_command(one) for one in commands])])
        if sent:  # one batch stays in flight
            entry_ids += [connection.read_response().decode() for _ in range(BATCH)]
    entry_ids += [connection.read_response().decode() for _ in range(BATCH)]


def consume(
    job: Job,
    *,
    batch: int = BATCH,
    prefetch: bool = True,
    on_batch: BatchHook | None = None,
    on_event: Hook | None = None,
) -> None:
    consumer = RedisStreamConsumer(
        job.connect(), job.stream, job.group, "ours",
        batch=batch, ack_every=batch, on_batch=on_batch, on_event=on_event,
    )  # fmt: skip
    handled = 0
    stop = Event()

    # Stopped by the last message: an idle server notices the end of a BLOCK up to 100 ms late.
    def handle(_: Delivery) -> None:
        nonlocal handled
        handled += 1
        if handled == job.count:
            stop.set()

    if prefetch:
        consumer.run(handle, stop=stop)
    else:
        consumer.ensure_group()
        while not stop.is_set():
            consumer.read_new(handle)


SINGLE_PUBLISHER = one_by_one("redisflow", publish_one_by_one)
PUBLISHER = by_batch("redisflow", publish_by_batch)
PLAIN_PUBLISHER = by_batch("pack_command and read_response", publish_plainly)
SINGLE_CONSUMER = one_by_one("redisflow", lambda job: consume(job, batch=1))
CONSUMER = by_batch("redisflow", consume)
WITH_METRICS = by_batch(
    "redisflow", lambda job: consume(job, on_batch=ClientMetrics().on_batch), ", ClientMetrics"
)
WITH_EVENTS = by_batch(
    "redisflow", lambda job: consume(job, on_event=lambda _: None), ", on_event"
)
WITHOUT_PREFETCH = by_batch(
    "redisflow", lambda job: consume(job, prefetch=False), ", read_new in a loop"
)
