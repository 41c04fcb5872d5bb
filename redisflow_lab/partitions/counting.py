"""The number of partitions, kept beside the streams: all programs must agree on it."""

import re

from redis import Redis, RedisCluster
from redis.exceptions import RedisError, ResponseError

from redisflow_lab._internal.connection import stream_client
from redisflow_lab._internal.printable import printable
from redisflow_lab.partitions.placing import MAX_PARTITIONS


class PartitionCountError(ValueError):
    """Raised if a program expects another number of partitions than there is."""


def count_key(stream: str) -> str:
    """The key that holds the number of partitions, in decimal digits."""
    return f"{stream}:partitions"


def stored_count(redis: Redis | RedisCluster, stream: str) -> int | None:
    """The number of partitions; None if no program has used the partitions yet.

    Raises PartitionCountError if the key holds something else.
    """
    with stream_client(redis, count_key(stream)) as client:
        return read_count(client, stream)


def read_count(client: Redis, stream: str) -> int | None:
    """What `stored_count` returns, with a client for the slot of the `count_key`."""
    try:
        found = client.get(count_key(stream))
    except ResponseError as error:
        if not str(error).startswith("WRONGTYPE"):
            raise
        raise _no_count(stream, "no text") from None
    if found is None:
        return None
    text = found if isinstance(found, str) else found.decode(errors="backslashreplace")
    if not re.fullmatch("[1-9][0-9]{0,3}", text) or int(text) > MAX_PARTITIONS:
        raise _no_count(stream, repr(printable(text, 40)))
    return int(text)


def _no_count(stream: str, found: str) -> PartitionCountError:
    return PartitionCountError(
        f"the key {printable(count_key(stream))} holds {found}, not a number of "
        "partitions. Another program has written it: rename that key"
    )


def agree_on_count(client: Redis, stream: str, partitions: int) -> None:
    """Store the number of partitions, or check that it is the one that is stored.

    client: from `stream_client`, for the slot of the `count_key`. Threads may share it

    Raises PartitionCountError if it is not, and redis.RedisError as usual.
    """
    try:
        client.set(count_key(stream), partitions, nx=True)
        stored = read_count(client, stream)
    except RedisError:
        # The next try asks the cluster which node it is now. Other threads keep theirs.
        client.connection_pool.disconnect(inuse_connections=False)
        raise
    if stored != partitions:
        raise PartitionCountError(
            f"{printable(stream)} has {stored} partitions, not {partitions}. With another "
            "number, most keys are in another partition, where their messages could overtake "
            f"the earlier ones. Use {stored}. To change it: stop the producers, wait until lag "
            "and pending are 0 in each partition, stop the consumers, and set "
            f"{printable(count_key(stream))} to {partitions}"
        )
