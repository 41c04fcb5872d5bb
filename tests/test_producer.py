"""The producer: ids, order, batches in flight, and no retry without a key."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from consumers import all_at_once
from network import address_of, client_losing_answers_to
from redis import Redis

from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.lab import Lab


def some(count: int) -> Iterator[Message]:
    return (Message("web", f"order {number}") for number in range(count))


def stored(client: Redis, stream: str) -> list[str]:
    return [Message.from_fields(fields).content for _, fields in client.xrange(stream)]


def test_publish_returns_the_id_of_the_entry(lab: Lab, stream: str) -> None:
    entry_id = RedisStreamProducer(lab.redis, stream).publish(Message("web", "1 x Dune"))
    assert [found.decode() for found, _ in lab.redis.xrange(stream)] == [entry_id]


def test_publish_many_keeps_the_order_across_batches(lab: Lab, stream: str) -> None:
    ids = RedisStreamProducer(lab.redis, stream).publish_many(some(25), batch_size=10)
    assert [found.decode() for found, _ in lab.redis.xrange(stream)] == ids
    assert stored(lab.redis, stream) == [f"order {number}" for number in range(25)]


def test_many_batches_keep_the_order_and_the_ids(lab: Lab, stream: str) -> None:
    ids = RedisStreamProducer(lab.redis, stream).publish_many(some(1_001), batch_size=7)
    assert [found.decode() for found, _ in lab.redis.xrange(stream)] == ids
    assert stored(lab.redis, stream) == [f"order {number}" for number in range(1_001)]


def test_several_threads_may_share_a_producer(lab: Lab, stream: str) -> None:
    producer = RedisStreamProducer(lab.redis, stream)

    def publish() -> list[str]:
        one_by_one = [producer.publish(message) for message in some(50)]
        with_keys = [producer.publish(message, key=message.content) for message in some(50)]
        return [*one_by_one, *producer.publish_many(some(500), batch_size=20), *with_keys]

    of_threads = all_at_once([publish] * 8)
    assert len({entry_id for ids in of_threads for entry_id in ids}) == 8 * 550 + 50
    assert lab.redis.xlen(stream) == 8 * 550 + 50
    for ids in of_threads:
        batched = [
            Message.from_fields(lab.redis.xrange(stream, id_, id_)[0][1]) for id_ in ids[50:550]
        ]
        assert [message.content for message in batched] == [m.content for m in some(500)]


def test_at_most_two_batches_are_taken_before_they_are_written(lab: Lab, stream: str) -> None:
    def watched() -> Iterator[Message]:
        for number, message in enumerate(some(50)):
            assert number - lab.redis.xlen(stream) < 20
            yield message

    RedisStreamProducer(lab.redis, stream).publish_many(watched(), batch_size=10)
    assert lab.redis.xlen(stream) == 50


def test_the_next_batch_is_taken_while_one_is_in_flight(own_lab: Lab) -> None:
    """The server executes the first batch only after the second one was begun."""

    def unpausing() -> Iterator[Message]:
        yield from some(10)
        own_lab.redis.client_unpause()
        yield from some(10)

    own_lab.redis.client_pause(60_000, all=False)
    ids = RedisStreamProducer(own_lab.redis).publish_many(unpausing(), batch_size=10)
    assert len(ids) == own_lab.redis.xlen("messages") == 20


def test_a_health_check_does_not_read_the_reply_to_a_batch(lab: Lab, stream: str) -> None:
    client = Redis(**address_of(lab), health_check_interval=1e-9)  # before each packet
    ids = RedisStreamProducer(client, stream).publish_many(some(50), batch_size=10)
    assert [found.decode() for found, _ in lab.redis.xrange(stream)] == ids


def test_an_item_that_is_no_message_writes_nothing_of_its_batch(lab: Lab, stream: str) -> None:
    items = [*some(14), "order 14", *some(3)]
    with pytest.raises(TypeError, match="expected a Message, not str: 'order 14'"):
        RedisStreamProducer(lab.redis, stream).publish_many(items, batch_size=10)  # type: ignore[arg-type]
    assert lab.redis.xlen(stream) == 10


def test_maxlen_keeps_about_that_many(lab: Lab, stream: str) -> None:
    RedisStreamProducer(lab.redis, stream, maxlen=10).publish_many(some(2_000))
    assert 10 <= lab.redis.xlen(stream) <= 200


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"stream": " "}, ValueError, "stream is blank: ' '"),
        ({"stream": None}, TypeError, "stream must be a str, not NoneType"),
        ({"maxlen": 0}, ValueError, "maxlen must be at least 1, not 0"),
        ({"maxlen": "9"}, TypeError, "maxlen must be an int, not str: '9'"),
    ],
)
def test_bad_arguments_are_refused_by_name(
    lab: Lab, arguments: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        RedisStreamProducer(lab.redis, **arguments)  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"redis must be a redis\.Redis or redis\.RedisCluster client, not str"
    ):
        RedisStreamProducer("redis://localhost")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"retry_for_s": "5"}, TypeError, "retry_for_s must be a number, not str: '5'"),
        ({"retry_for_s": -1}, ValueError, "retry_for_s must be at least 0, not -1"),
        ({"retry_for_s": float("nan")}, ValueError, "retry_for_s must be at least 0, not nan"),
        ({"fields": None}, TypeError, "fields must be a mapping, not NoneType"),
        ({"fields": "trace"}, TypeError, "fields must be a mapping, not str: 'trace'"),
        ({"wait_replicas": None}, TypeError, "wait_replicas must be an int, not NoneType"),
    ],
)
def test_an_option_of_publish_that_cannot_be_meant_is_refused_by_name(
    lab: Lab, stream: str, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        RedisStreamProducer(lab.redis, stream).publish(Message("web", "a"), **options)
    assert lab.redis.xlen(stream) == 0


def test_a_write_whose_answer_is_lost_is_not_tried_again(lab: Lab, stream: str) -> None:
    with (
        client_losing_answers_to(b"XADD", lab) as client,  # retries: 10
        pytest.raises(redis.ConnectionError),
    ):
        RedisStreamProducer(client, stream).publish(Message("web", "once"))
    assert stored(lab.redis, stream) == ["once"]


def test_publish_many_without_messages_writes_nothing(lab: Lab, stream: str) -> None:
    assert RedisStreamProducer(lab.redis, stream).publish_many([]) == []
    assert not lab.redis.exists(stream)


def test_an_iterable_that_raises_leaves_whole_batches(lab: Lab, stream: str) -> None:
    def breaking() -> Iterator[Message]:
        yield from some(25)
        raise OSError("the source broke")

    with pytest.raises(OSError, match="the source broke"):
        RedisStreamProducer(lab.redis, stream).publish_many(breaking(), batch_size=10)
    assert stored(lab.redis, stream) == [f"order {number}" for number in range(20)]


def test_a_batch_that_the_server_refuses_raises_and_ends_the_writing(
    lab: Lab, stream: str
) -> None:
    taken = 0

    def spoiling() -> Iterator[Message]:
        nonlocal taken
        for taken, message in enumerate(some(100), 1):
            if taken == 35:  # of the fourth batch; the third is in flight
                lab.redis.delete(stream)
                lab.redis.set(stream, "not a stream")
            yield message

    producer = RedisStreamProducer(lab.redis, stream)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        producer.publish_many(spoiling(), batch_size=10)
    assert taken <= 50  # the batch that was packed meanwhile, and no more
    lab.redis.delete(stream)
    ids = producer.publish_many(some(3))  # reads no reply of the call before
    assert [found.decode() for found, _ in lab.redis.xrange(stream)] == ids


def test_a_connection_cut_in_the_middle_leaves_the_beginning(lab: Lab, stream: str) -> None:
    with client_losing_answers_to(b"order 15", lab, times=1) as client:
        producer = RedisStreamProducer(client, stream)
        with pytest.raises(redis.ConnectionError):
            producer.publish_many(some(100), batch_size=10)
        # The second batch has lost its answer; the third was on its way when that happened.
        assert lab.redis.xlen(stream) in (20, 30)
        producer.publish_many(some(1))
    contents = stored(lab.redis, stream)
    assert contents == [*(f"order {number}" for number in range(len(contents) - 1)), "order 0"]


def test_an_error_of_the_iterable_waits_until_earlier_batches_are_written(
    own_lab: Lab,
) -> None:
    def breaking() -> Iterator[Message]:
        yield from some(10)
        raise OSError("the source broke")

    own_lab.redis.client_pause(300, all=False)  # milliseconds, in which nothing is written
    with pytest.raises(OSError, match="the source broke"):
        RedisStreamProducer(own_lab.redis).publish_many(breaking(), batch_size=10)
    assert own_lab.redis.xlen("messages") == 10


def test_an_interrupt_does_not_leave_replies_for_the_next_call(own_lab: Lab) -> None:
    def interrupted() -> Iterator[Message]:
        yield from some(10)
        raise KeyboardInterrupt

    def unpausing() -> Iterator[Message]:
        own_lab.redis.client_unpause()  # now the first call is answered, if anything reads it
        yield from some(3)

    producer = RedisStreamProducer(own_lab.redis)
    own_lab.redis.client_pause(60_000, all=False)
    with pytest.raises(KeyboardInterrupt):
        producer.publish_many(interrupted(), batch_size=10)
    ids = producer.publish_many(unpausing())
    written = [found.decode() for found, _ in own_lab.redis.xrange("messages")]
    assert written[-3:] == ids


@pytest.mark.parametrize("item", [b"x", None, ("web", "x")])
def test_publish_refuses_what_is_no_message(lab: Lab, stream: str, item: object) -> None:
    with pytest.raises(TypeError, match="expected a Message, not "):
        RedisStreamProducer(lab.redis, stream).publish(item)  # type: ignore[arg-type]
    assert not lab.redis.exists(stream)


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_a_bad_batch_size_is_refused_and_nothing_is_taken(
    lab: Lab, stream: str, size: object
) -> None:
    messages = some(2)
    with pytest.raises((TypeError, ValueError), match="batch_size must be"):
        RedisStreamProducer(lab.redis, stream).publish_many(messages, batch_size=size)  # type: ignore[arg-type]
    assert len(list(messages)) == 2
    assert not lab.redis.exists(stream)


def test_a_stream_is_trimmed_of_its_oldest_entries(lab: Lab, stream: str) -> None:
    producer = RedisStreamProducer(lab.redis, stream, maxlen=10)
    ids = producer.publish_many(some(2_000))
    kept = [found.decode() for found, _ in lab.redis.xrange(stream)]
    assert kept == ids[-len(kept) :]


def test_a_client_that_decodes_answers_still_gives_ids_as_text(lab: Lab, stream: str) -> None:
    client = Redis(**address_of(lab), decode_responses=True)
    ids = RedisStreamProducer(client, stream).publish_many(some(2))
    assert [found.decode() for found, _ in lab.redis.xrange(stream)] == ids


def test_the_producer_has_a_connection_of_its_own_that_never_retries(lab: Lab) -> None:
    given = Redis(**address_of(lab))
    own = RedisStreamProducer(given)._redis
    assert own.connection_pool is not given.connection_pool
    assert given.get_retry().get_retries() > 0  # what redis-py does unless told
    assert own.get_retry().get_retries() == 0
    assert own.connection_pool.make_connection().retry.get_retries() == 0


def test_a_batch_whose_answer_is_lost_is_not_written_again(lab: Lab, stream: str) -> None:
    with client_losing_answers_to(b"XADD", lab) as client, pytest.raises(redis.ConnectionError):
        RedisStreamProducer(client, stream).publish_many(some(10))
    assert stored(lab.redis, stream) == [f"order {number}" for number in range(10)]


def test_a_server_that_is_down_is_an_error_and_the_producer_works_again(own_lab: Lab) -> None:
    producer = RedisStreamProducer(own_lab.redis)
    producer.publish(Message("web", "before"))
    own_lab.server.kill()
    with pytest.raises(redis.ConnectionError):
        producer.publish(Message("web", "lost"))
    own_lab.server.start()
    producer.publish(Message("web", "after"))
    assert stored(own_lab.redis, "messages") == ["before", "after"]


def test_the_log_tells_the_id_of_every_entry(
    lab: Lab, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    producer = RedisStreamProducer(lab.redis, stream)
    with caplog.at_level(logging.DEBUG, logger="redisflow_lab.producer"):
        ids = [producer.publish(Message("web", "one")), *producer.publish_many(some(2))]
    assert all(entry_id in caplog.text for entry_id in ids)
    assert [record.levelname for record in caplog.records] == ["DEBUG", "DEBUG"]
