"""A handler that raises TransientError is called again, and the message is not to blame."""

from collections.abc import Callable
from threading import Event as StopEvent
from threading import Lock

import pytest
from consumers import NewConsumer, Publish, numbered, rows, running
from handlers import collect_until, take_s

from redisflow_lab import Codec, Delivery, Event, Kind, Message, TransientError
from redisflow_lab.dead_letters import DeadLetters
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until
from redisflow_lab.message import serialize

PendingIds = Callable[[], list[str]]


class Database:
    """What a handler depends on."""

    def __init__(self) -> None:
        self.is_down = True
        self.asked = 0
        self.written: list[str] = []
        self._lock = Lock()

    def write(self, delivery: Delivery) -> None:
        with self._lock:
            self.asked += 1
            if self.is_down:
                raise TransientError("the database is down") from OSError("refused")
            self.written.append(delivery.message.content)


def test_it_goes_on_with_the_same_message_and_uses_up_no_delivery(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer, dead_letters: DeadLetters
) -> None:
    publish(*numbered(5))
    database = Database()
    events: list[Event] = []
    with running(consumer(max_deliveries=1, on_event=events.append), handler=database.write):
        wait_until(lambda: database.asked >= 4, "it has tried four times")
        assert lab.pending(stream)["deliveries"].tolist() == [1] * 5
        database.is_down = False
        wait_until(lambda: len(database.written) == 5, "all are handled")
    assert database.written == numbered(5)
    assert len(dead_letters) == 0
    paused = [event for event in events if event.kind is Kind.PAUSED]
    assert {event.entry_id for event in paused} == {events[0].entry_id}
    assert "the database is down" in paused[0].error


def test_a_codec_may_have_to_wait_as_a_handler_may(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer, dead_letters: DeadLetters
) -> None:
    publish("0")
    registry = iter([TransientError("the registry of schemas is down")] * 3)

    def decode(data: bytes) -> Message:
        for error in registry:
            raise error
        return Message.from_bytes(data)

    handled: list[str] = []
    alice = consumer(codec=Codec(serialize, decode), max_deliveries=1)
    with running(alice, handler=lambda delivery: handled.append(delivery.message.content)):
        wait_until(lambda: handled, "it is handled")
    assert handled == ["0"]
    assert next(registry, None) is None
    assert len(dead_letters) == 0
    assert rows(lab.groups(stream), "pending", "lag") == [[0, 0]]


@pytest.mark.parametrize("others", [0, 1])
def test_a_group_counts_if_there_is_nothing_else_in_it(
    publish: Publish, consumer: NewConsumer, others: int
) -> None:
    publish("0")
    kinds: list[Kind] = []
    stop = StopEvent()

    def handle(_: Delivery) -> None:
        stop.set()
        errors = [TransientError("the database is down"), *[ValueError("no")] * others]
        raise ExceptionGroup("of tasks", [ExceptionGroup("of tasks", errors)])

    consumer(on_event=lambda event: kinds.append(event.kind)).run(handle, stop=stop)
    assert kinds[1] is (Kind.FAILED if others else Kind.PAUSED)


def test_an_outage_is_logged_when_it_starts_and_ends_and_not_at_each_try(
    publish: Publish, consumer: NewConsumer, caplog: pytest.LogCaptureFixture
) -> None:
    publish("0")
    database = Database()
    with running(consumer(), handler=database.write):
        wait_until(lambda: database.asked >= 4, "it has tried four times")
        database.is_down = False
        wait_until(lambda: database.written, "it is handled")
    lines = [r.getMessage() for r in caplog.records if r.name == "redisflow_lab.consumer"]
    about = [line for line in lines if "has to wait" in line or "recovered" in line]
    assert len(about) == 2
    assert "a message has to wait" in about[0]
    assert "recovered" in about[1]


def test_no_other_consumer_claims_while_each_waits(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    """The outage is three times as long as an entry may be idle."""
    names = [f"consumer-{number}" for number in range(4)]
    claims: list[Event] = []

    def on_event(event: Event) -> None:
        if event.kind is Kind.CLAIMED:
            claims.append(event)

    consumers = [
        consumer(name, batch=5, min_idle_ms=1_200, on_event=on_event, ack_every=every)
        for name, every in zip(names, (1, 1, 5, 5), strict=True)
    ]
    publish(*numbered(40))
    database = Database()
    with running(*consumers, handler=database.write):
        wait_until(lambda: len(lab.consumers(stream)) == 4, "each has begun")
        take_s(3.6)
        assert set(lab.pending(stream)["deliveries"]) == {1}
        database.is_down = False
        wait_until(lambda: len(database.written) >= 40, "all are handled", timeout_s=30)
    assert sorted(database.written, key=int) == numbered(40)
    assert claims == []


def test_a_stop_ends_the_pause_and_hands_the_message_over(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    publish(*numbered(3))
    database = Database()
    with running(consumer("alice"), handler=database.write):
        wait_until(lambda: database.asked >= 2, "it has tried twice")
    assert rows(lab.pending(stream), "consumer", "deliveries") == [["alice", 1]] * 3
    handled: list[str] = []
    stop = StopEvent()
    consumer("bob").run(collect_until("2", handled, stop), stop=stop)  # at once
    assert handled == ["0", "1", "2"]


def test_a_message_that_another_consumer_took_meanwhile_is_left_to_it(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer, pending_ids: PendingIds
) -> None:
    """As after a pause of the whole process."""
    ids = publish("0", "1")
    tries: list[str] = []

    def handle(delivery: Delivery) -> None:
        tries.append(delivery.message.content)
        if delivery.message.content == "0":
            lab.redis.xclaim(stream, "billing", "bob", 0, ids[:1])
            raise TransientError

    consumer(min_idle_ms=40, block_ms=20).read_new(handle)
    assert tries[-1] == "1"
    assert pending_ids() == ids[:1]
