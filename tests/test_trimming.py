"""An entry that is trimmed while it is pending is handled, or reported as a dead letter."""

from collections.abc import Callable
from threading import Event as StopEvent

from consumers import NewConsumer, Publish, numbered, rows
from handlers import collect_into, decline
from idle import make_idle

from redisflow_lab import Delivery, Event
from redisflow_lab.lab import Lab


def test_a_replay_dead_letters_a_trimmed_entry(
    lab: Lab,
    stream: str,
    publish: Publish,
    consumer: NewConsumer,
    pending_ids: Callable[[], list[str]],
) -> None:
    ids = publish(*numbered(2))
    events: list[Event] = []
    alice = consumer(on_event=events.append)
    alice.read_new(decline)
    lab.redis.xtrim(stream, maxlen=1, approximate=False)
    handled: list[str] = []
    alice.replay_pending(collect_into(handled))
    assert handled == ["1"]
    assert pending_ids() == []
    (dead_lettered,) = [event for event in events if event.kind == "dead-lettered"]
    assert dead_lettered.entry_id == ids[0]
    assert "trimmed or deleted" in dead_lettered.error


def test_a_take_over_dead_letters_a_trimmed_entry(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    events: list[Event] = []
    bob = consumer("bob", on_event=events.append)
    ids = publish(*numbered(2))
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=2)
    make_idle(lab, stream, *ids)
    lab.redis.xdel(stream, ids[0])
    handled: list[str] = []
    bob.take_over(collect_into(handled))
    assert handled == ["1"]
    assert len(lab.pending(stream)) == 0
    assert rows(lab.dead_letters(stream), "entry_id", "reason") == [[ids[0], "trimmed"]]
    assert [event.entry_id for event in events if event.kind == "dead-lettered"] == ids[:1]


def test_an_entry_trimmed_in_flight_is_handled_or_dead_lettered_when_it_fails(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    """It is not skipped, and not lost when its handler fails."""
    ids = publish("good", "bad", "good")
    handled: list[str] = []

    def trim_meanwhile(delivery: Delivery) -> None:
        lab.redis.xtrim(stream, maxlen=0, approximate=False)
        assert delivery.heartbeat()
        assert delivery.heartbeat()
        if delivery.message.content == "bad":
            raise ValueError("no")
        handled.append(delivery.entry_id)

    alice = consumer()
    alice.read_new(trim_meanwhile)
    alice.replay_pending(decline)
    assert handled == [ids[0], ids[2]]
    assert rows(lab.dead_letters(stream), "entry_id", "reason") == [[ids[1], "trimmed"]]


def test_an_entry_trimmed_before_it_was_handled_is_dead_lettered_at_shutdown(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    ids = publish("0", "1")
    stop = StopEvent()

    def trim_and_stop(_: Delivery) -> None:
        lab.redis.xtrim(stream, maxlen=0, approximate=False)
        stop.set()

    consumer().run(trim_and_stop, stop=stop)
    assert rows(lab.dead_letters(stream), "entry_id", "reason") == [[ids[1], "trimmed"]]
