"""The number of partitions, kept beside the streams: all programs must agree on it."""

from redis import Redis, RedisCluster

from redisflow_lab._internal.connection import stream_client
from redisflow_lab._internal.printable import printable


class PartitionCountError(ValueError):
    """Raised if a program expects another number of partitions than there is."""


def count_key(stream: str) -> str:
    """The key that holds the number of partitions, in decimal digits."""
    return f"{stream}:partitions"


def stored_count(redis: Redis | RedisCluster, stream: str) -> int | None:
    """The number of partitions; None if nobody has used the partitions yet.

    Raises PartitionCountError if the key holds something else.
    """
    with stream_client(redis, count_key(stream)) as client:
        found = client.get(count_key(stream))
    if found is None:
        return None
    text = bytes(found).decode(errors="backslashreplace")
    if not text.isdecimal():
        raise PartitionCountError(
            f"the key {printable(count_key(stream))} holds {printable(text, 40)!r}, and not a "
            "number of partitions. Another program has written it: rename that key"
        )
    return int(text)


def agree_on_count(redis: Redis | RedisCluster, stream: str, partitions: int) -> None:
    """Store the number of partitions, or check that it is the one that is stored.

    redis: to ask again after an error, a client from `stream_client`: it remembers that the
           node has failed, and asks the cluster for its successor

    Raises PartitionCountError if it is not, and redis.RedisError as usual.
    """
    with stream_client(redis, count_key(stream)) as client:
        client.set(count_key(stream), partitions, nx=True)
    stored = stored_count(redis, stream)
    if stored != partitions:
        raise PartitionCountError(
            f"{printable(stream)} has {stored} partitions, and not {partitions}. With another "
            "number, most keys are in another partition, where their messages could overtake "
            f"the earlier ones. Use {stored}; or let the consumers finish, stop all programs, "
            f"and set {printable(count_key(stream))} to {partitions}"
        )
