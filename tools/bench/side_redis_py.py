"""Plain redis-py: what one writes by hand, and what the others are compared with."""

from collections.abc import Callable
from typing import Any

from tools.bench.side import BATCH, Job, by_batch, one_by_one, parse


def publish_one_by_one(job: Job) -> None:
    redis, fields = job.connect(), {"data": job.data}
    for _ in range(job.count):
        redis.xadd(job.stream, fields)  # type: ignore[arg-type]


def publish_by_batch(job: Job) -> None:
    redis, fields = job.connect(), {"data": job.data}
    for _ in range(job.count // BATCH):
        pipeline = redis.pipeline(transaction=False)
        for _ in range(BATCH):
            pipeline.xadd(job.stream, fields)  # type: ignore[arg-type]
        pipeline.execute()


def consume(job: Job, *, batch: int = BATCH, decode: bool = True) -> None:
    redis = job.connect()
    redis.xgroup_create(job.stream, job.group, id="0")
    # redis-py types every shape a reply may have; this client gets the default one.
    read: Callable[..., Any] = redis.xreadgroup
    while reply := read(job.group, "plain", {job.stream: ">"}, count=batch):
        entries = reply[0][1]
        if decode:
            for _, fields in entries:
                parse(fields[b"data"])
        redis.xack(job.stream, job.group, *[entry_id for entry_id, _ in entries])


SINGLE_PUBLISHER = one_by_one("redis-py", publish_one_by_one)
PUBLISHER = by_batch("redis-py", publish_by_batch)
SINGLE_CONSUMER = one_by_one("redis-py", lambda job: consume(job, batch=1))
CONSUMER = by_batch("redis-py", consume)
NOT_DECODING = by_batch("redis-py", lambda job: consume(job, decode=False), ", not decoding")
