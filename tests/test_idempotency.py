"""handle_once: one effect for one message, whatever is killed in between."""

import os
import signal
from collections.abc import Callable
from functools import partial

import pytest
import redis
from consumers import NewConsumer, Publish, all_at_once, running
from network import Fault, Proxy, address_of, at, client_losing_answers_to
from redis import Redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.retry import Retry

from redisflow_lab import Delivery, Event, Kind, Message
from redisflow_lab.idempotency import handle_once
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until


def delivery(entry_id: str, content: str = "1 x Dune", stream: str = "") -> Delivery:
    return Delivery(entry_id, Message("web", content), 1, lambda: True, stream=stream)


def counting(counter: str) -> Callable[[Pipeline, Delivery], object]:
    return lambda pipeline, _: pipeline.incr(counter)


def test_the_same_entry_has_one_effect_and_another_has_its_own(lab: Lab, stream: str) -> None:
    handle = handle_once(counting(stream), lab.redis, f"{stream}:done")
    for entry_id in ("1-0", "1-0", "2-0", "1-0"):
        handle(delivery(entry_id))
    assert lab.redis.get(stream) == b"2"


def test_a_key_deduplicates_a_message_that_was_published_twice(lab: Lab, stream: str) -> None:
    handle = handle_once(
        counting(stream), lab.redis, f"{stream}:done", key=lambda d: d.message.content
    )
    for entry_id in ("1-0", "2-0"):
        handle(delivery(entry_id, "order 17"))
    assert lab.redis.get(stream) == b"1"


def test_the_deduplication_key_expires_after_remember_s(lab: Lab, stream: str) -> None:
    handle = handle_once(counting(stream), lab.redis, f"{stream}:done", remember_s=100)
    handle(delivery("1-0"))
    assert 90 < lab.redis.ttl(f"{stream}:done:1-0") <= 100


def test_an_effect_that_raises_writes_nothing(lab: Lab, stream: str) -> None:
    def broken(pipeline: Pipeline, _: Delivery) -> None:
        pipeline.incr(stream)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        handle_once(broken, lab.redis, f"{stream}:done")(delivery("1-0"))
    assert lab.redis.exists(stream, f"{stream}:done:1-0") == 0


def test_an_effect_that_the_server_refused_is_tried_again(lab: Lab, stream: str) -> None:
    lab.redis.set(stream, "text")
    handle = handle_once(counting(stream), lab.redis, f"{stream}:done")
    with pytest.raises(redis.ResponseError, match="not an integer"):
        handle(delivery("1-0"))
    lab.redis.set(stream, 0)
    handle(delivery("1-0"))
    assert lab.redis.get(stream) == b"1"


@pytest.mark.parametrize("position", range(3))
def test_each_command_of_an_effect_may_be_refused_and_all_are_carried_out_later(
    lab: Lab, stream: str, position: int
) -> None:
    names = [f"{stream}:{number}" for number in range(3)]

    def effect(pipeline: Pipeline, _: Delivery) -> None:
        for name in names:
            pipeline.hset(name, "order", "1-0")

    lab.redis.set(names[position], "text")
    handle = handle_once(effect, lab.redis, f"{stream}:done")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        handle(delivery("1-0"))
    lab.redis.delete(names[position])
    handle(delivery("1-0"))
    assert [lab.redis.hget(name, "order") for name in names] == [b"1-0"] * 3


@pytest.mark.parametrize("command", [b"EXISTS", b"EXEC"], ids=["asking", "writing"])
def test_a_reply_that_is_lost_once_is_no_failure(lab: Lab, stream: str, command: bytes) -> None:
    with client_losing_answers_to(command, lab, times=1) as client:
        handle_once(counting(stream), client, f"{stream}:done")(delivery("1-0"))
    assert lab.redis.get(stream) == b"1"


def test_handlers_at_the_same_time_have_one_effect(lab: Lab, stream: str) -> None:
    handle = handle_once(counting(stream), Redis(**address_of(lab)), f"{stream}:done")
    all_at_once([partial(handle, delivery("1-0"))] * 16)
    assert lab.redis.get(stream) == b"1"


def test_a_crash_before_the_ack_and_a_replay_have_one_effect(
    lab: Lab, stream: str, publish: Publish
) -> None:
    client, invoices = lab.redis, f"{stream}:invoices"

    def bill(pipeline: Pipeline, delivery: Delivery) -> None:
        pipeline.rpush(invoices, delivery.message.content)

    handle = handle_once(bill, client, f"{stream}:done")
    publish("a", "b", "c")
    for _ in range(3):
        crash = lab.worker("alice", handle, stream=stream, crash="before-ack")
        assert crash.wait_end() == "SIGKILL"
    alice = lab.worker("alice", handle, stream=stream)
    alice.wait_for("acked", 3)
    alice.stop()
    assert client.lrange(invoices, 0, -1) == [b"a", b"b", b"c"]


def test_a_crash_while_the_effect_is_queued_leaves_nothing(
    lab: Lab, stream: str, publish: Publish
) -> None:
    client, invoices = lab.redis, f"{stream}:invoices"

    def die(pipeline: Pipeline, delivery: Delivery) -> None:
        pipeline.rpush(invoices, delivery.message.content)
        os.kill(os.getpid(), signal.SIGKILL)

    publish("a")
    handle = handle_once(die, client, f"{stream}:done")
    assert lab.worker("alice", handle, stream=stream).wait_end() == "SIGKILL"
    assert client.exists(invoices) == 0
    assert len(lab.pending(stream)) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"effect": None}, TypeError, "effect must be callable, not NoneType"),
        ({"scope": " "}, ValueError, "scope is blank"),
        ({"remember_s": 0}, ValueError, "remember_s must be at least 1, not 0"),
    ],
)
def test_bad_arguments_are_refused(
    lab: Lab, arguments: dict[str, object], error: type[Exception], says: str
) -> None:
    given = {"effect": counting("x"), "redis": lab.redis, "scope": "done", **arguments}
    with pytest.raises(error, match=says):
        handle_once(**given)  # type: ignore[arg-type]


def test_two_scopes_never_share_a_mark(lab: Lab, stream: str) -> None:
    """Joined with a colon, they would be the same name."""
    counts: list[object] = []
    for scope, key in (
        (f"{stream}:a", "b:c"),
        (f"{stream}:a:b", "c"),
        (f"{stream}:a", "b%3Ac"),
    ):
        handler = handle_once(
            lambda pipeline, _: pipeline.incr(f"{stream}:effects"),
            lab.redis,
            scope,
            key=lambda _, key=key: key,
        )
        handler(delivery("1-0"))
        counts.append(lab.redis.get(f"{stream}:effects"))
    assert counts == [b"1", b"2", b"3"]


async def asynchronous(pipeline: Pipeline, _: Delivery) -> None:
    pipeline.incr("effects")


def test_an_effect_that_is_not_done_when_it_returns_is_refused(lab: Lab, stream: str) -> None:
    scope = f"{stream}:done"
    with pytest.raises(TypeError, match="effect returned 'coroutine'"):
        handle_once(asynchronous, lab.redis, scope)(delivery("1-0"))
    assert not lab.redis.exists(f"{scope}:1-0")


@pytest.mark.parametrize(("key", "error"), [(1001, TypeError), ("", ValueError)])
def test_a_key_that_is_no_text_is_refused(
    lab: Lab, stream: str, key: object, error: type[Exception]
) -> None:
    handler = handle_once(
        lambda pipeline, _: pipeline.incr("effects"), lab.redis, stream, key=lambda _: key
    )
    with pytest.raises(error, match="key"):
        handler(delivery("1-0"))


def test_an_outage_of_the_server_of_the_effect_uses_up_no_delivery(
    lab: Lab, own_lab: Lab, publish: Publish, consumer: NewConsumer
) -> None:
    """The stream is on one server, and the effect on another."""
    publish("0", "1")
    paused: list[Event] = []

    def on_event(event: Event) -> None:
        if event.kind is Kind.PAUSED:
            paused.append(event)
        assert event.kind is not Kind.FAILED

    alice = consumer(max_deliveries=1, on_event=on_event)
    effects = lab.key("effects")
    with Proxy(lab, at(b"WATCH", Fault(), times=3)) as proxy:
        proxy.client.set_retry(Retry(NoBackoff(), 0))
        handle = handle_once(counting(effects), proxy.client, lab.key("effects:done"))
        with running(alice, handler=handle):
            wait_until(lambda: lab.redis.get(effects) == b"2", "both are handled")
    assert paused
    assert len(own_lab.dead_letters()) == 0


def test_entries_of_two_streams_with_one_id_have_both_their_effects(
    lab: Lab, stream: str
) -> None:
    for number, (scope, *streams) in enumerate(
        [
            (lab.key("shop:done"), f"{stream}:orders", f"{stream}:returns"),
            (f"{stream}:eu:done:billing", stream, f"{stream}:eu"),
            (f"{stream}:done:done", stream, f"{stream}:done"),
        ],
        start=1,
    ):
        handle = handle_once(counting(stream), lab.redis, scope)
        for each in streams:
            for _ in range(2):
                handle(delivery("1-0", stream=each))
        assert lab.redis.get(stream) == b"%d" % (2 * number)


def test_a_scope_may_follow_the_stream(lab: Lab, stream: str) -> None:
    handle = handle_once(
        counting(stream), lab.redis, lambda delivery: f"{delivery.stream}:done"
    )
    for _ in range(2):
        handle(delivery("1-0", stream=stream))
    assert lab.redis.get(stream) == b"1"
    assert lab.redis.get(f"{stream}:done:1-0") == b"1-0"
