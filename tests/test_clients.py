"""Producers and consumers work with a redis-py client of any settings."""

import threading

import pytest
from consumers import NewConsumer
from handlers import collect_into, decline
from network import address_of
from redis import Redis

from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.lab import Lab


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"decode_responses": True},
        {"protocol": 3},
        {"protocol": 2},
        {"legacy_responses": False},
        {"socket_timeout": 0.05},
    ],
    ids=str,
)
def test_a_client_of_any_settings_produces_and_consumes(
    lab: Lab, stream: str, consumer: NewConsumer, settings: dict[str, object]
) -> None:
    client = Redis(**address_of(lab), **settings)  # type: ignore[arg-type]
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
