"""Take-over: from the dead to the living, not from the slow, and nothing is missed."""

from collections.abc import Callable
from threading import Event as StopEvent
from threading import Thread
from time import monotonic

from consumers import consumer_of

from redisflow_lab import Delivery, Event, Message, RedisStreamConsumer, RedisStreamProducer
from redisflow_lab.lab import Lab

IDLE_MS = 60_000


def consumer(lab: Lab, stream: str, name: str, **options: object) -> RedisStreamConsumer:
    return consumer_of(lab, stream, name, **{"min_idle_ms": IDLE_MS, **options})


def write(lab: Lab, stream: str, count: int) -> list[str]:
    messages = (Message("web", str(number)) for number in range(count))
    return RedisStreamProducer(lab.redis, stream).publish_many(messages)


def deliver_to(lab: Lab, stream: str, name: str, count: int) -> None:
    """Give `count` new entries to this name, and let it do nothing with them."""
    lab.redis.xreadgroup("billing", name, {stream: ">"}, count=count)


def grow_old(lab: Lab, stream: str, *entry_ids: str) -> None:
    """Make these entries idle for long enough, without waiting for it.

    A second more, because the server's clock may be set back a little at any time.
    """
    for entry_id in entry_ids:
        (row,) = lab.redis.xpending_range(stream, "billing", entry_id, entry_id, 1)
        lab.redis.xclaim(
            stream, "billing", row["consumer"], 0, [entry_id], idle=IDLE_MS + 1_000, justid=True
        )


def collecting(into: list[str]) -> Callable[[Delivery], None]:
    return lambda delivery: into.append(delivery.message.content)


def test_it_handles_what_was_idle_for_long_enough_and_nothing_else(
    lab: Lab, stream: str
) -> None:
    bob = consumer(lab, stream, "bob")
    ids = write(lab, stream, 4)
    deliver_to(lab, stream, "alice", 4)
    grow_old(lab, stream, ids[0], ids[2])
    handled: list[str] = []
    assert bob.take_over(collecting(handled)) == 2
    assert handled == ["0", "2"]
    assert lab.pending(stream)[["entry_id", "consumer"]].values.tolist() == [
        [ids[1], "alice"],
        [ids[3], "alice"],
    ]


def test_it_counts_one_delivery_and_tells_the_hook(lab: Lab, stream: str) -> None:
    events: list[Event] = []
    bob = consumer(lab, stream, "bob", on_event=events.append)
    ids = write(lab, stream, 1)
    deliver_to(lab, stream, "alice", 1)
    grow_old(lab, stream, *ids)
    bob.take_over(lambda _: None)
    assert [(event.kind, event.deliveries) for event in events] == [
        ("claimed", 0),
        ("delivered", 2),
        ("handled", 2),
        ("acked", 2),
    ]


def test_what_failed_is_tried_again_by_the_same_consumer_after_the_idle_time(
    lab: Lab, stream: str
) -> None:
    alice = consumer(lab, stream, "alice")
    ids = write(lab, stream, 1)
    alice.read_new(lambda _: 1 / 0)
    handled: list[str] = []
    assert alice.take_over(collecting(handled)) == 0
    grow_old(lab, stream, *ids)
    assert alice.take_over(collecting(handled)) == 1
    assert handled == ["0"]


def test_what_failed_has_its_pause_also_when_another_entry_is_gone(
    lab: Lab, stream: str
) -> None:
    """Who was slow is done by now with what was claimed: nothing else takes its turn."""
    bob = consumer(lab, stream, "bob")
    ids = write(lab, stream, 5)
    deliver_to(lab, stream, "alice", 4)
    bob.read_new(failing)
    grow_old(lab, stream, *ids[:4])
    handled: list[str] = []

    def others_are_done(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        lab.redis.xack(stream, "billing", *ids[1:4])

    assert bob.take_over(others_are_done) == 1
    assert handled == ["0"]
    pending = lab.pending(stream)[["entry_id", "consumer", "deliveries"]]
    assert pending.values.tolist() == [[ids[4], "bob", 1]]


def test_it_finds_an_old_entry_behind_many_fresh_ones(lab: Lab, stream: str) -> None:
    """The server looks at ten times the batch; beginning anew each time would starve."""
    bob = consumer(lab, stream, "bob", batch=1)
    ids = write(lab, stream, 100)
    deliver_to(lab, stream, "alice", 100)
    grow_old(lab, stream, ids[-1])
    handled: list[str] = []
    calls = 0
    while not handled:
        bob.take_over(collecting(handled))
        calls += 1
        assert calls <= 11
    assert handled == ["99"]


def test_a_batch_at_most_is_claimed_in_one_go(lab: Lab, stream: str) -> None:
    bob = consumer(lab, stream, "bob", batch=3)
    ids = write(lab, stream, 7)
    deliver_to(lab, stream, "alice", 7)
    grow_old(lab, stream, *ids)
    assert [bob.take_over(lambda _: None) for _ in range(4)] == [3, 3, 1, 0]


def test_an_entry_trimmed_while_pending_is_reported_and_not_handled(
    lab: Lab, stream: str
) -> None:
    events: list[Event] = []
    bob = consumer(lab, stream, "bob", on_event=events.append)
    ids = write(lab, stream, 2)
    deliver_to(lab, stream, "alice", 2)
    grow_old(lab, stream, *ids)
    lab.redis.xdel(stream, ids[0])
    handled: list[str] = []
    bob.take_over(collecting(handled))
    assert handled == ["1"]
    assert len(lab.pending(stream)) == 0
    letters = lab.dead_letters(stream)
    assert letters[["entry_id", "reason"]].values.tolist() == [[ids[0], "trimmed"]]
    assert [event.entry_id for event in events if event.kind == "dead-lettered"] == ids[:1]


def test_a_heartbeat_keeps_the_message_and_counts_no_delivery(lab: Lab, stream: str) -> None:
    alice, bob = (consumer(lab, stream, name) for name in ("alice", "bob"))
    ids = write(lab, stream, 2)
    robbed: list[str] = []

    def slow(delivery: Delivery) -> None:
        grow_old(lab, stream, *(id_ for id_ in ids if id_ >= delivery.entry_id))
        assert delivery.heartbeat() is True
        bob.take_over(collecting(robbed))

    alice.read_new(slow)
    assert robbed == []
    assert len(lab.pending(stream)) == 0
    assert lab.redis.xinfo_consumers(stream, "billing")[0]["pending"] == 0


def test_a_heartbeat_says_when_it_comes_too_late_and_takes_nothing_back(
    lab: Lab, stream: str
) -> None:
    alice, bob = (consumer(lab, stream, name) for name in ("alice", "bob"))
    ids = write(lab, stream, 2)
    said: list[bool] = []
    alices: list[str] = []

    def robbed(delivery: Delivery) -> None:
        alices.append(delivery.message.content)
        grow_old(lab, stream, *ids)
        bob.take_over(failing)
        said.append(delivery.heartbeat())

    alice.read_new(robbed)
    assert said == [False]
    assert alices == ["0"]  # the other one is bob's by now, and alice leaves it alone
    pending = lab.pending(stream)[["entry_id", "consumer"]]
    assert pending.values.tolist() == [[entry_id, "bob"] for entry_id in ids]


def failing(_: Delivery) -> None:
    raise ValueError("declined")


def test_a_batch_that_takes_long_is_held_message_by_message(lab: Lab, stream: str) -> None:
    """Each handler keeps within its limit, the batch as a whole does not: nobody is robbed."""
    alice, bob = (
        consumer(lab, stream, name, min_idle_ms=200, max_handler_ms=120)
        for name in ("alice", "bob")
    )
    write(lab, stream, 4)
    robbed: list[str] = []
    handled: list[str] = []

    def slow(delivery: Delivery) -> None:
        until = monotonic() + 0.1
        lab.wait_until(lambda: monotonic() > until, "a tenth of a second")
        bob.take_over(collecting(robbed))
        handled.append(delivery.message.content)

    alice.read_new(slow)
    assert (handled, robbed) == (["0", "1", "2", "3"], [])


def test_what_waits_to_be_acknowledged_is_not_handled_by_somebody_else(
    lab: Lab, stream: str
) -> None:
    alice, bob = (
        consumer(lab, stream, name, ack_every=10, min_idle_ms=250, max_handler_ms=150)
        for name in ("alice", "bob")
    )
    write(lab, stream, 5)
    robbed: list[str] = []

    def slow(_: Delivery) -> None:
        until = monotonic() + 0.1
        lab.wait_until(lambda: monotonic() > until, "a tenth of a second")
        bob.take_over(collecting(robbed))

    alice.read_new(slow)
    assert robbed == []


def test_who_leaves_is_removed_only_when_it_holds_nothing(lab: Lab, stream: str) -> None:
    alice = consumer(lab, stream, "alice")
    write(lab, stream, 1)
    alice.read_new(failing)
    assert alice.leave() is False
    assert list(lab.consumers(stream)["consumer"]) == ["alice"]
    alice.replay_pending(lambda _: None)
    assert alice.leave() is True
    assert len(lab.consumers(stream)) == 0


def test_who_leaves_hands_over_what_it_has_not_started(lab: Lab, stream: str) -> None:
    alice, bob = (consumer(lab, stream, name) for name in ("alice", "bob"))
    write(lab, stream, 3)
    stop = StopEvent()
    handled: list[str] = []

    def last(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        stop.set()

    alice.run(last, stop=stop)
    assert handled == ["0"]
    bob.take_over(collecting(handled))  # at once: no idle time to wait for
    assert handled == ["0", "1", "2"]


def test_two_at_once_take_over_everything_once(lab: Lab, stream: str) -> None:
    ids = write(lab, stream, 200)
    consumer(lab, stream, "alice")
    deliver_to(lab, stream, "alice", 200)
    grow_old(lab, stream, *ids)
    handled: list[str] = []
    stop = StopEvent()
    takers = [consumer(lab, stream, name) for name in ("bob", "carol")]
    threads = [
        Thread(target=taker.run, args=(collecting(handled),), kwargs={"stop": stop})
        for taker in takers
    ]
    for thread in threads:
        thread.start()
    lab.wait_until(lambda: len(lab.pending(stream)) == 0, "nothing is pending")
    stop.set()
    for thread in threads:
        thread.join()
    assert sorted(handled, key=int) == [str(number) for number in range(200)]
