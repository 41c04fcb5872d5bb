"""Reads several replies from one moment."""

from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import OutOfMemoryError


def of_one_moment(redis: Redis, ask: Callable[[Pipeline], None]) -> list[Any]:
    """Run several commands with none of another client in between; returns the replies.

    ask: adds the commands to a pipeline
    """
    try:
        return _replies(redis, ask, transaction=True)
    except OutOfMemoryError:
        # A server out of memory refuses MULTI. It still answers the commands of one packet
        # one after the other.
        return _replies(redis, ask, transaction=False)


def _replies(redis: Redis, ask: Callable[[Pipeline], None], *, transaction: bool) -> list[Any]:
    with redis.pipeline(transaction=transaction) as pipeline:
        ask(pipeline)
        return pipeline.execute()
