"""A message type of the user's own, and fields of an entry beside the message."""

import json
from collections.abc import Callable, Mapping

import pytest
from consumers import NewConsumer, Publish
from google.protobuf.wrappers_pb2 import Int64Value, StringValue
from handlers import decline

from redisflow_lab import (
    Codec,
    Delivery,
    Message,
    RedisStreamConsumer,
    RedisStreamProducer,
    protobuf_codec,
)
from redisflow_lab.dead_letters import DeadLetters, Reason
from redisflow_lab.lab import Lab

JSON: Codec[object] = Codec(lambda value: json.dumps(value).encode(), json.loads)


@pytest.mark.parametrize(
    ("codec", "messages"),
    [
        (JSON, [{"order": 1}, None, [], 0, ""]),
        (protobuf_codec(StringValue), [StringValue(value="1 x Dune"), StringValue()]),
    ],
)
def test_messages_of_an_own_type_come_back(
    lab: Lab, stream: str, codec: Codec[object], messages: list[object]
) -> None:
    producer = RedisStreamProducer(lab.redis, stream, codec=codec)
    producer.publish(messages[0])
    producer.publish_many(messages[1:])
    alice = RedisStreamConsumer(lab.redis, stream, "billing", "alice", codec=codec)
    alice.ensure_group()
    seen: list[object] = []
    alice.read_new(lambda delivery: seen.append(delivery.message))
    assert seen == messages
    assert len(lab.pending(stream)) == 0


def test_bytes_that_the_codec_cannot_decode_are_dead_lettered(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer, dead_letters: DeadLetters
) -> None:
    alice = consumer(codec=JSON)
    publish("0")
    lab.redis.xadd(stream, {"data": "[1]"})
    seen: list[object] = []
    alice.read_new(lambda delivery: seen.append(delivery.message))
    assert seen == [[1]]
    (letter,) = dead_letters
    assert letter.reason is Reason.UNDECODABLE
    assert "Error: " in letter.error


def test_a_message_of_another_type_is_refused_and_nothing_is_written(
    lab: Lab, stream: str
) -> None:
    producer = RedisStreamProducer(lab.redis, stream, codec=protobuf_codec(StringValue))
    for wrong in (Int64Value(value=1), Message("web", "a"), "text", None):
        with pytest.raises(TypeError, match="expected StringValue, not "):
            producer.publish(wrong)
        with pytest.raises(TypeError, match="expected StringValue, not "):
            producer.publish_many([wrong])
    assert not lab.redis.exists(stream)


def test_a_key_of_an_own_type_is_written_once_in_its_stream(lab: Lab, stream: str) -> None:
    producer = RedisStreamProducer(lab.redis, stream, codec=JSON)
    assert producer.publish({"order": 1}, key="1") == producer.publish({"order": 1}, key="1")
    assert lab.redis.xlen(stream) == 1


@pytest.mark.parametrize("key", [None, "1"])
def test_other_fields_reach_the_handler(
    lab: Lab, stream: str, consumer: NewConsumer, key: str | None
) -> None:
    alice = consumer()
    producer = RedisStreamProducer(lab.redis, stream)
    producer.publish(Message("web", "0"), key=key, fields={"trace": "4bf9", b"\xff": b"\x00"})
    producer.publish(Message("web", "1"))
    seen: list[Mapping[bytes, bytes]] = []
    alice.read_new(lambda delivery: seen.append(delivery.fields))
    assert seen == [{b"trace": b"4bf9", b"\xff": b"\x00"}, {}]


@pytest.mark.parametrize("name", ["data", b"data"])
def test_the_field_of_the_message_cannot_be_given(
    lab: Lab, stream: str, name: str | bytes
) -> None:
    with pytest.raises(ValueError, match="'data' carries the message"):
        RedisStreamProducer(lab.redis, stream).publish(Message("web", "0"), fields={name: "1"})
    assert not lab.redis.exists(stream)


def test_a_repaired_message_keeps_its_other_fields(
    lab: Lab, stream: str, consumer: NewConsumer, dead_letters: DeadLetters
) -> None:
    alice = consumer(max_deliveries=1)
    RedisStreamProducer(lab.redis, stream).publish(Message("web", "0"), fields={"trace": "4b"})
    alice.read_new(decline)
    (letter,) = dead_letters
    dead_letters.redrive(letter.letter_id, repair=lambda _: Message("web", "1"))
    seen: list[Delivery] = []
    alice.read_new(seen.append)
    assert [(delivery.message.content, delivery.fields) for delivery in seen] == [
        ("1", {b"trace": b"4b"})
    ]


@pytest.mark.parametrize("repair", [lambda _: "text", lambda _: None])
def test_a_repair_that_makes_no_message_redrives_nothing(
    lab: Lab,
    stream: str,
    publish: Publish,
    consumer: NewConsumer,
    dead_letters: DeadLetters,
    repair: Callable[[object], object],
) -> None:
    publish("0")
    consumer(max_deliveries=1).read_new(decline)
    (letter,) = dead_letters
    with pytest.raises(TypeError, match="expected a Message"):
        dead_letters.redrive(letter.letter_id, repair=repair)
    assert (lab.redis.xlen(stream), list(dead_letters)) == (1, [letter])
