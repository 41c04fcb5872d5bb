"""The health of a consumer says what it is doing, and outages are events."""

from threading import Event as StopEvent
from time import monotonic

import pytest
from consumers import NewConsumer, Publish, numbered, running
from handlers import collect_into, interrupt_at

from redisflow_lab import Delivery, Event, Kind, TransientError
from redisflow_lab.events import Batch
from redisflow_lab.health import Health
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until


def test_a_consumer_that_does_not_run_is_not_ready(consumer: NewConsumer) -> None:
    assert consumer().health == Health(
        is_running=False, outage_s=None, outage="", polled_s=None,
        in_flight=0, oldest_s=None, handling_s=None, last_error="",
    )  # fmt: skip
    assert not consumer().health.is_ready


def test_a_handler_that_hangs_shows(publish: Publish, consumer: NewConsumer) -> None:
    goes_on, alice = StopEvent(), consumer(batch=3)
    publish(*numbered(3))
    with running(alice, handler=lambda _: goes_on.wait(10)):
        wait_until(lambda: (alice.health.handling_s or 0) > 0.05, "it hangs")
        hanging = alice.health
        assert hanging.is_ready  # the server answers
        assert hanging.in_flight == 3
        assert hanging.oldest_s is not None
        assert hanging.handling_s is not None
        assert hanging.handling_s <= hanging.oldest_s
        assert hanging.polled_s is not None
        goes_on.set()
        wait_until(lambda: alice.health.in_flight == 0, "it goes on")
        idle = alice.health
        assert (idle.handling_s, idle.oldest_s) == (None, None)
        assert idle.polled_s is not None
        assert idle.polled_s < 5
    assert not alice.health.is_running


def test_what_is_in_flight_gets_less_with_each_message(
    publish: Publish, consumer: NewConsumer
) -> None:
    alice = consumer(batch=4, ack_every=4)
    seen: list[int] = []
    publish(*numbered(4))
    alice.read_new(lambda _: seen.append(alice.health.in_flight))
    assert seen == [4, 3, 2, 1]


def test_the_last_error_stays(publish: Publish, consumer: NewConsumer) -> None:
    alice = consumer()
    publish("a", "b")

    def handle(delivery: Delivery) -> None:
        if delivery.message.content == "a":
            raise ValueError("out of stock")

    alice.read_new(handle)
    assert alice.health.last_error == "ValueError: out of stock"


def test_nothing_is_handled_after_an_interrupt(publish: Publish, consumer: NewConsumer) -> None:
    alice = consumer()
    publish("a", "b")
    with pytest.raises(KeyboardInterrupt):
        alice.read_new(interrupt_at("a", []))
    assert alice.health.handling_s is None
    assert alice.health.in_flight == 2


def test_a_pause_is_no_hanging_handler(publish: Publish, consumer: NewConsumer) -> None:
    alice = consumer()
    called_at: list[float] = []
    handling: list[float | None] = []
    publish("a")

    def handle(_: Delivery) -> None:
        called_at.append(monotonic())
        handling.append(alice.health.handling_s)
        if len(called_at) < 5:
            raise TransientError("the database is down")

    alice.read_new(handle)
    assert handling[-1] is not None
    assert handling[-1] < (called_at[-1] - called_at[0]) / 2
    assert alice.health.last_error == "TransientError: the database is down"
    assert alice.health.handling_s is None


def test_an_outage_is_two_events_and_makes_it_not_ready(
    own_lab: Lab, publish: Publish, consumer: NewConsumer
) -> None:
    events: list[Event] = []
    batches: list[Batch] = []
    handled: list[str] = []
    alice = consumer(on_event=events.append, on_batch=batches.append)
    publish("a")

    def outages() -> list[Kind]:
        return [event.kind for event in events if not event.entry_id]

    with running(alice, handler=collect_into(handled)):
        wait_until(lambda: handled == ["a"], "handled")
        assert alice.health.is_ready
        own_lab.server.kill()
        wait_until(outages, "an outage begins")
        down = alice.health
        assert not down.is_ready
        assert down.is_running
        assert down.outage in ("the connection is lost", "the server does not answer")
        assert down.last_error == down.outage
        assert outages() == [Kind.OUTAGE_BEGAN]
        own_lab.server.start()
        wait_until(lambda: alice.health.is_ready, "ready")
        assert alice.health.outage_s is None
    assert outages() == [Kind.OUTAGE_BEGAN, Kind.OUTAGE_ENDED]
    began = next(event for event in events if event.kind is Kind.OUTAGE_BEGAN)
    assert (began.consumer, began.group, began.error) == ("alice", "billing", down.outage)
    assert sum(batch.counts.get(Kind.OUTAGE_BEGAN, 0) for batch in batches) == 1
    assert sum(batch.counts.get(Kind.OUTAGE_ENDED, 0) for batch in batches) == 1


def test_it_may_be_asked_all_the_time(publish: Publish, consumer: NewConsumer) -> None:
    handled: list[str] = []
    alice = consumer(batch=20, ack_every=5, min_idle_ms=200)
    publish(*numbered(1_000))
    with running(alice, handler=collect_into(handled)):
        asked = 0
        while len(handled) < 1_000:
            health = alice.health
            asked += 1
            assert health.in_flight >= 0
            assert (health.oldest_s is None) == (health.in_flight == 0)
    assert asked > 100
