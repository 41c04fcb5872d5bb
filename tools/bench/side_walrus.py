"""walrus: its Database is a redis-py client with containers, one of them a consumer group."""

from walrus import Database  # type: ignore[import-untyped]

from tools.bench.side import BATCH, BY_BATCH, Consumer, Payload, Place, Publisher, parse
from tools.bench.side_redis_py import PIPELINED


def publish(place: Place, payload: Payload, count: int) -> None:
    database = Database.from_url(place.url)
    for _ in range(count // BATCH):
        # Stream.add writes one at a time; the pipeline is what the client offers beside it.
        with database.pipeline(transaction=False) as pipeline:
            for _ in range(BATCH):
                pipeline.xadd(place.stream, {b"data": payload.data})
            pipeline.execute()


def consume(place: Place) -> int:
    database = Database.from_url(place.url)
    group = database.consumer_group(place.group, [place.stream])
    group.create()
    stream = group.streams[place.stream]
    handled = 0
    while entries := stream.read(count=BATCH):
        for _, fields in entries:
            parse(fields[b"data"])
        stream.ack(*[entry_id for entry_id, _ in entries])
        handled += len(entries)
    return handled


SIDES = [
    Publisher("walrus", BY_BATCH, publish),
    Consumer("walrus ConsumerGroup", BY_BATCH, PIPELINED, lambda place, _: consume(place)),
]
