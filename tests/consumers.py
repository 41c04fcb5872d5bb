"""Types of the fixtures that make and feed consumers, and consumers that run in threads."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event as StopEvent
from typing import Any, TypeVar

from redisflow_lab import RedisStreamConsumer
from redisflow_lab.interfaces import Handler
from redisflow_lab.partitions import PartitionedConsumer

NewConsumer = Callable[..., RedisStreamConsumer]
"""Fixture `consumer`: name, redis, group, and the options of `RedisStreamConsumer`."""
Publish = Callable[..., list[str]]
"""Fixture `publish`: the contents, and by name the producer."""

Result = TypeVar("Result")


@contextmanager
def running(
    *consumers: RedisStreamConsumer | PartitionedConsumer, handler: Handler
) -> Iterator[StopEvent]:
    """Run each consumer in a thread while the block runs; what one raised is raised.

    Yields the event that stops them.
    """
    stop = StopEvent()
    with ThreadPoolExecutor(len(consumers)) as threads:
        runs = [threads.submit(consumer.run, handler, stop=stop) for consumer in consumers]
        try:
            yield stop
        finally:
            stop.set()
            for run in runs:
                run.result(timeout=10)


def all_at_once(calls: list[Callable[[], Result]]) -> list[Result]:
    """Make these calls at the same time, each in a thread, and return what they return."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return [call.result() for call in [threads.submit(call) for call in calls]]


def numbered(count: int) -> list[str]:
    """The contents "0", "1", ... of as many messages."""
    return [str(number) for number in range(count)]


def rows(table: Any, *columns: str) -> list[list[Any]]:
    """These columns of a table, one list a row."""
    values: list[list[Any]] = table[[*columns]].values.tolist()
    return values
