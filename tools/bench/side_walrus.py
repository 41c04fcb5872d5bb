"""walrus: a redis-py client with container objects, one of them a consumer group.

It has no way of its own to publish in batches: there it is redis-py.
"""

from walrus import Database  # type: ignore[import-untyped]

from tools.bench.side import BATCH, Job, by_batch, parse


def consume(job: Job) -> None:
    group = Database.from_url(job.url).consumer_group(job.group, [job.stream])
    group.create()
    stream = group.streams[job.stream]
    while entries := stream.read(count=BATCH):
        for _, fields in entries:
            parse(fields[b"data"])
        stream.ack(*[entry_id for entry_id, _ in entries])


CONSUMER = by_batch("walrus ConsumerGroup", consume)
