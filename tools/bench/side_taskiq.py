"""taskiq-redis: a task queue on a stream; a message is the argument of a task."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

from taskiq import AsyncTaskiqDecoratedTask
from taskiq.receiver import Receiver
from taskiq_redis import RedisStreamBroker

from tools.bench.side import BATCH, FEW, Consumer, Payload, Place, Publisher, parse

AT_ONCE = 20
"""Tasks sent at the same time, each on a connection of its own; more are slower."""

Task = AsyncTaskiqDecoratedTask[[str], Any]


def broker(place: Place, handle: Callable[[bytes], None]) -> tuple[RedisStreamBroker, Task]:
    taskiq = RedisStreamBroker(
        place.url, place.stream, consumer_group_name=place.group, consumer_id="0",
        xread_count=BATCH,
    )  # fmt: skip

    @taskiq.task(task_name="handle")
    async def task(data: str) -> None:
        handle(b64decode(data))

    return taskiq, task


async def publish(place: Place, payload: Payload, count: int) -> None:
    taskiq, task = broker(place, lambda data: None)
    await taskiq.startup()
    for _ in range(count // AT_ONCE):
        # base64, because arguments travel as JSON whatever the serializer.
        await asyncio.gather(
            *[task.kiq(b64encode(payload.data).decode()) for _ in range(AT_ONCE)]
        )
    await taskiq.shutdown()


async def consume(place: Place, count: int) -> int:
    handled = 0
    done = asyncio.Event()

    def handle(data: bytes) -> None:
        nonlocal handled
        parse(data)
        handled += 1
        if handled == count:
            done.set()

    taskiq, _ = broker(place, handle)
    taskiq.is_worker_process = True
    # The worker's command line runs this receiver, with 100 tasks at once by default. It
    # returns when every task has been acknowledged.
    await Receiver(taskiq, max_async_tasks=100).listen(done)
    await taskiq.shutdown()
    return handled


SENT = Publisher(
    "taskiq-redis",
    f"one by one, {AT_ONCE} at once",
    lambda place, payload, count: asyncio.run(publish(place, payload, count)),
    FEW,
)
SIDES = [
    SENT,
    Consumer(
        "taskiq-redis RedisStreamBroker",
        "read by batch, acknowledged one by one",
        SENT,
        lambda place, count: asyncio.run(consume(place, count)),
        FEW,
    ),
]
