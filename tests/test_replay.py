"""Replay: a consumer handles again what is pending with its name."""

from collections.abc import Callable
from threading import Event as StopEvent

import pytest
import redis
from consumers import NewConsumer, Publish, numbered
from handlers import collect_into, decline, decline_only
from network import client_losing_answers_to

from redisflow_lab import Delivery
from redisflow_lab.lab import Lab

PendingIds = Callable[[], list[str]]


def test_replay_delivers_each_pending_entry_once_over_many_pages(
    publish: Publish, consumer: NewConsumer, pending_ids: PendingIds
) -> None:
    ids = publish(*numbered(25))
    alice = consumer(batch=10)
    for _ in range(3):
        alice.read_new(decline)
    assert len(pending_ids()) == 25
    handled: list[str] = []
    assert alice.replay_pending(decline_only("7", handled)) == 25
    assert handled == [content for content in numbered(25) if content != "7"]
    assert pending_ids() == [ids[7]]


def test_each_replay_counts_as_a_delivery_and_the_handler_is_told(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    publish("0")
    counts: list[int] = []

    def handle(delivery: Delivery) -> None:
        counts.append(delivery.deliveries)
        raise ValueError

    alice = consumer()
    alice.read_new(handle)
    alice.replay_pending(handle)
    alice.replay_pending(handle)
    assert counts == [1, 2, 3]
    assert list(lab.pending(stream)["deliveries"]) == [3]


def test_a_random_name_replays_nothing(publish: Publish, consumer: NewConsumer) -> None:
    publish("0")
    consumer().read_new(decline)
    first, second = consumer(None), consumer(None)
    assert first.name != second.name
    assert first.replay_pending(decline) == 0


def test_replay_leaves_what_is_pending_with_another_consumer(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    publish("0")
    consumer("bob").read_new(decline)
    assert consumer("alice").replay_pending(decline) == 0
    assert list(lab.pending(stream)["consumer"]) == ["bob"]


def test_run_replays_before_it_reads_new_entries(
    publish: Publish, consumer: NewConsumer
) -> None:
    publish("0", "1")
    consumer().read_new(decline)
    publish("new")
    handled: list[tuple[str, int]] = []
    stop = StopEvent()

    def handle(delivery: Delivery) -> None:
        handled.append((delivery.message.content, delivery.deliveries))
        if delivery.message.content == "new":
            stop.set()

    consumer().run(handle, stop=stop)
    assert handled == [("0", 2), ("1", 2), ("new", 1)]


def test_replay_finds_what_was_delivered_in_a_reply_that_got_lost(
    lab: Lab, publish: Publish, consumer: NewConsumer, pending_ids: PendingIds
) -> None:
    ids = publish("0", "1")
    handled: list[str] = []
    with (
        client_losing_answers_to(b"\r\n>\r\n", lab) as client,  # the id of a read of new ones
        pytest.raises(redis.ConnectionError),
    ):
        consumer(redis=client).read_new(collect_into(handled))
    assert (handled, pending_ids()) == ([], ids)
    consumer().replay_pending(collect_into(handled))
    assert (handled, pending_ids()) == (["0", "1"], [])
