"""What a handler is given, and that no message ends the loop."""

from collections.abc import Callable
from threading import Event as StopEvent

import pytest
from consumers import NewConsumer, Publish, numbered, rows
from handlers import collect_into, decline_only

from redisflow_lab import Delivery, Message, RedisStreamProducer
from redisflow_lab.lab import Lab


def test_a_message_keeps_its_id_and_value_through_the_stream(
    lab: Lab, stream: str, consumer: NewConsumer
) -> None:
    message = Message("web", "1 x Dune")
    entry_id = RedisStreamProducer(lab.redis, stream).publish(message)
    seen: list[Delivery] = []
    consumer().read_new(seen.append)
    (delivery,) = seen
    assert delivery.entry_id == entry_id
    assert delivery.message == message
    assert delivery.deliveries == 1


def test_other_fields_beside_the_message_are_ignored(
    lab: Lab, stream: str, consumer: NewConsumer
) -> None:
    lab.redis.xadd(stream, {b"trace": b"1", **Message("web", "0").to_fields()})
    handled: list[str] = []
    consumer().read_new(collect_into(handled))
    assert handled == ["0"]


def test_an_undecodable_entry_and_a_failing_handler_do_not_end_the_loop(
    lab: Lab,
    stream: str,
    publish: Publish,
    consumer: NewConsumer,
    pending_ids: Callable[[], list[str]],
) -> None:
    undecodable = lab.redis.xadd(stream, {b"data": b"\x01"}).decode()
    ids = publish(*numbered(3))
    handled: list[str] = []
    stop = StopEvent()

    def handle(delivery: Delivery) -> None:
        decline_only("0", handled)(delivery)
        if delivery.message.content == "2":
            stop.set()

    consumer(batch=1).run(handle, stop=stop)
    assert handled == ["1", "2"]
    assert pending_ids() == [ids[0]]
    assert list(lab.dead_letters(stream)["entry_id"]) == [undecodable]


def test_an_exception_without_a_text_does_not_end_the_loop(
    publish: Publish, consumer: NewConsumer, pending_ids: Callable[[], list[str]]
) -> None:
    class WordlessError(Exception):
        def __str__(self) -> str:
            raise OSError("no words")

    def handle(_: Delivery) -> None:
        raise WordlessError

    ids = publish("0")
    consumer().read_new(handle)
    assert pending_ids() == ids


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_an_async_handler_is_refused_and_no_message_is_read(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    publish("0")

    async def handle(_: Delivery) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match="handle"):
        consumer().read_new(handle)
    assert rows(lab.groups(stream), "pending", "lag") == [[0, 1]]


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (None, "handler must be callable, not NoneType"),
        (lambda: None, "handler is called with one argument, the delivery"),
        (lambda delivery, more: None, "missing a required argument: 'more'"),
    ],
)
def test_a_handler_of_the_wrong_shape_is_refused_and_no_message_is_read(
    lab: Lab,
    stream: str,
    publish: Publish,
    consumer: NewConsumer,
    handler: Callable[..., object],
    says: str,
) -> None:
    publish("0")
    alice = consumer()
    for step in (alice.read_new, alice.replay_pending, alice.take_over):
        with pytest.raises(TypeError, match=says):
            step(handler)
    with pytest.raises(TypeError, match=says):
        alice.run(handler, stop=StopEvent())
    assert rows(lab.groups(stream), "pending", "lag") == [[0, 1]]
