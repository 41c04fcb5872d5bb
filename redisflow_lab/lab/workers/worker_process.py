"""What runs inside a worker process: a consumer that may be told where to die."""

import json
import os
import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TypedDict

from redis import Redis

from redisflow_lab.consumer import RedisStreamConsumer
from redisflow_lab.events import Event, Kind
from redisflow_lab.interfaces import Handler
from redisflow_lab.signals import stop_on_signals

CRASH_POINTS = {
    "after-claim": Kind.CLAIMED,  # taken over, and nothing else
    "after-delivery": Kind.DELIVERED,  # the server says it is pending, nothing was done
    "before-ack": Kind.HANDLED,  # the side effect happened, XACK was not sent
    "after-ack": Kind.ACKED,  # all was done
    "after-failure": Kind.FAILED,  # the handler raised, nothing was done about it
    "after-dead-letter": Kind.DEAD_LETTERED,  # given up
}


class Options(TypedDict):
    """What a worker passes on to its `RedisStreamConsumer`."""

    batch: int
    ack_every: int
    min_idle_ms: int
    max_deliveries: int


@dataclass(frozen=True)
class Job:
    """What a worker process is told, through a pipe, when it starts."""

    redis: Redis
    stream: str
    group: str
    name: str | None
    handler: Handler
    options: Options
    crash: str | None
    after: int


def reporter(events_fd: int, crash: str | None, after: int) -> Callable[[Event], None]:
    """A hook that writes each event to the pipe, and kills this process when it is time.

    The event is in the pipe before the process dies: what was written stays readable.
    """
    point = CRASH_POINTS.get(crash or "")
    reached = 0

    def report(event: Event) -> None:
        nonlocal reached
        os.write(events_fd, (json.dumps(asdict(event)) + "\n").encode())
        if event.kind is point:
            reached += 1
            if reached == after:
                os.kill(os.getpid(), signal.SIGKILL)

    return report


def main(job_fd: int, events_fd: int) -> None:
    with os.fdopen(job_fd, "rb") as pipe:
        job: Job = pickle.load(pipe)
    consumer = RedisStreamConsumer(
        job.redis,
        job.stream,
        job.group,
        job.name,
        block_ms=20,  # it sees a stop as soon
        on_event=reporter(events_fd, job.crash, job.after),
        **job.options,
    )
    with stop_on_signals() as stop:
        consumer.run(job.handler, stop=stop)


if __name__ == "__main__":
    # Not the functions of this module, which is __main__, but those the job was packed with.
    from redisflow_lab.lab.workers import worker_process

    worker_process.main(*map(int, sys.argv[1:]))
