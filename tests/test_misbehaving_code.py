"""Exceptions, codecs, hooks, logging and effects of the user that behave badly."""

import asyncio
import logging
from array import array
from collections.abc import Callable, Iterator
from enum import Enum
from threading import Event as StopEvent

import pytest
from consumers import NewConsumer, Publish, numbered, rows, running
from handlers import collect_until
from network import address_of
from redis import Redis
from redis import asyncio as redis_asyncio

from redisflow_lab import (
    Codec,
    Delivery,
    Message,
    RedisStreamConsumer,
    RedisStreamProducer,
    TransientError,
    handle_once,
)
from redisflow_lab.dead_letters import DeadLetters, Reason
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until
from redisflow_lab.message import MessageDecodeError

LAST = "18446744073709551615-18446744073709551615"


def raise_(error: BaseException) -> None:
    raise error


class FalsyError(Exception):
    def __bool__(self) -> bool:
        raise RuntimeError("neither")

    def __len__(self) -> int:
        return 0


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise asyncio.CancelledError


class SecretiveError(Exception):
    @property
    def __cause__(self) -> None:  # type: ignore[override]
        raise ZeroDivisionError


def caused_by_itself() -> Exception:
    error = ValueError("work")
    error.__cause__ = error
    return error


@pytest.mark.parametrize(
    "error",
    [caused_by_itself, FalsyError, UnprintableError, SecretiveError],
    ids=lambda make: make.__name__,
)
def test_an_odd_exception_is_a_failure_and_the_next_message_is_handled(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer,
    error: Callable[[], Exception],
) -> None:  # fmt: skip
    publish("odd", "next")
    stop = StopEvent()
    handled: list[str] = []
    collect = collect_until("next", handled, stop)

    def handle(delivery: Delivery) -> None:
        if delivery.message.content == "odd":
            raise error()
        collect(delivery)

    consumer().run(handle, stop=stop)
    assert handled == ["next"]
    assert rows(lab.groups(stream), "pending") == [[1]]


class UnprintableDecodeError(MessageDecodeError):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "decode",
    [
        lambda _: raise_(asyncio.CancelledError()),
        lambda _: raise_(UnprintableDecodeError()),
        lambda data: asyncio.sleep(0, data),
    ],
    ids=["raises no Exception", "raises one without a text", "returns a coroutine"],
)
def test_whatever_a_codec_does_the_entry_is_a_dead_letter(
    publish: Publish, consumer: NewConsumer, dead_letters: DeadLetters,
    decode: Callable[[bytes], object],
) -> None:  # fmt: skip
    publish("a", "b")
    handled: list[Delivery] = []
    consumer(codec=Codec(bytes, decode)).read_new(handled.append)
    assert handled == []
    assert [letter.reason for letter in dead_letters] == [Reason.UNDECODABLE] * 2


@pytest.mark.parametrize("encoded", ["é", 5, None, array("I", [1, 2]), memoryview(b"ab")])
def test_a_codec_that_does_not_make_bytes_writes_nothing(
    lab: Lab, stream: str, encoded: object
) -> None:
    codec: Codec[object] = Codec(lambda _: encoded, bytes)  # type: ignore[arg-type,return-value]
    producer = RedisStreamProducer(lab.redis, stream, codec=codec)
    for publish in (
        lambda: producer.publish("a"),
        lambda: producer.publish("a", key="k"),
        lambda: producer.publish_many(["a"]),
    ):
        with pytest.raises(TypeError, match="codec must return bytes"):
            publish()
    assert lab.redis.exists(stream) == 0


def test_a_codec_that_is_none_and_a_hook_that_is_none_are_refused(
    lab: Lab, stream: str
) -> None:
    for make in (RedisStreamProducer, RedisStreamConsumer, DeadLetters):
        with pytest.raises(TypeError, match=r"codec must be a Codec, not .*protobuf_codec"):
            make(lab.redis, stream, codec=bytes)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="on_event must be callable"):
        RedisStreamConsumer(lab.redis, stream, on_event=5)  # type: ignore[arg-type]


@pytest.fixture
def broken_log() -> Iterator[None]:
    """Every line of the package, from debug level on, goes to a logging handler that raises."""

    class Broken(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            raise OSError("the log server is down")

    logger, broken = logging.getLogger("redisflow_lab"), Broken()
    level = logger.level
    logger.addHandler(broken)
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(level)
    logger.removeHandler(broken)


@pytest.mark.usefixtures("broken_log")
def test_a_logging_handler_that_raises_does_not_end_the_loop(
    stream: str, publish: Publish, consumer: NewConsumer, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of a group that is made, a failure, a failing hook, an outage's beginning and end."""
    publish("poison", "outage", "next")
    handled: list[str] = []
    stop = StopEvent()
    collect = collect_until("next", handled, stop)
    outage = iter([TransientError("the database is down")])

    def handle(delivery: Delivery) -> None:
        if delivery.message.content == "poison":
            raise ValueError("declined")
        for error in outage if delivery.message.content == "outage" else ():
            raise error
        collect(delivery)

    consumer(on_event=lambda _: raise_(KeyError())).run(handle, stop=stop)
    assert handled == ["outage", "next"]
    assert "a logging handler failed: OSError: the log server is down" in capfd.readouterr().err


@pytest.mark.usefixtures("broken_log")
def test_a_logging_handler_that_raises_does_not_make_a_publish_fail(
    lab: Lab, stream: str
) -> None:
    producer = RedisStreamProducer(lab.redis, stream)
    written = [
        producer.publish(Message("web", "one")),
        producer.publish(Message("web", "two"), key="two"),
        *producer.publish_many([Message("web", "three")]),
    ]
    assert written == [entry_id.decode() for entry_id, _ in lab.redis.xrange(stream)]


@pytest.mark.usefixtures("broken_log")
def test_a_logging_handler_that_raises_does_not_end_a_listing(
    lab: Lab, stream: str, dead_letters: DeadLetters
) -> None:
    lab.redis.xadd(f"{stream}:dead", {"by": "another program"})
    assert list(dead_letters) == []


def test_a_step_that_is_called_from_the_handler_is_refused(
    publish: Publish, consumer: NewConsumer
) -> None:
    publish(*numbered(3))
    alice, handled = consumer(), []

    def handle(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        for step in (alice.leave, lambda: alice.replay_pending(handle)):
            with pytest.raises(RuntimeError, match="called from its own handler"):
                step()

    alice.read_new(handle)
    assert handled == numbered(3)
    assert alice.leave() is True


def test_the_last_id_of_all_is_handled_listed_and_handed_over(
    lab: Lab, stream: str, consumer: NewConsumer, dead_letters: DeadLetters
) -> None:
    alice = consumer(max_deliveries=2)
    lab.redis.xadd(stream, Message("web", "last").to_fields(), id=LAST)  # type: ignore[arg-type]
    alice.read_new(lambda _: raise_(ValueError()))
    alice.leave()
    handled: list[str] = []
    alice.replay_pending(lambda delivery: handled.append(delivery.message.content))
    assert handled == ["last"]
    alice.leave()
    lab.redis.xadd(f"{stream}:dead", {"by": "another program"}, id=LAST)
    assert list(dead_letters) == []


@pytest.mark.parametrize("spoil", ["execute", "reset", "discard"])
def test_an_effect_that_ends_its_own_transaction_is_not_done(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer, spoil: str
) -> None:
    publish("a")
    once = handle_once(
        lambda pipeline, _: (pipeline.incr(stream), getattr(pipeline, spoil)())[0],
        lab.redis, f"{stream}:done",
    )  # fmt: skip
    consumer().read_new(once)
    assert rows(lab.groups(stream), "pending") == [[1]]


def test_a_key_that_is_no_mark_is_not_taken_for_one(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    lab.redis.set(f"{stream}:order:0", "another program's")
    publish("0")
    once = handle_once(
        lambda pipeline, _: pipeline.incr(f"{stream}:effects"),
        lab.redis, f"{stream}:order", key=lambda delivery: delivery.message.content,
    )  # fmt: skip
    consumer().read_new(once)
    assert rows(lab.groups(stream), "pending") == [[1]]
    assert lab.redis.get(f"{stream}:effects") is None


def test_arguments_of_handle_once_are_checked_when_it_is_made(lab: Lab) -> None:
    with pytest.raises(TypeError, match=r"redis\.asyncio.*to_thread"):
        handle_once(lambda _, __: None, redis_asyncio.Redis(), "done")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="remember_s must be at most 2,147,483,647"):
        handle_once(lambda _, __: None, lab.redis, "done", remember_s=10**18)


def test_a_name_of_an_enum_is_its_value(lab: Lab, stream: str) -> None:
    class Streams(str, Enum):  # noqa: UP042 - not a StrEnum: that one is formatted as its value
        ORDERS = stream

    consumer = RedisStreamConsumer(lab.redis, Streams.ORDERS, "billing", "alice")
    assert consumer.dead_stream == f"{stream}:dead"
    RedisStreamProducer(lab.redis, Streams.ORDERS).publish(Message("web", "a"))
    assert lab.redis.xlen(stream) == 1
    assert DeadLetters(lab.redis, Streams.ORDERS).dead_stream == f"{stream}:dead"


def test_a_letter_of_another_stream_is_not_redriven_here(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    publish("poison")
    dead = f"{stream}:shared"
    consumer(max_deliveries=1, dead_stream=dead).read_new(lambda _: raise_(ValueError()))
    others = DeadLetters(lab.redis, f"{stream}:others", dead_stream=dead)
    (letter,) = others
    with pytest.raises(ValueError, match="Redrive it with DeadLetters of its own stream"):
        others.redrive(letter.letter_id)
    assert len(others) == 1
    DeadLetters(lab.redis, stream, dead_stream=dead).redrive(letter.letter_id)
    assert lab.redis.xlen(stream) == 2


@pytest.mark.parametrize("repair", [lambda _: None, lambda _: asyncio.sleep(0)])
def test_a_repair_that_makes_nothing_loses_no_dead_letter(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer,
    repair: Callable[[object], object],
) -> None:  # fmt: skip
    publish("poison")
    consumer(max_deliveries=1).read_new(lambda _: raise_(ValueError()))
    codec: Codec[object] = Codec(lambda value: str(value).encode(), bytes)
    letters = DeadLetters(lab.redis, stream, codec=codec)
    with pytest.raises(TypeError, match="repair returned"):
        letters.redrive(*(letter.letter_id for letter in letters), repair=repair)
    assert (len(letters), lab.redis.xlen(stream)) == (1, 1)


def test_a_dead_letter_at_an_impossible_time_is_another_programs(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer, dead_letters: DeadLetters
) -> None:
    publish("poison")
    consumer(max_deliveries=1).read_new(lambda _: raise_(ValueError()))
    ((_, fields),) = lab.redis.xrange(f"{stream}:dead")
    fields[b"dead:at"] = b"0001-01-01T00:00:00+23:00"
    lab.redis.xadd(f"{stream}:dead", fields)
    assert len(list(dead_letters)) == 1


def test_idle_names_that_are_no_text_are_removed_too(
    lab: Lab, stream: str, consumer: NewConsumer
) -> None:
    alice = consumer()
    lab.redis.xgroup_createconsumer(stream, "billing", b"\xff\xfe")
    wait_until(lambda: alice.remove_idle_consumers(1) == [r"\xff\xfe"], "it is removed")


def test_without_the_permission_to_look_a_key_is_not_written_twice(own_lab: Lab) -> None:
    r = own_lab.redis
    r.execute_command(
        "ACL", "SETUSER", "web", "reset", "on", ">pw", "~*", "+xadd", "+eval", "+get", "+set"
    )
    client = Redis(**{**address_of(own_lab), "username": "web", "password": "pw"})
    producer = RedisStreamProducer(client, "orders")
    for _ in range(2):
        with pytest.raises(Exception, match="XINFO STREAM"):
            producer.publish(Message("web", "a"), key="k")
    assert r.exists("orders") == 0


def test_too_many_fields_for_a_key_are_refused_with_the_limit(lab: Lab, stream: str) -> None:
    fields: dict[str | bytes, str | bytes] = {f"f{n}": "" for n in range(4_000)}
    with pytest.raises(ValueError, match=r"4,001 fields .* a script takes 7,000 arguments"):
        RedisStreamProducer(lab.redis, stream).publish(
            Message("web", "a"), key="k", fields=fields
        )


def test_names_and_errors_in_an_outage_are_escaped_in_the_log(
    own_lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    name = "\x1b[2J\nFORGED"
    alice = RedisStreamConsumer(own_lab.redis, "orders", name, name, block_ms=20)
    with running(alice, handler=lambda _: None):
        wait_until(lambda: own_lab.redis.exists("orders"), "it runs")
        own_lab.server.kill()
        wait_until(lambda: "retrying" in caplog.text, "it notices")
        own_lab.server.start()
    messages = [record.getMessage() for record in caplog.records]
    assert not any("\x1b" in message or "\n" in message for message in messages)
