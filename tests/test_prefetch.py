"""Prefetching, which `ack_every` above 1 turns on: no more is pending, and nothing is lost."""

from functools import partial
from threading import Event as StopEvent
from threading import Timer

import pytest
from consumers import NewConsumer, Publish, numbered, rows
from handlers import collect_into, collect_until, interrupt_at, take_s
from idle import deliver_to

from redisflow_lab import Delivery
from redisflow_lab.lab import Lab


@pytest.fixture
def prefetching(consumer: NewConsumer) -> NewConsumer:
    """Makes a consumer that handles three messages while the next three are requested."""
    return partial(consumer, batch=6, ack_every=6)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7, 12, 50])
@pytest.mark.parametrize("batch", [2, 3, 6])
def test_each_message_is_handled_once_and_acknowledged(
    lab: Lab, stream: str, publish: Publish, prefetching: NewConsumer, count: int, batch: int
) -> None:
    publish(*numbered(count), "last")
    handled: list[str] = []
    stop = StopEvent()
    prefetching(batch=batch).run(collect_until("last", handled, stop), stop=stop)
    assert handled == [*numbered(count), "last"]
    assert rows(lab.groups(stream), "consumers", "pending", "lag") == [[0, 0, 0]]


def test_no_more_than_a_batch_is_pending(
    lab: Lab, stream: str, publish: Publish, prefetching: NewConsumer
) -> None:
    publish(*numbered(30))
    pending: list[int] = []
    stop = StopEvent()

    def handle(delivery: Delivery) -> None:
        pending.append(len(lab.pending(stream)))
        if delivery.message.content == "29":
            stop.set()

    prefetching().run(handle, stop=stop)
    assert max(pending) == 6
    assert len(pending) == 30


def test_prefetched_entries_can_be_claimed_at_once_after_a_shutdown(
    lab: Lab, stream: str, publish: Publish, prefetching: NewConsumer
) -> None:
    publish(*numbered(20))
    handled: list[str] = []
    stop = StopEvent()
    prefetching("alice").run(collect_until("0", handled, stop), stop=stop)
    assert len(lab.pending(stream)) == 5
    prefetching("bob").take_over(collect_into(handled))
    assert handled == numbered(6)


@pytest.mark.parametrize(
    ("count", "batch", "handler_s"),
    [(16, 8, 0.15), (14, 14, 0.1)],
    ids=["prefetched entries", "completed entries that wait to be acknowledged, too"],
)
def test_the_lease_is_renewed_while_the_other_half_of_the_batch_is_slow(
    publish: Publish, prefetching: NewConsumer, count: int, batch: int, handler_s: float
) -> None:
    publish(*numbered(count))
    alice, bob = (
        prefetching(name, batch=batch, ack_every=14, min_idle_ms=800, max_handler_ms=500)
        for name in ("alice", "bob")
    )
    handled: list[str] = []
    claimed: list[str] = []
    stop = StopEvent()

    def slow(delivery: Delivery) -> None:
        take_s(handler_s)
        bob.take_over(collect_into(claimed))
        handled.append(delivery.message.content)
        if len(handled) + len(claimed) >= count:
            stop.set()

    alice.run(slow, stop=stop)
    assert (handled, claimed) == (numbered(count), [])


def test_the_lease_on_prefetched_entries_is_renewed_during_a_long_take_over(
    lab: Lab, stream: str, publish: Publish, prefetching: NewConsumer
) -> None:
    publish(*numbered(10))
    alice, bob = (
        prefetching(name, batch=4, min_idle_ms=700, max_handler_ms=300)
        for name in ("alice", "bob")
    )
    carols = deliver_to(lab, stream, "carol", 4)
    handled: list[str] = []
    claimed: list[str] = []
    stop = StopEvent()

    def slow(delivery: Delivery) -> None:
        take_s(0.14)
        handled.append(delivery.message.content)
        if delivery.message.content == "4":  # while 6 and 7 are prefetched
            lab.redis.xclaim(stream, "billing", "carol", 0, carols, idle=9_000, justid=True)
        if delivery.message.content in "0123":
            bob.take_over(collect_into(claimed))
        if len(handled) + len(claimed) >= 10:
            stop.set()

    alice.run(slow, stop=stop)
    assert {*claimed} <= {*numbered(4)}
    assert sorted(handled + claimed) == numbered(10)


def test_prefetched_entries_are_not_handled_by_a_take_over(
    lab: Lab, stream: str, publish: Publish, prefetching: NewConsumer
) -> None:
    """Alice is slow and acknowledges what bob has claimed: he handles no other one instead."""
    bob = prefetching("bob", batch=4, min_idle_ms=400)
    publish(*numbered(10))
    alices = deliver_to(lab, stream, "alice", 2)
    handled: list[str] = []
    stop = StopEvent()

    def handle(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        if delivery.message.content == "3":  # while 4 and 5 are prefetched
            lab.redis.xclaim(stream, "billing", "alice", 0, alices, idle=9_000, justid=True)
            take_s(0.15)  # then bob's next sweep is due
        if delivery.message.content == "0":
            lab.redis.xack(stream, "billing", alices[1])
        if delivery.message.content == "9":
            stop.set()

    bob.run(handle, stop=stop)
    assert [content for content in handled if content != "1"] == [
        "2",
        "3",
        "0",
        *numbered(10)[4:],
    ]


def test_a_killed_server_loses_no_prefetched_message(
    own_lab: Lab, publish: Publish, prefetching: NewConsumer
) -> None:
    own_lab.redis.config_set("appendfsync", "always")
    publish(*numbered(40))
    handled: list[str] = []
    stop = StopEvent()

    def handle(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        if delivery.message.content == "7" and delivery.deliveries == 1:
            own_lab.server.kill()
            own_lab.server.start()
        if delivery.message.content == "39":
            stop.set()

    prefetching().run(handle, stop=stop)
    assert sorted({*handled}, key=int) == numbered(40)
    assert len(own_lab.pending()) == 0


def test_acknowledgements_that_are_lost_with_a_prefetch_are_sent_again(
    own_lab: Lab, publish: Publish, prefetching: NewConsumer
) -> None:
    """The server is down when the request that carries them is sent."""
    back = Timer(0.3, own_lab.server.start)
    own_lab.redis.config_set("appendfsync", "always")
    publish(*numbered(8))
    handled: list[str] = []
    stop = StopEvent()

    def handle(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        if delivery.message.content == "1":
            own_lab.wait_until(lambda: len(own_lab.pending()) == 4, "the prefetch")
            own_lab.server.kill()
            back.start()
        if delivery.message.content == "7":
            stop.set()

    prefetching(batch=4, ack_every=4).run(handle, stop=stop)
    back.join()
    assert sorted({*handled}) == numbered(8)
    assert handled.count("0") == handled.count("1") == 1
    assert len(own_lab.pending()) == 0


def test_a_run_after_an_interrupt_handles_no_message_twice(
    publish: Publish, prefetching: NewConsumer
) -> None:
    """What was prefetched is replayed, and is not handled a second time after that."""
    publish(*numbered(12))
    alice = prefetching()
    handled: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        alice.run(interrupt_at("4", handled), stop=StopEvent())
    stop = StopEvent()
    alice.run(collect_until("11", handled, stop), stop=stop)
    assert handled == numbered(12)


def test_a_new_consumer_of_the_name_replays_what_an_interrupted_run_had_prefetched(
    publish: Publish, prefetching: NewConsumer
) -> None:
    publish(*numbered(12))
    handled: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        prefetching().run(interrupt_at("4", handled), stop=StopEvent())
    again = prefetching()
    again.replay_pending(collect_into(handled))
    while again.read_new(collect_into(handled)):
        pass
    assert handled == numbered(12)
