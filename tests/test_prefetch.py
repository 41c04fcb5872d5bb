"""Acknowledging by many, the consumer reads ahead: it holds no more, and loses nothing."""

from threading import Event as StopEvent
from time import monotonic

import pytest

from redisflow_lab import Delivery, Message, RedisStreamConsumer, RedisStreamProducer
from redisflow_lab.lab import Lab


def consumer(
    lab: Lab, stream: str, name: str = "alice", **options: object
) -> RedisStreamConsumer:
    return RedisStreamConsumer(
        lab.redis,
        stream,
        "billing",
        name,
        **{"batch": 6, "ack_every": 6, "block_ms": 20, **options},  # type: ignore[arg-type]
    )


def write(lab: Lab, stream: str, count: int) -> None:
    RedisStreamProducer(lab.redis, stream).publish_many(
        Message("web", str(number)) for number in range(count)
    )


def contents(count: int) -> list[str]:
    return [str(number) for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7, 12, 50])
@pytest.mark.parametrize("batch", [2, 3, 6])
def test_each_message_is_handled_once_and_acknowledged(
    lab: Lab, stream: str, count: int, batch: int
) -> None:
    write(lab, stream, count)
    handled: list[str] = []
    stop = StopEvent()

    def handle(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        if delivery.message.content == "last":
            stop.set()

    RedisStreamProducer(lab.redis, stream).publish(Message("web", "last"))
    consumer(lab, stream, batch=batch).run(handle, stop=stop)
    assert handled == [*contents(count), "last"]
    assert lab.groups(stream)[["consumers", "pending", "lag"]].values.tolist() == [[0, 0, 0]]


def test_no_more_than_a_batch_is_pending(lab: Lab, stream: str) -> None:
    write(lab, stream, 30)
    pending: list[int] = []
    stop = StopEvent()

    def handle(delivery: Delivery) -> None:
        pending.append(len(lab.pending(stream)))
        if delivery.message.content == "29":
            stop.set()

    consumer(lab, stream).run(handle, stop=stop)
    assert max(pending) == 6
    assert len(pending) == 30


def test_who_leaves_hands_over_what_was_read_ahead(lab: Lab, stream: str) -> None:
    write(lab, stream, 20)
    handled: list[str] = []
    stop = StopEvent()

    def first_only(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        stop.set()

    consumer(lab, stream).run(first_only, stop=stop)
    assert len(lab.pending(stream)) == 5
    bob = consumer(lab, stream, "bob")
    bob.take_over(lambda delivery: handled.append(delivery.message.content))
    assert handled == contents(6)


def test_what_was_read_ahead_is_held_while_the_other_half_takes_long(
    lab: Lab, stream: str
) -> None:
    write(lab, stream, 8)
    alice, bob = (
        consumer(lab, stream, name, batch=4, min_idle_ms=250, max_handler_ms=150)
        for name in ("alice", "bob")
    )
    handled: list[str] = []
    robbed: list[str] = []
    stop = StopEvent()

    def slow(delivery: Delivery) -> None:
        until = monotonic() + 0.1
        lab.wait_until(lambda: monotonic() > until, "a tenth of a second")
        bob.take_over(lambda delivery: robbed.append(delivery.message.content))
        handled.append(delivery.message.content)
        if delivery.message.content == "7":
            stop.set()

    alice.run(slow, stop=stop)
    assert (handled, robbed) == (contents(8), [])


def test_nobody_is_robbed_however_long_the_other_half_takes(lab: Lab, stream: str) -> None:
    """Nor of what is handled and waits to be acknowledged with the rest."""
    write(lab, stream, 14)
    alice, bob = (
        consumer(lab, stream, name, batch=14, ack_every=14, min_idle_ms=250, max_handler_ms=150)
        for name in ("alice", "bob")
    )
    handled: list[str] = []
    robbed: list[str] = []
    stop = StopEvent()

    def slow(delivery: Delivery) -> None:
        until = monotonic() + 0.07
        lab.wait_until(lambda: monotonic() > until, "some time")
        bob.take_over(lambda delivery: robbed.append(delivery.message.content))
        handled.append(delivery.message.content)
        if len(handled) + len(robbed) >= 14:
            stop.set()

    alice.run(slow, stop=stop)
    assert (handled, robbed) == (contents(14), [])


def test_a_long_take_over_holds_what_was_read_ahead(lab: Lab, stream: str) -> None:
    write(lab, stream, 10)
    alice, bob = (
        consumer(lab, stream, name, batch=4, min_idle_ms=400, max_handler_ms=150)
        for name in ("alice", "bob")
    )
    alice.ensure_group()
    (given,) = lab.redis.xreadgroup("billing", "carol", {stream: ">"}, count=4)
    carols = [entry_id for entry_id, _ in given[1]]
    handled: list[str] = []
    robbed: list[str] = []
    stop = StopEvent()

    def slow(delivery: Delivery) -> None:
        until = monotonic() + 0.14
        lab.wait_until(lambda: monotonic() > until, "some time")
        handled.append(delivery.message.content)
        if delivery.message.content == "4":  # while 6 and 7 are read ahead
            lab.redis.xclaim(stream, "billing", "carol", 0, carols, idle=9_000, justid=True)
        if delivery.message.content in "0123":
            bob.take_over(lambda delivery: robbed.append(delivery.message.content))
        if len(handled) + len(robbed) >= 10:
            stop.set()

    alice.run(slow, stop=stop)
    assert {*robbed} <= {*contents(4)}
    assert sorted(handled + robbed) == contents(10)


def test_what_was_read_ahead_is_not_handled_by_a_take_over(lab: Lab, stream: str) -> None:
    """What bob claims is acknowledged by the slow alice: his next is not up yet."""
    bob = consumer(lab, stream, "bob", batch=4, min_idle_ms=400)
    bob.ensure_group()
    write(lab, stream, 10)
    (given,) = lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=2)
    alices = [entry_id for entry_id, _ in given[1]]
    handled: list[str] = []
    stop = StopEvent()

    def handle(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        if delivery.message.content == "3":  # 4 and 5 are read ahead
            lab.redis.xclaim(stream, "billing", "alice", 0, alices, idle=9_000, justid=True)
            until = monotonic() + 0.15  # when bob looks for the work of the dead again
            lab.wait_until(lambda: monotonic() > until)
        if delivery.message.content == "0":
            lab.redis.xack(stream, "billing", alices[1])
        if delivery.message.content == "9":
            stop.set()

    bob.run(handle, stop=stop)
    assert handled == ["2", "3", "0", *contents(10)[4:]]


def test_a_server_that_dies_takes_nothing_of_it_along(own_lab: Lab) -> None:
    own_lab.redis.config_set("appendfsync", "always")
    write(own_lab, "orders", 40)
    handled: list[str] = []
    stop = StopEvent()

    def handle(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        if delivery.message.content == "7" and delivery.deliveries == 1:
            own_lab.server.kill()
            own_lab.server.start()
        if delivery.message.content == "39":
            stop.set()

    consumer(own_lab, "orders").run(handle, stop=stop)
    assert sorted({*handled}, key=int) == contents(40)
    assert len(own_lab.pending("orders")) == 0


def test_a_loop_that_was_interrupted_and_runs_again_handles_nothing_twice(
    lab: Lab, stream: str
) -> None:
    """What was read ahead is replayed: it must not come up a second time."""
    write(lab, stream, 12)
    alice = consumer(lab, stream)
    handled: list[str] = []
    stop = StopEvent()

    def handle(delivery: Delivery) -> None:
        if delivery.message.content == "4" and delivery.deliveries == 1:
            raise KeyboardInterrupt
        handled.append(delivery.message.content)
        if delivery.message.content == "11":
            stop.set()

    with pytest.raises(KeyboardInterrupt):
        alice.run(handle, stop=stop)
    alice.run(handle, stop=stop)
    assert handled == contents(12)


def test_an_exception_that_ends_the_loop_leaves_the_rest_to_the_replay(
    lab: Lab, stream: str
) -> None:
    write(lab, stream, 12)
    handled: list[str] = []

    def interrupted(delivery: Delivery) -> None:
        if delivery.message.content == "4":
            raise KeyboardInterrupt
        handled.append(delivery.message.content)

    with pytest.raises(KeyboardInterrupt):
        consumer(lab, stream).run(interrupted, stop=StopEvent())
    again = consumer(lab, stream)
    again.replay_pending(lambda delivery: handled.append(delivery.message.content))
    while again.read_new(lambda delivery: handled.append(delivery.message.content)):
        pass
    assert handled == contents(12)
