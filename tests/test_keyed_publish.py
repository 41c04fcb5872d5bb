"""A publish with a key writes one entry, however often it is repeated."""

import socket
import threading
from time import monotonic

import pytest
import redis
from consumers import NewConsumer
from handlers import collect_into
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from network import client_losing_answers_to

from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.lab import Lab


def test_a_key_is_written_once_and_each_publish_returns_its_id(lab: Lab, stream: str) -> None:
    first, second = (RedisStreamProducer(lab.redis, stream) for _ in range(2))
    message = Message("web", "order 17")
    entry_id = first.publish(message, key="17")
    assert first.publish(message, key="17") == entry_id
    assert second.publish(message, key="17") == entry_id
    assert first.publish(message, key="18") != entry_id
    assert first.publish(Message("mobile", "order 17"), key="17") != entry_id
    assert lab.redis.xlen(stream) == 3


def test_a_key_that_is_no_mark_is_named(lab: Lab, stream: str) -> None:
    lab.redis.set(f"{stream}:published:web:17", "another program's")
    with pytest.raises(redis.ResponseError, match=r"published:web:17 is not the dedupl"):
        RedisStreamProducer(lab.redis, stream).publish(Message("web", "a"), key="17")
    assert lab.redis.exists(stream) == 0


def test_without_a_key_each_publish_writes(lab: Lab, stream: str) -> None:
    producer = RedisStreamProducer(lab.redis, stream)
    message = Message("web", "order 17")
    assert producer.publish(message) != producer.publish(message)


def test_an_entry_published_with_a_key_is_read_like_any_other(
    lab: Lab, stream: str, consumer: NewConsumer
) -> None:
    RedisStreamProducer(lab.redis, stream, maxlen=100).publish(Message("web", "a"), key="1")
    seen: list[str] = []
    consumer().read_new(collect_into(seen))
    assert seen == ["a"]


def test_a_publish_with_a_key_is_retried_after_a_lost_reply_and_written_once(
    lab: Lab, stream: str
) -> None:
    """Each request arrives and each reply is lost, for as often as `publish` tries."""
    producer = RedisStreamProducer(lab.redis, stream)
    with client_losing_answers_to(b"EVAL", lab) as client:
        unlucky = RedisStreamProducer(client, stream)
        with pytest.raises(redis.ConnectionError):
            unlucky.publish(Message("web", "order 17"), key="17", retry_for_s=1.0)
    assert lab.redis.xlen(stream) == 1
    entry_id = producer.publish(Message("web", "order 17"), key="17")
    assert lab.redis.xlen(stream) == 1
    assert lab.redis.xrange(stream)[-1][0].decode() == entry_id


NAMES = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from(":%"), min_size=1
).filter(str.strip)


@given(first=st.tuples(NAMES, NAMES), second=st.tuples(NAMES, NAMES))
@example(first=("checkout", "eu:1001"), second=("checkout:eu", "1001"))
@example(first=("a%3Ab", "c"), second=("a:b", "c"))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_two_pairs_of_producer_and_key_never_share_an_entry(
    lab: Lab, stream: str, first: tuple[str, str], second: tuple[str, str]
) -> None:
    producer = RedisStreamProducer(lab.redis, stream)
    one, other = (
        producer.publish(Message(name, "a"), key=key) for name, key in (first, second)
    )
    assert (one == other) == (first == second)


def test_two_streams_never_share_a_key(lab: Lab, stream: str) -> None:
    RedisStreamProducer(lab.redis, stream).publish(Message("published:x", "a"), key="1")
    other = RedisStreamProducer(lab.redis, f"{stream}:published")
    other.publish(Message("x", "a"), key="1")
    assert lab.redis.xlen(other.stream) == 1


def test_a_key_is_forgotten_with_its_stream(lab: Lab, stream: str) -> None:
    producer = RedisStreamProducer(lab.redis, stream)
    messages = [Message("web", str(number)) for number in range(300)]
    for message in messages:
        producer.publish(message, key=message.content)
    lab.redis.delete(stream)
    after = [producer.publish(message, key=message.content) for message in messages]
    again = [producer.publish(message, key=message.content) for message in messages]
    assert again == after
    assert lab.redis.xlen(stream) == 300


@pytest.mark.parametrize("how", ["trimmed", "deleted", "trimmed to nothing"])
def test_a_key_outlives_its_entry(lab: Lab, stream: str, how: str) -> None:
    """A consumer may have handled it; a late retry must not write it again."""
    producer = RedisStreamProducer(lab.redis, stream)
    entry_id = producer.publish(Message("web", "a"), key="1")
    producer.publish(Message("web", "b"), key="2")
    if how == "deleted":
        lab.redis.xdel(stream, entry_id)
    else:
        lab.redis.xtrim(stream, maxlen=int(how == "trimmed"), approximate=False)
    assert producer.publish(Message("web", "a"), key="1") == entry_id


def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as black_hole:
        client = redis.Redis(port=black_hole.getsockname()[1])
        producer = RedisStreamProducer(client, "orders")
        began = monotonic()
        with pytest.raises(redis.TimeoutError):
            producer.publish(Message("web", "a"), key="1", retry_for_s=0.5)
        assert monotonic() - began < 12


def test_a_publish_with_a_key_waits_for_a_server_that_restarts(own_lab: Lab) -> None:
    producer = RedisStreamProducer(own_lab.redis, "orders")
    first = producer.publish(Message("web", "a"), key="1")
    own_lab.server.kill()
    back = threading.Timer(0.2, own_lab.server.start)
    back.start()
    second = producer.publish(Message("web", "b"), key="2")
    back.join()
    assert producer.publish(Message("web", "a"), key="1") == first  # the key survives on disk
    assert own_lab.redis.xlen("orders") == 2
    assert second != first


def test_a_bad_key_is_refused_and_nothing_is_written(lab: Lab, stream: str) -> None:
    producer = RedisStreamProducer(lab.redis, stream)
    for bad, error in ((" ", ValueError), (7, TypeError), ("\ud800", ValueError)):
        with pytest.raises(error, match="key"):
            producer.publish(Message("web", "a"), key=bad)  # type: ignore[arg-type]
    assert lab.redis.exists(stream) == 0
