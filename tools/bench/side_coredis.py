"""coredis: a pipeline to publish, its GroupConsumer to consume."""

import asyncio

from coredis import Redis
from coredis.patterns.streams import GroupConsumer

from tools.bench.side import BATCH, Job, by_batch, parse


async def publish(job: Job) -> None:
    data = job.data
    async with Redis.from_url(job.url) as redis:
        for _ in range(job.count // BATCH):
            async with redis.pipeline(transaction=False) as pipeline:
                for _ in range(BATCH):
                    pipeline.xadd(job.stream, {b"data": data})


async def consume(job: Job) -> None:
    async with Redis.from_url(job.url) as redis:
        # Made here, because GroupConsumer would start the group at `$`.
        await redis.xgroup_create(job.stream, job.group, "0")
        # It reads buffer_size + 1 entries at a time, and leaves acknowledging to its user.
        async with GroupConsumer(
            redis, [job.stream], job.group, "coredis", buffer_size=BATCH - 1
        ) as consumer:
            handled = []
            async for stream, entry in consumer:
                parse(entry.field_values[b"data"])  # type: ignore[arg-type]
                handled.append(entry.identifier)
                if len(handled) == BATCH:
                    await redis.xack(stream, job.group, handled)
                    handled.clear()


PUBLISHER = by_batch("coredis", lambda job: asyncio.run(publish(job)))
CONSUMER = by_batch("coredis GroupConsumer", lambda job: asyncio.run(consume(job)))
