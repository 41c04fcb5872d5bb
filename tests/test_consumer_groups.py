"""Consumer groups: where one starts, what its consumers share, and that it is created again."""

from collections.abc import Callable
from threading import Event as StopEvent

import pytest
import redis
from consumers import NewConsumer, Publish, numbered, running
from handlers import collect_into, decline, interrupt_at
from redis import Redis

from redisflow_lab import Delivery, RedisStreamConsumer
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until


def test_a_new_group_starts_at_the_first_entry(publish: Publish, consumer: NewConsumer) -> None:
    publish(*numbered(3))
    handled: list[str] = []
    consumer().read_new(collect_into(handled))
    assert handled == ["0", "1", "2"]


def test_ensure_group_returns_whether_it_created_the_group_and_creates_the_stream(
    lab: Lab, stream: str
) -> None:
    consumer = RedisStreamConsumer(lab.redis, stream, "billing", "alice")
    assert consumer.ensure_group() is True
    assert consumer.ensure_group() is False
    assert lab.redis.xlen(stream) == 0


def test_the_group_lists_a_consumer_before_it_was_given_anything(
    lab: Lab, consumer: NewConsumer
) -> None:
    alice = consumer("alice")
    assert list(lab.consumers(alice.stream)["consumer"]) == ["alice"]
    assert list(lab.consumers(alice.stream)["pending"]) == [0]


def test_consumers_share_the_messages_of_a_group_and_each_group_gets_all(
    publish: Publish, consumer: NewConsumer
) -> None:
    publish(*numbered(4))
    alice, bob, audit = ([], [], [])  # type: tuple[list[str], list[str], list[str]]
    consumer("alice", batch=2).read_new(collect_into(alice))
    consumer("bob").read_new(collect_into(bob))
    consumer("alice", group="audit").read_new(collect_into(audit))
    assert (alice, bob, audit) == (["0", "1"], ["2", "3"], ["0", "1", "2", "3"])


@pytest.mark.parametrize(
    "vanish",
    [lambda r, key: r.delete(key), lambda r, key: r.xgroup_destroy(key, "billing")],
    ids=["stream deleted", "group destroyed"],
)
def test_a_group_that_vanishes_under_a_blocked_reader_is_created_again(
    own_lab: Lab,
    stream: str,
    publish: Publish,
    consumer: NewConsumer,
    vanish: Callable[[Redis, str], object],
) -> None:
    handled: list[str] = []
    with running(consumer(block_ms=500), handler=collect_into(handled)):
        wait_until(
            lambda: any(
                client["cmd"] == "xreadgroup" and "b" in client["flags"]
                for client in own_lab.redis.client_list()
            ),
            "the consumer is blocked",
        )
        vanish(own_lab.redis, stream)
        publish("0")
        wait_until(lambda: handled == ["0"], "the new entry is handled")


def test_a_group_that_vanishes_during_the_replay_is_created_again(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    ids = publish(*numbered(3))
    alice = consumer(batch=1)
    for number in range(len(ids)):
        with pytest.raises(KeyboardInterrupt):
            alice.read_new(interrupt_at(str(number), []))
    handled: list[str] = []
    stop = StopEvent()

    def handle(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        if len(handled) == 1:
            lab.redis.xgroup_destroy(stream, "billing")
        if handled[1:] == ["0", "1", "2"]:
            stop.set()

    alice.run(handle, stop=stop)
    assert handled == ["0", "0", "1", "2"]


def test_a_key_that_is_not_a_stream_is_raised_and_left_alone(lab: Lab, stream: str) -> None:
    lab.redis.set(stream, "text")
    consumer = RedisStreamConsumer(lab.redis, stream, "billing", "alice")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        consumer.run(decline, stop=StopEvent())
    assert lab.redis.get(stream) == b"text"
