"""A consumer as most tests want it: alice of billing, who does not wait long."""

from redisflow_lab import RedisStreamConsumer
from redisflow_lab.lab import Lab


def consumer_of(
    lab: Lab, stream: str, name: str = "alice", **options: object
) -> RedisStreamConsumer:
    """Its group is made. The options are those of `RedisStreamConsumer`."""
    consumer = RedisStreamConsumer(
        lab.redis,
        stream,
        "billing",
        name,
        **{"block_ms": 20, **options},  # type: ignore[arg-type]
    )
    consumer.ensure_group()
    return consumer
