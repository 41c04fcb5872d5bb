"""coredis: a pipeline to publish, its GroupConsumer to consume."""

import asyncio

from coredis import Redis
from coredis.patterns.streams import GroupConsumer

from tools.bench.side import BATCH, BY_BATCH, Consumer, Payload, Place, Publisher, parse
from tools.bench.side_redis_py import PIPELINED


async def publish(place: Place, payload: Payload, count: int) -> None:
    async with Redis.from_url(place.url) as redis:
        for _ in range(count // BATCH):
            async with redis.pipeline(transaction=False) as pipeline:
                for _ in range(BATCH):
                    pipeline.xadd(place.stream, {b"data": payload.data})


async def consume(place: Place) -> int:
    handled = 0
    async with Redis.from_url(place.url) as redis:
        # Made here, because GroupConsumer would start the group at `$`.
        await redis.xgroup_create(place.stream, place.group, "0")
        # It reads buffer_size + 1 entries at a time, and leaves acknowledging to its user.
        async with GroupConsumer(
            redis, [place.stream], place.group, "coredis", buffer_size=BATCH - 1
        ) as consumer:
            unacked = []
            async for stream, entry in consumer:
                parse(entry.field_values[b"data"])  # type: ignore[arg-type]
                handled += 1
                unacked.append(entry.identifier)
                if len(unacked) == BATCH:
                    await redis.xack(stream, place.group, unacked)
                    unacked.clear()
    return handled


SIDES = [
    Publisher(
        "coredis",
        BY_BATCH,
        lambda place, payload, count: asyncio.run(publish(place, payload, count)),
    ),
    Consumer(
        "coredis GroupConsumer",
        BY_BATCH,
        PIPELINED,
        lambda place, _: asyncio.run(consume(place)),
    ),
]
