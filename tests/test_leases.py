"""Leases: no other consumer claims what is in flight, for as long as it is renewed."""

from concurrent.futures import ThreadPoolExecutor
from threading import Timer

import pytest
from consumers import NewConsumer, Publish, numbered, rows, running
from handlers import collect_into, decline, take_s
from idle import deliver_to, make_idle
from network import Fault, Proxy, at

from redisflow_lab import Delivery, Event, Kind
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until


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
        (12, {"min_idle_ms": 800, "max_handler_ms": 500}),
        (12, {"min_idle_ms": 800, "max_handler_ms": 500, "ack_every": 20}),
    ],
    ids=["the rest of the batch", "completed entries that wait to be acknowledged, too"],
)
def test_the_lease_is_renewed_between_the_messages_of_a_slow_batch(
    publish: Publish, consumer: NewConsumer, count: int, options: dict[str, int]
) -> None:
    """Each handler keeps within max_handler_ms, the batch as a whole exceeds min_idle_ms."""
    alice, bob = consumer("alice", batch=12, **options), consumer("bob", **options)
    publish(*numbered(count))
    handled: list[str] = []
    claimed: list[str] = []

    def slow(delivery: Delivery) -> None:
        take_s(0.1)
        bob.take_over(collect_into(claimed))
        handled.append(delivery.message.content)

    alice.read_new(slow)
    assert (handled, claimed) == (numbered(count), [])


def test_an_entry_whose_delivery_is_reported_late_may_be_another_consumers_by_then(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    """The server counts its idle time from the delivery, not from when the reply is read."""
    options = {"min_idle_ms": 300, "max_handler_ms": 200}
    bob = consumer("bob", **options)
    publish("0")
    handled: list[str] = []
    with Proxy(lab, at(b"\r\n>\r\n", Fault(delay_s=0.8), times=1)) as proxy:
        alice = consumer("alice", redis=proxy.client, **options)
        with ThreadPoolExecutor() as threads:
            reading = threads.submit(alice.read_new, collect_into(handled))
            by_bob: list[str] = []
            wait_until(lambda: bob.take_over(collect_into(by_bob)) or by_bob, "bob claims it")
            reading.result()
    assert (handled, by_bob) == ([], ["0"])


@pytest.mark.parametrize("step", ["replay_pending", "take_over"])
def test_an_entry_whose_redelivery_is_reported_late_may_be_another_consumers_by_then(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer, step: str
) -> None:
    options = {"min_idle_ms": 300, "max_handler_ms": 200}
    bob = consumer("bob", **options)
    ids = publish("0")
    deliver_to(lab, stream, "alice", 1)
    make_idle(lab, stream, *ids)
    handled: list[str] = []
    with Proxy(lab, at(b"EVAL", Fault(delay_s=0.8), times=1)) as proxy:
        alice = consumer("alice", redis=proxy.client, **options)
        with ThreadPoolExecutor() as threads:
            redelivering = threads.submit(getattr(alice, step), collect_into(handled))
            wait_until(lambda: 2 in set(lab.pending(stream)["deliveries"]), "it is redelivered")
            by_bob: list[str] = []
            wait_until(lambda: bob.take_over(collect_into(by_bob)) or by_bob, "bob claims it")
            redelivering.result()
    assert (handled, by_bob) == ([], ["0"])


def test_without_scripts_a_late_renewal_takes_nothing_back(
    own_lab: Lab, publish: Publish, consumer: NewConsumer
) -> None:
    """Two commands, and between them bob claims the entry."""
    bob = consumer("bob")
    (entry_id,) = publish("0")
    own_lab.redis.execute_command(
        "ACL", "SETUSER", "service", "on", ">pw", "~*", "+@all", "-eval"
    )
    kept: list[bool] = []
    # The script that is refused first has this word in it as well.
    with Proxy(own_lab, at(b"\r\nXPENDING\r\n", Fault(delay_s=0.3), times=1)) as proxy:
        settings = proxy.client.connection_pool.connection_kwargs
        settings.update(username="service", password="pw")
        alice = consumer("alice", redis=proxy.client)

        def handle(delivery: Delivery) -> None:
            make_idle(own_lab, "orders", entry_id)
            claim = Timer(0.1, lambda: bob.take_over(decline))
            claim.start()
            kept.append(delivery.heartbeat())
            claim.join()

        alice.read_new(handle)
    assert kept == [False]
    assert rows(own_lab.pending(), "entry_id", "consumer") == [[entry_id, "bob"]]


def test_a_heartbeat_that_loses_the_connection_is_no_failure_of_the_message(
    lab: Lab, publish: Publish, consumer: NewConsumer
) -> None:
    """It waits for the reply of a prefetch, which is lost: `run` reconnects and replays."""
    publish(*numbered(12))
    events: list[Event] = []
    handled: set[str] = set()

    def handle(delivery: Delivery) -> None:
        delivery.heartbeat()
        handled.add(delivery.message.content)

    prefetch = b"COUNT\r\n$1\r\n2\r\n$7\r\nSTREAMS"
    with Proxy(lab, at(prefetch, Fault(), times=3)) as proxy:
        alice = consumer(
            "alice", redis=proxy.client, batch=4, ack_every=4, on_event=events.append
        )
        with running(alice, handler=handle):
            wait_until(lambda: handled == {*numbered(12)}, "all are handled")
    assert [event for event in events if event.kind is Kind.FAILED] == []
