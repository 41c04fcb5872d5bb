"""Producer and consumer on a Redis Cluster: they follow a stream wherever its slot goes."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event as StopEvent
from typing import Any

import pytest
from consumers import numbered, run_until_it_ends, running
from handlers import collect_into, decline
from redis import Redis, RedisCluster

from redisflow_lab import (
    Message,
    MultiStreamConsumer,
    NotReplicatedError,
    RedisStreamConsumer,
    RedisStreamProducer,
)
from redisflow_lab.dead_letters import DeadLetters
from redisflow_lab.lab import Lab

# Each test has a stream of its own, in a slot that node-1 owns at first.


@pytest.fixture(scope="module")
def shards() -> Iterator[Lab]:
    lab = Lab("own", cluster=3, replicas=1)
    yield lab
    lab.close()


@pytest.fixture
def cluster(shards: Lab) -> RedisCluster:
    return shards.redis  # type: ignore[return-value]


@pytest.fixture
def stream(cluster: RedisCluster, request: pytest.FixtureRequest) -> str:
    """A stream whose slot is on node-1."""
    first = cluster.get_node_from_key("0").port  # of any slot
    name = request.node.name
    return next(
        f"{{{name}{number}}}"
        for number in range(100)
        if cluster.get_node_from_key(f"{name}{number}").port == first
    )


def messages(count: int) -> list[Message]:
    return [Message("web", content) for content in numbered(count)]


def commands(shards: Lab, text: str) -> int:
    """How often the nodes have executed commands with this in their name."""
    return sum(
        stats["calls"]
        for node in shards.nodes.values()
        for name, stats in node.connect().info("commandstats").items()  # type: ignore[union-attr]
        if text in name
    )
