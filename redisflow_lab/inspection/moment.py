"""Reads several replies from one moment."""

from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import AskError, OutOfMemoryError, TryAgainError

from redisflow_lab._internal.slot import following


def of_one_moment(redis: Redis, ask: Callable[[Pipeline], None]) -> list[Any]:
    """Run several commands with none of another client in between; returns the replies.

    redis: a client of one server, or of one slot of a cluster
    ask:   adds the commands to a pipeline
    """
    try:
        return following(redis, lambda: _replies(redis, ask, transaction=True))
    except OutOfMemoryError:
        # A server out of memory refuses MULTI. It still answers the commands of one packet
        # one after the other.
        return following(redis, lambda: _replies(redis, ask, transaction=False))
    except (AskError, TryAgainError):
        # The slot is being moved, and each of its keys is on one of two nodes.
        return _one_by_one(redis, ask)


def _replies(redis: Redis, ask: Callable[[Pipeline], None], *, transaction: bool) -> list[Any]:
    with redis.pipeline(transaction=transaction) as pipeline:
        ask(pipeline)
        return pipeline.execute()


def _one_by_one(redis: Redis, ask: Callable[[Pipeline], None]) -> list[Any]:
    with redis.pipeline() as pipeline:
        ask(pipeline)
        commands = [*pipeline.command_stack]
    return [redis.execute_command(*command, **options) for command, options in commands]
