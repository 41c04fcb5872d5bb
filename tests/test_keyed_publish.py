"""A publish with a key writes one entry, however often it is repeated."""

import threading

import pytest
import redis
from consumers import NewConsumer
from handlers import collect_into
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


@pytest.mark.parametrize("command", [b"EVAL", b"IDMP"])
def test_a_publish_with_a_key_is_retried_after_a_lost_reply_and_written_once(
    lab: Lab, stream: str, command: bytes
) -> None:
    """Each request arrives and each reply is lost, for as often as `publish` tries."""
    producer = RedisStreamProducer(lab.redis, stream)
    producer.publish(Message("web", "before"), key="0")
    uses_idmp = lab.redis.exists(f"{stream}:published:web:0") == 0
    if uses_idmp != (command == b"IDMP"):
        pytest.skip("this server deduplicates with the other command")
    with client_losing_answers_to(command, lab) as client:
        unlucky = RedisStreamProducer(client, stream)
        with pytest.raises(redis.ConnectionError):
            unlucky.publish(Message("web", "order 17"), key="17")
    assert lab.redis.xlen(stream) == 2
    entry_id = producer.publish(Message("web", "order 17"), key="17")
    assert lab.redis.xlen(stream) == 2
    assert lab.redis.xrange(stream)[-1][0].decode() == entry_id


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
    for bad, error in ((" ", ValueError), (7, TypeError)):
        with pytest.raises(error, match="key"):
            producer.publish(Message("web", "a"), key=bad)  # type: ignore[arg-type]
    assert lab.redis.exists(stream) == 0
