"""Take-over: a consumer claims what has been idle for long enough, and nothing else."""

from consumers import NewConsumer, Publish, numbered, rows, running
from handlers import collect_into, decline
from idle import deliver_to, make_idle

from redisflow_lab import Delivery, Event
from redisflow_lab.lab import Lab


def test_only_entries_that_were_idle_for_min_idle_ms_are_claimed(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    bob = consumer("bob")
    ids = publish(*numbered(4))
    deliver_to(lab, stream, "alice", 4)
    make_idle(lab, stream, ids[0], ids[2])
    handled: list[str] = []
    assert bob.take_over(collect_into(handled)) == 2
    assert handled == ["0", "2"]
    assert rows(lab.pending(stream), "entry_id", "consumer") == [
        [ids[1], "alice"],
        [ids[3], "alice"],
    ]


def test_a_take_over_counts_one_delivery_and_emits_a_claim(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    events: list[Event] = []
    bob = consumer("bob", on_event=events.append)
    publish("0")
    make_idle(lab, stream, *deliver_to(lab, stream, "alice", 1))
    bob.take_over(lambda _: None)
    assert [(event.kind, event.deliveries) for event in events] == [
        ("claimed", 0),
        ("delivered", 2),
        ("handled", 2),
        ("acked", 2),
    ]


def test_a_failed_message_waits_min_idle_ms_before_its_next_delivery(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    alice = consumer("alice")
    ids = publish("0")
    alice.read_new(decline)
    handled: list[str] = []
    assert alice.take_over(collect_into(handled)) == 0
    make_idle(lab, stream, *ids)
    assert alice.take_over(collect_into(handled)) == 1
    assert handled == ["0"]


def test_a_failed_message_keeps_its_pause_when_claimed_entries_are_acknowledged_meanwhile(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    """Alice is slow, and completes what bob has claimed: he handles no other entry instead."""
    bob = consumer("bob")
    ids = publish(*numbered(5))
    deliver_to(lab, stream, "alice", 4)
    bob.read_new(decline)
    make_idle(lab, stream, *ids[:4])
    handled: list[str] = []

    def acknowledge_the_others(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        lab.redis.xack(stream, "billing", *ids[1:4])

    bob.take_over(acknowledge_the_others)
    assert handled[0] == "0"
    assert "4" not in handled
    assert rows(lab.pending(stream), "entry_id", "consumer", "deliveries") == [
        [ids[4], "bob", 1]
    ]


def test_an_idle_entry_behind_many_fresh_ones_is_found(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    """The server looks at ten times the batch in one call, so each call goes on behind it."""
    bob = consumer("bob", batch=1)
    publish(*numbered(100))
    make_idle(lab, stream, deliver_to(lab, stream, "alice", 100)[-1])
    handled: list[str] = []
    calls = 0
    while not handled:
        bob.take_over(collect_into(handled))
        calls += 1
        assert calls <= 11
    assert handled == ["99"]


def test_one_call_claims_at_most_a_batch(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    bob = consumer("bob", batch=3)
    publish(*numbered(7))
    make_idle(lab, stream, *deliver_to(lab, stream, "alice", 7))
    assert [bob.take_over(lambda _: None) for _ in range(4)] == [3, 3, 1, 0]


def test_two_consumers_that_take_over_at_once_handle_each_message_once(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    consumer("alice")
    publish(*numbered(200))
    make_idle(lab, stream, *deliver_to(lab, stream, "alice", 200))
    handled: list[str] = []
    with running(consumer("bob"), consumer("carol"), handler=collect_into(handled)):
        lab.wait_until(lambda: len(lab.pending(stream)) == 0, "nothing is pending")
    assert sorted(handled, key=int) == numbered(200)
