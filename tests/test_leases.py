"""Leases: no other consumer claims what is in flight, for as long as it is renewed."""

import pytest
from consumers import NewConsumer, Publish, numbered, rows
from handlers import collect_into, decline, take_s
from idle import make_idle

from redisflow_lab import Delivery
from redisflow_lab.lab import Lab


def test_a_heartbeat_renews_the_lease_and_counts_no_delivery(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    alice, bob = consumer("alice"), consumer("bob")
    ids = publish("0", "1")
    claimed: list[str] = []
    deliveries: list[list[int]] = []

    def handle(delivery: Delivery) -> None:
        make_idle(lab, stream, *(id_ for id_ in ids if id_ >= delivery.entry_id))
        assert delivery.heartbeat() is True
        bob.take_over(collect_into(claimed))
        deliveries.append(list(lab.pending(stream)["deliveries"]))

    alice.read_new(handle)
    assert claimed == []
    assert deliveries == [[1, 1], [1]]
    assert len(lab.pending(stream)) == 0


def test_a_heartbeat_after_a_claim_returns_false_and_takes_nothing_back(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    alice, bob = consumer("alice"), consumer("bob")
    ids = publish("0", "1")
    answers: list[bool] = []
    handled: list[str] = []

    def handle(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        make_idle(lab, stream, *ids)
        bob.take_over(decline)
        answers.append(delivery.heartbeat())

    alice.read_new(handle)
    assert answers == [False]
    assert handled == ["0"]  # the other one is bob's by now
    assert rows(lab.pending(stream), "entry_id", "consumer") == [[id_, "bob"] for id_ in ids]


def test_a_heartbeat_after_the_handler_returned_is_false(
    publish: Publish, consumer: NewConsumer
) -> None:
    publish("0")
    kept: list[Delivery] = []
    consumer().read_new(kept.append)
    assert kept[0].heartbeat() is False


def test_a_claimed_message_is_not_acknowledged_by_its_former_owner(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    """Its new owner may die before it is handled: acknowledged, it would be lost."""
    ids = publish("0", "1")
    answers: list[bool] = []

    def claim_the_first(delivery: Delivery) -> None:
        if delivery.entry_id == ids[0]:
            lab.redis.xclaim(stream, "billing", "bob", 0, [ids[0]])
        answers.append(delivery.heartbeat())

    consumer("alice").read_new(claim_the_first)
    assert answers == [False, True]
    assert rows(lab.pending(stream), "entry_id", "consumer") == [[ids[0], "bob"]]


@pytest.mark.parametrize(
    ("count", "options"),
    [
        (4, {"min_idle_ms": 200, "max_handler_ms": 120}),
        (5, {"min_idle_ms": 250, "max_handler_ms": 150, "ack_every": 10}),
    ],
    ids=["the rest of the batch", "completed entries that wait to be acknowledged, too"],
)
def test_the_lease_is_renewed_between_the_messages_of_a_slow_batch(
    publish: Publish, consumer: NewConsumer, count: int, options: dict[str, int]
) -> None:
    """Each handler keeps within max_handler_ms, the batch as a whole exceeds min_idle_ms."""
    alice, bob = consumer("alice", **options), consumer("bob", **options)
    publish(*numbered(count))
    handled: list[str] = []
    claimed: list[str] = []

    def slow(delivery: Delivery) -> None:
        take_s(0.1)
        bob.take_over(collect_into(claimed))
        handled.append(delivery.message.content)

    alice.read_new(slow)
    assert (handled, claimed) == (numbered(count), [])
