"""The helper of this project, and for each of its clever parts the plain way beside it."""

from collections import deque
from collections.abc import Callable
from itertools import repeat
from threading import Event

from hiredis import pack_command

from redisflow_lab import Delivery, RedisStreamConsumer, RedisStreamProducer
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
    entry_ids: list[str] = []
    in_flight: deque[int] = deque()

    def receive() -> None:
        entry_ids.extend(
            [connection.read_response().decode() for _ in range(in_flight.popleft())]
        )

    message, command = job.message, ("XADD", job.stream, "*", b"data")
    for _ in range(job.count // BATCH):
        packets = [pack_command((*command, message.to_bytes())) for _ in range(BATCH)]  # type: ignore[arg-type]
        connection.send_packed_command([b"".join(packets)])
        in_flight.append(BATCH)
        if len(in_flight) > 1:
            receive()
    receive()


Consume = Callable[[RedisStreamConsumer, Callable[[Delivery], None], Event], None]


def run(
    consumer: RedisStreamConsumer, handler: Callable[[Delivery], None], stop: Event
) -> None:
    consumer.run(handler, stop=stop)


def read_new_in_a_loop(
    consumer: RedisStreamConsumer, handler: Callable[[Delivery], None], stop: Event
) -> None:
    consumer.ensure_group()
    while not stop.is_set():
        consumer.read_new(handler)


def consume(job: Job, how: Consume = run, *, batch: int = BATCH) -> None:
    consumer = RedisStreamConsumer(
        job.connect(), job.stream, job.group, "ours", batch=batch, ack_every=batch
    )
    handled = 0
    stop = Event()

    # Stopped by the last message: an idle server notices the end of a BLOCK up to 100 ms late.
    def handle(_: Delivery) -> None:
        nonlocal handled
        handled += 1
        if handled == job.count:
            stop.set()

    how(consumer, handle, stop)


SINGLE_PUBLISHER = one_by_one("redisflow", publish_one_by_one)
PUBLISHER = by_batch("redisflow", publish_by_batch)
PLAIN_PUBLISHER = by_batch("pack_command and read_response", publish_plainly)
SINGLE_CONSUMER = one_by_one("redisflow", lambda job: consume(job, batch=1))
CONSUMER = by_batch("redisflow", consume)
WITHOUT_PREFETCH = by_batch(
    "redisflow", lambda job: consume(job, read_new_in_a_loop), ", read_new in a loop"
)
