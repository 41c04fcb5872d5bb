"""A handler may return and raise anything: only work that is finished counts as done."""

import asyncio
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event as StopEvent

import pytest
from consumers import NewConsumer, Publish
from handlers import collect_into
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redisflow_lab import Delivery, Event, Kind
from redisflow_lab.dead_letters import DeadLetters
from redisflow_lab.interfaces import Handler

PendingIds = Callable[[], list[str]]


async def work(delivery: Delivery) -> str:
    return delivery.message.content


def passed_on(handler: Callable[[Delivery], object]) -> Handler:
    """A decorator that hides what it decorates."""

    def wrapper(*args: Delivery) -> object:
        return handler(*args)

    return wrapper


def generate(delivery: Delivery) -> Iterator[str]:
    yield delivery.message.content


class Awaitable:
    def __await__(self) -> Iterator[None]:
        yield


@pytest.mark.parametrize(
    "handler",
    [
        lambda delivery: work(delivery),
        functools.partial(lambda _, delivery: work(delivery), 1),
        passed_on(work),
        generate,
        passed_on(generate),
        lambda delivery: (part for part in delivery.message.content),
        lambda delivery: map(print, delivery.message.content),
        lambda delivery: [work(delivery)],
        lambda _: work,
        lambda _: Awaitable(),
        lambda _: Future(),
        lambda _: asyncio.new_event_loop().create_future(),
    ],
)
def test_a_handler_that_returns_unfinished_work_has_failed(
    publish: Publish, consumer: NewConsumer, pending_ids: PendingIds, handler: Handler
) -> None:
    ids = publish("0")
    events: list[Event] = []
    consumer(on_event=events.append).read_new(handler)
    assert pending_ids() == ids
    (failed,) = (event for event in events if event.kind is Kind.FAILED)
    assert "handler returned" in failed.error
    assert "not done" in failed.error


def test_work_that_is_finished_counts_as_done(
    publish: Publish, consumer: NewConsumer, pending_ids: PendingIds
) -> None:
    publish("0", "1")
    alice = consumer(batch=1)
    alice.read_new(lambda delivery: asyncio.run(work(delivery)))
    with ThreadPoolExecutor() as threads:
        alice.read_new(lambda delivery: threads.submit(str, delivery).result())
    assert pending_ids() == []


class Unusual(BaseException):
    """Such as the cancellation of trio, or pytest's own exceptions."""


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), Unusual(), BaseExceptionGroup("", [Unusual()])]
)
def test_a_failure_that_is_no_exception_does_not_end_the_loop(
    publish: Publish,
    consumer: NewConsumer,
    dead_letters: DeadLetters,
    error: BaseException,
) -> None:
    publish("0", "1")
    handled: list[str] = []
    stop = StopEvent()

    def handle(delivery: Delivery) -> None:
        if delivery.message.content == "0":
            raise error
        handled.append(delivery.message.content)
        stop.set()

    consumer(max_deliveries=1).run(handle, stop=stop)
    assert handled == ["1"]
    assert [type(error).__name__ in letter.error for letter in dead_letters] == [True]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_is_passed_on(
    publish: Publish,
    consumer: NewConsumer,
    pending_ids: PendingIds,
    error: type[BaseException],
) -> None:
    ids = publish("0")

    def handle(_: Delivery) -> None:
        raise error

    with pytest.raises(error):
        consumer(max_deliveries=1).run(handle, stop=StopEvent())
    assert pending_ids() == ids


RESULTS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(), st.binary(), st.lists(st.integers()),
    st.functions(), st.builds(object),
)  # fmt: skip
ERRORS = st.builds(
    lambda kind, text: kind(text),
    st.sampled_from(
        [ValueError, KeyError, OSError, Unusual, asyncio.CancelledError, StopIteration]
    ),
    st.text(),
)


@given(outcomes=st.lists(st.one_of(RESULTS, ERRORS), min_size=1, max_size=8))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_handlers_return_and_raise_the_failed_ones_stay_pending(
    publish: Publish, consumer: NewConsumer, pending_ids: PendingIds, outcomes: list[object]
) -> None:
    alice = consumer(batch=len(outcomes))
    alice.replay_pending(lambda _: None)  # of the example before
    ids = publish(*(str(number) for number in range(len(outcomes))))

    def handle(delivery: Delivery) -> object:
        outcome = outcomes[int(delivery.message.content)]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    alice.read_new(handle)
    failed = [isinstance(outcome, BaseException) for outcome in outcomes]
    assert pending_ids() == [
        entry_id for entry_id, fails in zip(ids, failed, strict=True) if fails
    ]


@pytest.mark.parametrize(
    "error", [KeyError("metrics"), OSError("its own Redis is down"), Unusual()]
)
def test_a_hook_that_raises_changes_nothing_and_is_logged_once(
    publish: Publish,
    consumer: NewConsumer,
    pending_ids: PendingIds,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    publish("0", "1", "2")
    handled: list[str] = []

    def on_event(_: Event) -> None:
        raise error

    consumer(on_event=on_event).read_new(collect_into(handled))
    assert (handled, pending_ids()) == (["0", "1", "2"], [])
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [error]


def test_an_asynchronous_hook_is_logged(
    publish: Publish, consumer: NewConsumer, caplog: pytest.LogCaptureFixture
) -> None:
    publish("0")

    async def on_event(_: Event) -> None:
        pass

    consumer(on_event=on_event).read_new(lambda _: None)
    assert "on_event returned 'coroutine'" in caplog.text
