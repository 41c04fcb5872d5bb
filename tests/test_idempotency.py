"""One effect for one message, and one entry for one key, whatever is killed in between."""

import os
import signal
import threading
from collections.abc import Callable

import pytest
import redis
from network import address_of, losing_answers_to
from redis import Redis
from redis.client import Pipeline

from redisflow_lab import Delivery, Message, RedisStreamConsumer, RedisStreamProducer
from redisflow_lab.idempotency import handle_once
from redisflow_lab.lab import Lab


def delivery(entry_id: str, content: str = "1 x Dune") -> Delivery:
    return Delivery(entry_id, Message("web", content), 1, lambda: True)


def counting(counter: str) -> Callable[[Pipeline, Delivery], object]:
    return lambda pipeline, _: pipeline.incr(counter)


def test_the_same_entry_has_one_effect_and_another_has_its_own(lab: Lab, stream: str) -> None:
    handle = handle_once(counting(stream), lab.redis, f"{stream}:done")
    for entry_id in ("1-0", "1-0", "2-0", "1-0"):
        handle(delivery(entry_id))
    assert lab.redis.get(stream) == b"2"


def test_a_key_of_ones_own_sees_what_was_published_twice(lab: Lab, stream: str) -> None:
    handle = handle_once(
        counting(stream), lab.redis, f"{stream}:done", key=lambda d: d.message.content
    )
    for entry_id in ("1-0", "2-0"):
        handle(delivery(entry_id, "order 17"))
    assert lab.redis.get(stream) == b"1"


def test_the_mark_goes_after_the_stated_time(lab: Lab, stream: str) -> None:
    handle = handle_once(counting(stream), lab.redis, f"{stream}:done", remember_s=100)
    handle(delivery("1-0"))
    assert 90 < lab.redis.ttl(f"{stream}:done:1-0") <= 100


def test_an_effect_that_raises_leaves_no_mark_and_no_half(lab: Lab, stream: str) -> None:
    def broken(pipeline: Pipeline, _: Delivery) -> None:
        pipeline.incr(stream)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        handle_once(broken, lab.redis, f"{stream}:done")(delivery("1-0"))
    assert lab.redis.exists(stream, f"{stream}:done:1-0") == 0


def test_a_write_that_the_server_refuses_does_not_pass_for_done(lab: Lab, stream: str) -> None:
    lab.redis.set(stream, "text")
    handle = handle_once(counting(stream), lab.redis, f"{stream}:done")
    with pytest.raises(redis.ResponseError, match="not an integer"):
        handle(delivery("1-0"))
    lab.redis.set(stream, 0)
    handle(delivery("1-0"))
    assert lab.redis.get(stream) == b"1"


@pytest.mark.parametrize("command", [b"EXISTS", b"EXEC"], ids=["asking", "writing"])
def test_an_answer_that_is_lost_once_is_no_failure(
    lab: Lab, stream: str, command: bytes
) -> None:
    server = address_of(lab)
    with losing_answers_to(command, server["host"], server["port"], times=1) as port:
        unlucky = Redis(**{**server, "port": port})
        handle_once(counting(stream), unlucky, f"{stream}:done")(delivery("1-0"))
    assert lab.redis.get(stream) == b"1"


def test_many_at_once_have_one_effect(lab: Lab, stream: str) -> None:
    handle = handle_once(counting(stream), Redis(**address_of(lab)), f"{stream}:done")
    threads = [threading.Thread(target=handle, args=(delivery("1-0"),)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lab.redis.get(stream) == b"1"


def test_a_crash_before_the_ack_and_a_replay_have_one_effect(lab: Lab, stream: str) -> None:
    client, invoices = lab.redis, f"{stream}:invoices"

    def bill(pipeline: Pipeline, delivery: Delivery) -> None:
        pipeline.rpush(invoices, delivery.message.content)

    handle = handle_once(bill, client, f"{stream}:done")
    RedisStreamProducer(client, stream).publish_many(Message("web", c) for c in "abc")
    for _ in range(3):
        crash = lab.worker("alice", handle, stream=stream, crash="before-ack")
        assert crash.wait_end() == "SIGKILL"
    alice = lab.worker("alice", handle, stream=stream)
    alice.wait_for("acked", 3)
    alice.stop()
    assert client.lrange(invoices, 0, -1) == [b"a", b"b", b"c"]


def test_a_crash_while_the_effect_is_queued_leaves_nothing(lab: Lab, stream: str) -> None:
    client, invoices = lab.redis, f"{stream}:invoices"

    def die(pipeline: Pipeline, delivery: Delivery) -> None:
        pipeline.rpush(invoices, delivery.message.content)
        os.kill(os.getpid(), signal.SIGKILL)

    RedisStreamProducer(client, stream).publish(Message("web", "a"))
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


# The producer.


def test_a_key_is_written_once_and_answers_the_same_id(lab: Lab, stream: str) -> None:
    first, second = (RedisStreamProducer(lab.redis, stream) for _ in range(2))
    message = Message("web", "order 17")
    entry_id = first.publish(message, key="17")
    assert first.publish(message, key="17") == entry_id
    assert second.publish(message, key="17") == entry_id
    assert first.publish(message, key="18") != entry_id
    assert first.publish(Message("mobile", "order 17"), key="17") != entry_id
    assert lab.redis.xlen(stream) == 3


def test_without_a_key_each_publish_writes(lab: Lab, stream: str) -> None:
    producer = RedisStreamProducer(lab.redis, stream)
    message = Message("web", "order 17")
    assert producer.publish(message) != producer.publish(message)


def test_a_keyed_entry_is_read_like_any_other(lab: Lab, stream: str) -> None:
    RedisStreamProducer(lab.redis, stream, maxlen=100).publish(Message("web", "a"), key="1")
    consumer = RedisStreamConsumer(lab.redis, stream, "billing", "alice", block_ms=20)
    consumer.ensure_group()
    seen: list[str] = []
    consumer.read_new(lambda delivery: seen.append(delivery.message.content))
    assert seen == ["a"]


@pytest.mark.parametrize("command", [b"EVAL", b"IDMP"])
def test_a_lost_answer_is_asked_for_again_and_nothing_is_written_twice(
    lab: Lab, stream: str, command: bytes
) -> None:
    """The way there works, the way back does not, for as often as `publish` tries."""
    producer = RedisStreamProducer(lab.redis, stream)
    producer.publish(Message("web", "before"), key="0")
    uses_idmp = lab.redis.exists(f"{stream}:published:web:0") == 0
    if uses_idmp != (command == b"IDMP"):
        pytest.skip("this server does it the other way")
    server = address_of(lab)
    with losing_answers_to(command, server["host"], server["port"]) as port:
        unlucky = RedisStreamProducer(Redis(**{**server, "port": port}), stream)
        with pytest.raises(redis.ConnectionError):
            unlucky.publish(Message("web", "order 17"), key="17")
    assert lab.redis.xlen(stream) == 2
    entry_id = producer.publish(Message("web", "order 17"), key="17")
    assert lab.redis.xlen(stream) == 2
    assert lab.redis.xrange(stream)[-1][0].decode() == entry_id


def test_a_server_that_restarts_meanwhile_is_waited_for(own_lab: Lab) -> None:
    producer = RedisStreamProducer(own_lab.redis, "orders")
    first = producer.publish(Message("web", "a"), key="1")
    own_lab.server.kill()
    back = threading.Timer(0.2, own_lab.server.start)
    back.start()
    second = producer.publish(Message("web", "b"), key="2")
    back.join()
    assert producer.publish(Message("web", "a"), key="1") == first  # remembered on disk
    assert own_lab.redis.xlen("orders") == 2
    assert second != first


def test_a_bad_key_writes_nothing(lab: Lab, stream: str) -> None:
    producer = RedisStreamProducer(lab.redis, stream)
    for bad, error in ((" ", ValueError), (7, TypeError)):
        with pytest.raises(error, match="key"):
            producer.publish(Message("web", "a"), key=bad)  # type: ignore[arg-type]
    assert lab.redis.exists(stream) == 0
