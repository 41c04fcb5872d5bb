"""Producers and consumers work with a redis-py client of any settings."""

import threading
from typing import Any

import pytest
from consumers import NewConsumer
from handlers import collect_into, decline
from network import address_of
from redis import Redis

from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.inspection.groups import status_of
from redisflow_lab.inspection.state import Reader
from redisflow_lab.lab import Lab
from redisflow_lab.metrics import StreamCollector
from redisflow_lab.partitions import PartitionedProducer, Partitions, partition_streams

SETTINGS: list[dict[str, Any]] = [
    {},
    {"decode_responses": True},
    {"protocol": 3},
    {"protocol": 2},
    {"legacy_responses": False},
    {"socket_timeout": 0.05},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_client_of_any_settings_produces_and_consumes(
    lab: Lab, stream: str, consumer: NewConsumer, settings: dict[str, Any]
) -> None:
    client = Redis(**address_of(lab), **settings)
    alice = consumer(redis=client, block_ms=200)
    assert alice.read_new(decline) == 0
    RedisStreamProducer(client, stream).publish(Message("web", "ß"))
    handled: list[str] = []
    alice.read_new(decline)
    alice.replay_pending(collect_into(handled))
    assert handled == ["ß"]


def test_a_blocked_reader_does_not_block_other_users_of_its_client(
    own_lab: Lab, stream: str, consumer: NewConsumer
) -> None:
    one = Redis(**address_of(own_lab), max_connections=1, single_connection_client=True)
    alice = consumer(redis=one, block_ms=60_000)
    handled: list[str] = []
    reading = threading.Thread(target=alice.read_new, args=(collect_into(handled),))
    reading.start()
    own_lab.wait_until(
        lambda: any("xreadgroup" in c["cmd"] for c in own_lab.redis.client_list()),
        "alice is blocked in a read",
    )
    assert one.ping()
    RedisStreamProducer(one, stream).publish(Message("web", "a"))
    reading.join(5)
    assert handled == ["a"]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_client_of_any_settings_looks_at_streams(
    own_lab: Lab, settings: dict[str, Any]
) -> None:
    client = Redis(**{**address_of(own_lab), **settings})
    RedisStreamProducer(own_lab.redis, "orders").publish(Message("web", "a"))
    PartitionedProducer(own_lab.redis, "parcels", partitions=2).publish(
        Message("web", "b"), partition_key="b"
    )
    for stream in ("orders", *partition_streams("parcels", 2)):
        own_lab.redis.xgroup_create(stream, "billing", id="0", mkstream=True)
    (group,) = status_of(client, "orders").groups
    assert (group.name, group.lag) == ("billing", 1)
    assert Reader(client, "orders").read().groups["billing"].lag == 1
    statuses = Partitions(client, "parcels").status()
    assert sum(each.status.groups[0].lag or 0 for each in statuses if each.status) == 1
    lags = [
        sample.value
        for family in StreamCollector(client, ["orders"], partitioned=["parcels"]).collect()
        for sample in family.samples
        if sample.name == "redis_stream_group_lag"
    ]
    assert sorted(lags) == [0, 1, 1]
