"""Routing: each type of message has its handler, and an unknown one blocks no other."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from consumers import NewConsumer, Publish
from google.protobuf.wrappers_pb2 import Int64Value
from handlers import collect_into, decline
from redis import Redis

from redisflow_lab import (
    Delivery,
    Event,
    Message,
    RedisStreamProducer,
    Route,
    Router,
    protobuf_codec,
)
from redisflow_lab.dead_letters import DeadLetters, Reason
from redisflow_lab.lab import Lab


@pytest.fixture
def producer(lab: Lab, stream: str) -> RedisStreamProducer:
    return RedisStreamProducer(lab.redis, stream)


def test_each_type_reaches_its_own_handler_decoded_by_its_own_codec(
    lab: Lab, stream: str, producer: RedisStreamProducer, consumer: NewConsumer
) -> None:
    producer.publish(Message("web", "1"), type="order.placed")
    producer.publish_many([Message("web", "2"), Message("web", "3")], type="order.paid")
    counts = RedisStreamProducer(lab.redis, stream, codec=protobuf_codec(Int64Value))
    counts.publish(Int64Value(value=7), type="stock.counted", fields={"trace": "x"})
    producer.publish(Message("web", "4"))
    seen: list[tuple[str, object]] = []

    def count(delivery: Delivery[Int64Value]) -> None:
        assert delivery.fields[b"trace"] == b"x"
        seen.append(("counted", delivery.message.value))

    router = Router(
        {
            "order.placed": lambda each: seen.append(("placed", each.message.content)),
            "order.paid": lambda each: seen.append(("paid", each.message.content)),
            "stock.counted": Route(count, protobuf_codec(Int64Value)),
        },
        untyped=lambda each: seen.append(("untyped", each.message.content)),
    )
    consumer().read_new(router)
    assert seen == [
        ("placed", "1"), ("paid", "2"), ("paid", "3"), ("counted", 7), ("untyped", "4"),
    ]  # fmt: skip
    assert len(lab.pending(stream)) == 0


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"type": "order.cancelled"}, "unknown type 'order.cancelled'; "),
        ({"type": b"\xff\x1b"}, r"unknown type '\xff\x1b'; "),
        ({"type": ""}, "unknown type ''; "),
        ({}, "the entry has no type; "),
    ],
)
def test_an_unknown_type_is_dead_lettered_at_once_and_the_next_message_is_handled(
    lab: Lab,
    stream: str,
    producer: RedisStreamProducer,
    consumer: NewConsumer,
    dead_letters: DeadLetters,
    fields: Mapping[str | bytes, str | bytes],
    error: str,
) -> None:
    unknown = producer.publish(Message("web", "1"), fields=fields)
    producer.publish(Message("web", "2"), type="order.placed")
    handled: list[str] = []
    events: list[Event] = []
    router = Router({"order.placed": collect_into(handled)})
    consumer(on_event=events.append, ack_every=10).read_new(router)
    assert handled == ["2"]
    assert len(lab.pending(stream)) == 0
    (letter,) = dead_letters
    assert (letter.reason, letter.entry_id, letter.deliveries) == ("unknown-type", unknown, 1)
    assert letter.error == error + "this consumer handles 'order.placed'"
    assert [event.kind for event in events if event.entry_id == unknown] == [
        "delivered", "dead-lettered",
    ]  # fmt: skip


def test_a_redrive_after_the_new_handler_is_deployed_is_handled(
    producer: RedisStreamProducer, consumer: NewConsumer, dead_letters: DeadLetters
) -> None:
    producer.publish(
        Message("web", "1"), type="order.cancelled", fields={"trace": "x"}, key="1001"
    )
    old, seen = Router({"order.placed": decline}), []
    consumer().read_new(old)
    (letter,) = dead_letters
    assert dict(letter.fields).keys() == {b"type", b"data", b"trace"}
    dead_letters.redrive(letter.letter_id)
    new = Router(
        {
            "order.placed": decline,
            "order.cancelled": lambda each: seen.append((each.message.content, each.fields)),
        }
    )
    consumer().read_new(new)
    assert seen == [("1", {b"type": b"order.cancelled", b"trace": b"x"})]
    assert len(dead_letters) == 0


def test_a_repaired_dead_letter_keeps_its_type(
    producer: RedisStreamProducer, consumer: NewConsumer, dead_letters: DeadLetters
) -> None:
    producer.publish(Message("web", "bad"), type="order.placed")
    consumer(max_deliveries=1).read_new(Router({"order.placed": decline}))
    (letter,) = dead_letters
    dead_letters.redrive(letter.letter_id, repair=lambda _: Message("web", "good"))
    handled: list[str] = []
    consumer().read_new(Router({"order.placed": collect_into(handled)}))
    assert handled == ["good"]


def test_undecodable_data_and_failures_of_a_known_type_are_treated_as_without_a_router(
    lab: Lab,
    stream: str,
    producer: RedisStreamProducer,
    consumer: NewConsumer,
    dead_letters: DeadLetters,
) -> None:
    lab.redis.xadd(stream, {"data": b"\xff", "type": "order.placed"})
    lab.redis.xadd(stream, {"data": b"\xff", "type": "stock.counted"})
    lab.redis.xadd(stream, {"type": "stock.counted"})  # without data
    failed = producer.publish(Message("web", "1"), type="order.placed")
    codec = protobuf_codec(Int64Value)
    router = Router({"order.placed": decline, "stock.counted": Route(decline, codec)})
    consumer().read_new(router)
    assert [letter.reason for letter in dead_letters] == [Reason.UNDECODABLE] * 3
    assert list(lab.pending(stream)["entry_id"]) == [failed]


def test_a_function_around_the_router_keeps_unknown_types_from_being_retried(
    producer: RedisStreamProducer, consumer: NewConsumer, dead_letters: DeadLetters
) -> None:
    producer.publish(Message("web", "1"), type="order.cancelled")
    router = Router({"order.placed": decline})
    consumer().read_new(lambda delivery: router(delivery))
    assert [letter.reason for letter in dead_letters] == [Reason.UNKNOWN_TYPE]


def test_a_consumer_that_was_given_a_router_takes_a_plain_handler_next(
    producer: RedisStreamProducer, consumer: NewConsumer
) -> None:
    producer.publish(Message("web", "1"), type="order.placed")
    producer.publish(Message("web", "2"), type="order.cancelled")
    handled: list[str] = []
    alice = consumer(batch=1)
    alice.read_new(Router({"order.placed": collect_into(handled)}))
    alice.read_new(collect_into(handled))
    assert handled == ["1", "2"]


def test_a_long_list_of_types_is_cut(
    producer: RedisStreamProducer, consumer: NewConsumer, dead_letters: DeadLetters
) -> None:
    producer.publish(Message("web", "1"), type="x" * 500)
    consumer().read_new(Router({f"type-{number}": decline for number in range(30)}))
    (letter,) = dead_letters
    assert letter.error.endswith("'type-19' and 10 more")
    assert "(500 characters)" in letter.error


async def unfinished(_: Delivery) -> None: ...


@pytest.mark.parametrize(
    ("handlers", "error"),
    [
        ([("a", decline)], "handlers must be a mapping from types to handlers, such as "),
        ({}, "handlers is empty: a router needs a handler for each type"),
        ({b"a": decline}, "type must be a str, not bytes: b'a'"),
        ({" ": decline}, "type is blank: ' '"),
        ({"\ud800": decline}, "type has no UTF-8 form at character 0"),
        ({"a": "decline"}, "handler must be callable, not str: 'decline'"),
        ({"a": unfinished}, "handler is asynchronous: "),
        ({"a": lambda: None}, "handler is called with one argument, the delivery, but "),
        ({"a": Router({"b": decline})}, "the handler of a type is a Router"),
        ({"a": Route(decline, decline)}, "codec must be a Codec, not <function decline"),
    ],
)
def test_a_router_that_cannot_work_is_refused(handlers: Any, error: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(error)):
        Router(handlers)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"type": b"a"}, "type must be a str, not bytes: b'a'"),
        ({"type": ""}, "type is blank: ''"),
        ({"type": "a", "fields": {"type": "b"}}, "the field 'type' is given twice"),
        (
            {"type": "a", "fields": {b"type": "b"}, "key": "1"},
            "the field 'type' is given twice",
        ),
    ],
)
def test_a_type_that_cannot_be_written_is_refused_and_nothing_is_written(
    lab: Lab,
    stream: str,
    producer: RedisStreamProducer,
    options: dict[str, Any],
    error: str,
) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(error)):
        producer.publish(Message("web", "1"), **options)
    assert not lab.redis.exists(stream)


def test_a_reader_without_this_package_finds_the_type_beside_the_data(
    lab: Lab, stream: str, producer: RedisStreamProducer, publish: Publish
) -> None:
    producer.publish(Message("web", "1"), type="commandé")
    producer.publish_many([Message("web", "2")], type="commandé")
    producer.publish(Message("web", "3"), type="commandé", key="1001")
    publish("4")
    plain: Redis = lab.redis
    rows = [fields for _, fields in plain.xrange(stream)]
    assert [fields.get(b"type") for fields in rows] == ["commandé".encode()] * 3 + [None]
    assert [Message.from_bytes(fields[b"data"]).content for fields in rows] == list("1234")
