"""faststream: its Redis broker, with a subscriber that takes a group's stream by batch."""

import asyncio
from typing import Any

from faststream import AckPolicy
from faststream.redis import BinaryMessageFormatV1, RedisBroker, StreamSub
from faststream.redis.message import bDATA_KEY

from redisflow_lab.pb.redisflow.v1.stream_message_pb2 import StreamMessage
from tools.bench.side import BATCH, BY_BATCH, Consumer, Payload, Place, Publisher, parse


def broker(place: Place) -> RedisBroker:
    # The binary format, because the JSON one cannot carry protobuf bytes.
    # Without a log: it has a line for each message, which no other side has.
    return RedisBroker(place.url, message_format=BinaryMessageFormatV1, logger=None)  # type: ignore[arg-type]


async def publish(place: Place, payload: Payload, count: int) -> None:
    async with broker(place) as faststream:
        redis = await faststream.connect()
        for _ in range(count // BATCH):
            # publish_batch is for lists only; a pipeline is how streams are written by batch.
            pipeline = redis.pipeline(transaction=False)
            for _ in range(BATCH):
                await faststream.publish(payload.data, stream=place.stream, pipeline=pipeline)
            await pipeline.execute()


async def parse_batch(raw: dict[str, Any], original: Any) -> Any:
    """The message of a whole batch, its body a list of bytes.

    The library's own parser turns the bodies of a batch into JSON, which protobuf is not;
    so it is given none, and makes the rest of the message.
    """
    message = await original({**raw, "data": []})
    message.body = [BinaryMessageFormatV1.parse(item[bDATA_KEY])[0] for item in raw["data"]]
    return message


async def decode_batch(message: Any) -> list[StreamMessage]:
    return [parse(data) for data in message.body]


async def consume(place: Place, count: int) -> int:
    faststream = broker(place)
    handled = 0
    done = asyncio.Event()

    @faststream.subscriber(
        stream=StreamSub(
            place.stream, group=place.group, consumer="faststream",
            batch=True, max_records=BATCH, last_id="0",
        ),
        parser=parse_batch,
        decoder=decode_batch,
        ack_policy=AckPolicy.NACK_ON_ERROR,  # acknowledge only what the handler returned from
    )  # fmt: skip
    async def handle(messages: list) -> None:  # type: ignore[type-arg]  # validates no items
        nonlocal handled
        handled += len(messages)
        if handled == count:
            done.set()

    async with faststream:
        await faststream.start()
        await done.wait()
    return handled


PIPELINED = Publisher(
    "faststream",
    BY_BATCH,
    lambda place, payload, count: asyncio.run(publish(place, payload, count)),
)
SIDES = [
    PIPELINED,
    Consumer(
        "faststream StreamSub",
        BY_BATCH,
        PIPELINED,
        lambda place, count: asyncio.run(consume(place, count)),
    ),
]
