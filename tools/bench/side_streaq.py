"""streaq: a task queue on streams; a message is the argument of a task."""

import asyncio

from streaq import Worker
from streaq.task import AsyncRegisteredTask

from tools.bench.side import BATCH, BY_BATCH, FEW, Consumer, Payload, Place, Publisher, parse


def queue(place: Place) -> tuple[Worker[None], AsyncRegisteredTask[[bytes], None]]:
    # Its default of 16 tasks at once, which was faster than 50 and 100.
    worker: Worker[None] = Worker(place.url, queue_name=place.stream, handle_signals=False)

    # No log line and no stored result, which no other side has either.
    @worker.task(name="handle", silent=True, ttl=0)
    async def handle(data: bytes) -> None:
        parse(data)

    return worker, handle


async def publish(place: Place, payload: Payload, count: int) -> None:
    worker, task = queue(place)
    async with worker:
        for _ in range(count // BATCH):
            await worker.enqueue_many([task.enqueue(payload.data) for _ in range(BATCH)])


async def consume(place: Place) -> int:
    worker, _ = queue(place)
    worker.burst = True  # ends when the queue is empty
    await worker.run_async()
    return worker.counters["completed"]


ENQUEUED = Publisher(
    "streaq",
    BY_BATCH,
    lambda place, payload, count: asyncio.run(publish(place, payload, count)),
    FEW,
    stream=f"streaq:{Place.stream}:queues:normal",
)
SIDES = [
    ENQUEUED,
    Consumer(
        "streaq Worker",
        "16 at once, acknowledged one by one",
        ENQUEUED,
        lambda place, _: asyncio.run(consume(place)),
        FEW,
        group="workers",
    ),
]
