"""Several answers of the server that belong together."""

from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import OutOfMemoryError


def of_one_moment(redis: Redis, ask: Callable[[Pipeline], None]) -> list[Any]:
    """The replies to several commands, with nothing of another client in between.

    ask: puts the commands into a pipeline
    """
    try:
        return _replies(redis, ask, transaction=True)
    except OutOfMemoryError:
        # A server that is full takes no MULTI. It still answers the commands of one packet
        # one after the other.
        return _replies(redis, ask, transaction=False)


def _replies(redis: Redis, ask: Callable[[Pipeline], None], *, transaction: bool) -> list[Any]:
    with redis.pipeline(transaction=transaction) as pipeline:
        ask(pipeline)
        return pipeline.execute()
