"""The code of a worker process: a consumer that can kill itself at a chosen point."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TypedDict

from redis import Redis

from redisflow_lab.consumer import RedisStreamConsumer
from redisflow_lab.events import Event, Kind
from redisflow_lab.interfaces import Handler
from redisflow_lab.signals import stop_on_signals

CRASH_POINTS = {
    "after-claim": Kind.CLAIMED,  # taken over from another consumer, nothing done yet
    "after-delivery": Kind.DELIVERED,  # pending on the server, handler not called yet
    "before-ack": Kind.HANDLED,  # the handler returned, XACK not sent yet
    "after-ack": Kind.ACKED,  # acknowledged
    "after-failure": Kind.FAILED,  # the handler raised, nothing done about it yet
    "after-dead-letter": Kind.DEAD_LETTERED,  # written to the dead-letter stream
}


class Options(TypedDict):
    """Arguments for the `RedisStreamConsumer` of the process."""

    batch: int
    ack_every: int
    min_idle_ms: int
    max_deliveries: int


@dataclass(frozen=True)
class Job:
    """What a worker process consumes, and how."""

    redis: Redis
    stream: str
    group: str
    name: str | None
    handler: Handler
    options: Options
    crash: str | None
    after: int


def make_reporter(events_fd: int, crash: str | None, after: int) -> Callable[[Event], None]:
    """An `on_event` hook that writes each event to a pipe, and kills the process at `crash`.

    The event is written before the process dies, so the notebook still reads it.
    """
    point = CRASH_POINTS.get(crash or "")
    reached = 0

    def report(event: Event) -> None:
        nonlocal reached
        os.write(
            events_fd, (json.dumps(asdict(replace(event, exception=None))) + "\n").encode()
        )
        if event.kind is point:
            reached += 1
            if reached == after:
                os.kill(os.getpid(), signal.SIGKILL)

    return report


def consume(job: Job, events_fd: int) -> None:
    """Consume, and write events to the pipe, until SIGTERM."""
    consumer = RedisStreamConsumer(
        job.redis,
        job.stream,
        job.group,
        job.name,
        block_ms=20,  # so it notices SIGTERM within 20 ms
        on_event=make_reporter(events_fd, job.crash, job.after),
        **job.options,
    )
    with stop_on_signals() as stop:
        consumer.run(job.handler, stop=stop)
