"""The consumer: what it reads, what it acknowledges, and what it leaves pending."""

import logging
from collections.abc import Callable
from threading import Event as StopEvent
from threading import Thread

import pytest
import redis
from consumers import consumer_of
from network import address_of, losing_answers_to
from redis import Redis

from redisflow_lab import Delivery, Event, Message, RedisStreamConsumer, RedisStreamProducer
from redisflow_lab.dead_letters import DeadLetters
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until


def written(lab: Lab, stream: str, count: int) -> list[str]:
    """Write "0", "1", ... and return their ids."""
    messages = (Message("web", str(number)) for number in range(count))
    return RedisStreamProducer(lab.redis, stream).publish_many(messages)


def pending(lab: Lab, stream: str, group: str = "billing") -> list[str]:
    return list(lab.pending(stream, group)["entry_id"])


def collecting(into: list[str]) -> Callable[[Delivery], None]:
    return lambda delivery: into.append(delivery.message.content)


def failing_on(content: str, into: list[str]) -> Callable[[Delivery], None]:
    def handle(delivery: Delivery) -> None:
        if delivery.message.content == content:
            raise ValueError("declined")
        into.append(delivery.message.content)

    return handle


def test_a_new_group_starts_at_the_first_entry(lab: Lab, stream: str) -> None:
    written(lab, stream, 3)
    handled: list[str] = []
    consumer_of(lab, stream).read_new(collecting(handled))
    assert handled == ["0", "1", "2"]


def test_ensure_group_says_whether_it_made_one_and_makes_the_stream(
    lab: Lab, stream: str
) -> None:
    consumer = RedisStreamConsumer(lab.redis, stream, "billing", "alice")
    assert consumer.ensure_group() is True
    assert consumer.ensure_group() is False
    assert lab.redis.xlen(stream) == 0


def test_an_entry_is_acknowledged_only_after_its_handler_returned(
    lab: Lab, stream: str
) -> None:
    ids = written(lab, stream, 3)
    seen: list[list[str]] = []
    consumer_of(lab, stream).read_new(lambda _: seen.append(pending(lab, stream)))
    assert seen == [ids, ids[1:], ids[2:]]
    assert pending(lab, stream) == []


def test_a_failing_handler_leaves_its_entry_pending_and_the_next_is_handled(
    lab: Lab, stream: str
) -> None:
    ids = written(lab, stream, 3)
    handled: list[str] = []
    consumer_of(lab, stream).read_new(failing_on("1", handled))
    assert handled == ["0", "2"]
    assert pending(lab, stream) == [ids[1]]


def test_ack_every_acknowledges_in_one_go_and_at_the_end_of_the_batch(
    lab: Lab, stream: str
) -> None:
    written(lab, stream, 5)
    seen: list[int] = []
    consumer_of(lab, stream, ack_every=2).read_new(
        lambda _: seen.append(len(pending(lab, stream)))
    )
    assert seen == [5, 5, 3, 3, 1]
    assert pending(lab, stream) == []


def test_an_interrupt_acknowledges_what_was_handled_before_it(lab: Lab, stream: str) -> None:
    ids = written(lab, stream, 3)

    def interrupted(delivery: Delivery) -> None:
        if delivery.message.content == "1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consumer_of(lab, stream, ack_every=10).read_new(interrupted)
    assert pending(lab, stream) == ids[1:]


def test_replay_reads_each_pending_entry_once_over_many_pages(lab: Lab, stream: str) -> None:
    ids = written(lab, stream, 25)
    consumer = consumer_of(lab, stream, batch=10)
    for _ in range(3):
        consumer.read_new(failing_on_all)
    assert len(pending(lab, stream)) == 25
    handled: list[str] = []
    assert consumer.replay_pending(failing_on("7", handled)) == 25
    assert handled == [str(number) for number in range(25) if number != 7]
    assert pending(lab, stream) == [ids[7]]


def failing_on_all(_: Delivery) -> None:
    raise ValueError("declined")


def test_each_replay_counts_as_a_delivery_and_the_handler_is_told(
    lab: Lab, stream: str
) -> None:
    written(lab, stream, 1)
    counts: list[int] = []

    def handle(delivery: Delivery) -> None:
        counts.append(delivery.deliveries)
        raise ValueError

    consumer = consumer_of(lab, stream)
    consumer.read_new(handle)
    consumer.replay_pending(handle)
    consumer.replay_pending(handle)
    assert counts == [1, 2, 3]
    assert list(lab.pending(stream)["deliveries"]) == [3]


def test_another_name_replays_nothing(lab: Lab, stream: str) -> None:
    written(lab, stream, 1)
    consumer_of(lab, stream).read_new(failing_on_all)
    nameless = RedisStreamConsumer(lab.redis, stream, "billing")
    assert nameless.name != RedisStreamConsumer(lab.redis, stream, "billing").name
    assert nameless.replay_pending(failing_on_all) == 0


BAD_ENTRIES = [
    {b"body": b"x"},
    {b"data": b"\xff\xff"},
    {b"data": b""},
    {b"a": b"1", b"b": b"2"},
]


@pytest.mark.parametrize("fields", BAD_ENTRIES)
def test_an_entry_that_is_no_message_goes_to_the_dead_letters_and_is_reported(
    lab: Lab, stream: str, fields: dict[bytes, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    bad = lab.redis.xadd(stream, fields).decode()
    written(lab, stream, 1)
    events: list[Event] = []
    handled: list[str] = []
    consumer = consumer_of(lab, stream, on_event=events.append)
    consumer.read_new(collecting(handled))
    consumer.replay_pending(collecting(handled))
    assert handled == ["0"]
    assert pending(lab, stream) == []
    assert [(event.kind, event.entry_id) for event in events if event.error] == [
        ("dead-lettered", bad)
    ]
    (letter,) = DeadLetters(lab.redis, stream)
    assert (letter.reason, letter.entry_id, dict(letter.fields)) == ("undecodable", bad, fields)
    assert bad in caplog.text


def test_extra_fields_beside_the_message_do_no_harm(lab: Lab, stream: str) -> None:
    lab.redis.xadd(stream, {b"trace": b"1", **Message("web", "0").to_fields()})
    handled: list[str] = []
    consumer_of(lab, stream).read_new(collecting(handled))
    assert handled == ["0"]


def test_an_entry_trimmed_while_pending_is_reported_and_not_handled(
    lab: Lab, stream: str
) -> None:
    ids = written(lab, stream, 2)
    events: list[Event] = []
    consumer = consumer_of(lab, stream, on_event=events.append)
    consumer.read_new(failing_on_all)
    lab.redis.xtrim(stream, maxlen=1, approximate=False)
    handled: list[str] = []
    consumer.replay_pending(collecting(handled))
    assert handled == ["1"]
    assert pending(lab, stream) == []
    (given_up,) = [event for event in events if event.kind == "dead-lettered"]
    assert given_up.entry_id == ids[0]
    assert "trimmed or deleted" in given_up.error


def test_every_event_of_an_entry_passes_the_hook_in_order(lab: Lab, stream: str) -> None:
    ids = written(lab, stream, 2)
    events: list[Event] = []
    consumer_of(lab, stream, on_event=events.append).read_new(failing_on("1", []))
    assert [(event.kind, event.entry_id) for event in events] == [
        ("delivered", ids[0]),
        ("delivered", ids[1]),
        ("handled", ids[0]),
        ("acked", ids[0]),
        ("failed", ids[1]),
    ]
    assert [event.at for event in events] == sorted(event.at for event in events)


def test_without_a_hook_the_log_tells_the_same(
    lab: Lab, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    written(lab, stream, 1)
    with caplog.at_level(logging.DEBUG, logger="redisflow_lab.events"):
        consumer_of(lab, stream).read_new(lambda _: None)
    assert [record.message.split()[0] for record in caplog.records] == [
        "delivered",
        "handled",
        "acked",
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"decode_responses": True},
        {"protocol": 3},
        {"protocol": 2},
        {"legacy_responses": False},
        {"socket_timeout": 0.05},
    ],
    ids=str,
)
def test_any_client_will_do(lab: Lab, stream: str, settings: dict[str, object]) -> None:
    client = Redis(**address_of(lab), **settings)  # type: ignore[arg-type]
    consumer = RedisStreamConsumer(client, stream, "billing", "alice", block_ms=200)
    consumer.ensure_group()
    assert consumer.read_new(failing_on_all) == 0
    RedisStreamProducer(client, stream).publish(Message("web", "ß"))
    handled: list[str] = []
    consumer.read_new(failing_on_all)
    consumer.replay_pending(collecting(handled))
    assert handled == ["ß"]


@pytest.mark.parametrize(
    "vanish",
    [lambda r, key: r.delete(key), lambda r, key: r.xgroup_destroy(key, "billing")],
    ids=["stream deleted", "group destroyed"],
)
def test_a_group_that_vanishes_under_a_blocked_reader_is_made_again(
    own_lab: Lab, stream: str, vanish: Callable[[Redis, str], object]
) -> None:
    handled: list[str] = []
    stop = StopEvent()
    consumer = consumer_of(own_lab, stream, block_ms=500)
    thread = Thread(target=consumer.run, args=(collecting(handled),), kwargs={"stop": stop})
    thread.start()
    try:
        wait_until(
            lambda: any(
                client["cmd"] == "xreadgroup" and "b" in client["flags"]
                for client in own_lab.redis.client_list()
            ),
            "the consumer is blocked",
        )
        vanish(own_lab.redis, stream)
        written(own_lab, stream, 1)
        wait_until(lambda: handled == ["0"], "the new entry is handled")
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"stream": ""}, ValueError, "stream is blank: ''"),
        ({"group": "  "}, ValueError, "group is blank"),
        ({"name": ""}, ValueError, "name is blank"),
        ({"name": 7}, TypeError, "name must be a str, not int: 7"),
        ({"batch": 0}, ValueError, "batch must be at least 1, not 0"),
        ({"ack_every": True}, TypeError, "ack_every must be an int, not bool"),
        ({"block_ms": 0.5}, TypeError, "block_ms must be an int, not float: 0.5"),
        ({"max_deliveries": 0}, ValueError, "max_deliveries must be at least 1, not 0"),
        ({"min_idle_ms": 0}, ValueError, "min_idle_ms must be at least 1, not 0"),
        (
            {"max_handler_ms": 60_000},
            ValueError,
            "60000, not above max_handler_ms",
        ),
        ({"dead_stream": "messages"}, ValueError, "dead_stream is the stream itself"),
        ({"dead_stream": " "}, ValueError, "dead_stream is blank"),
    ],
)
def test_bad_arguments_are_refused_by_name(
    lab: Lab, arguments: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        RedisStreamConsumer(lab.redis, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (None, "handler must be callable, not NoneType"),
        (lambda: None, "handler is called with one argument, the delivery"),
        (lambda delivery, more: None, "missing a required argument: 'more'"),
    ],
)
def test_a_handler_that_does_not_fit_touches_no_message(
    lab: Lab, stream: str, handler: Callable[..., object], says: str
) -> None:
    written(lab, stream, 1)
    consumer = consumer_of(lab, stream)
    for step in (consumer.read_new, consumer.replay_pending, consumer.take_over):
        with pytest.raises(TypeError, match=says):
            step(handler)
    with pytest.raises(TypeError, match=says):
        consumer.run(handler, stop=StopEvent())
    assert lab.groups(stream)[["consumers", "pending", "lag"]].values.tolist() == [[0, 0, 1]]


def test_run_replays_before_it_reads_what_is_new(lab: Lab, stream: str) -> None:
    written(lab, stream, 2)
    consumer_of(lab, stream).read_new(failing_on_all)
    RedisStreamProducer(lab.redis, stream).publish(Message("web", "new"))
    handled: list[tuple[str, int]] = []
    stop = StopEvent()

    def handle(delivery: Delivery) -> None:
        handled.append((delivery.message.content, delivery.deliveries))
        if delivery.message.content == "new":
            stop.set()

    consumer_of(lab, stream).run(handle, stop=stop)
    assert handled == [("0", 2), ("1", 2), ("new", 1)]


def test_a_stop_does_not_outlive_a_loop_that_was_interrupted(lab: Lab, stream: str) -> None:
    written(lab, stream, 2)
    consumer = consumer_of(lab, stream)
    stop = StopEvent()

    def interrupted(_: Delivery) -> None:
        stop.set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consumer.run(interrupted, stop=stop)
    handled: list[str] = []
    consumer.replay_pending(collecting(handled))
    assert handled == ["0", "1"]


def test_a_bad_entry_and_a_failing_handler_do_not_end_the_loop(lab: Lab, stream: str) -> None:
    bad = lab.redis.xadd(stream, {b"data": b"\x01"}).decode()
    ids = written(lab, stream, 3)
    handled: list[str] = []
    stop = StopEvent()

    def handle(delivery: Delivery) -> None:
        failing_on("0", handled)(delivery)
        if delivery.message.content == "2":
            stop.set()

    consumer_of(lab, stream, batch=1).run(handle, stop=stop)
    assert handled == ["1", "2"]
    assert pending(lab, stream) == [ids[0]]
    assert list(lab.dead_letters(stream)["entry_id"]) == [bad]


def test_a_message_keeps_its_id_and_value_through_the_stream(lab: Lab, stream: str) -> None:
    message = Message("web", "1 x Dune")
    entry_id = RedisStreamProducer(lab.redis, stream).publish(message)
    seen: list[Delivery] = []
    consumer_of(lab, stream).read_new(seen.append)
    assert [delivery[:3] for delivery in seen] == [(entry_id, message, 1)]


def test_two_consumers_of_a_group_share_and_two_groups_do_not(lab: Lab, stream: str) -> None:
    written(lab, stream, 4)
    alice, bob, audit = ([], [], [])  # type: tuple[list[str], list[str], list[str]]
    consumer_of(lab, stream, batch=2).read_new(collecting(alice))
    RedisStreamConsumer(lab.redis, stream, "billing", "bob").read_new(collecting(bob))
    other = RedisStreamConsumer(lab.redis, stream, "audit", "alice")
    other.ensure_group()
    other.read_new(collecting(audit))
    assert (alice, bob, audit) == (["0", "1"], ["2", "3"], ["0", "1", "2", "3"])


def test_replay_leaves_what_another_consumer_holds(lab: Lab, stream: str) -> None:
    written(lab, stream, 1)
    RedisStreamConsumer(lab.redis, stream, "billing", "bob").ensure_group()
    RedisStreamConsumer(lab.redis, stream, "billing", "bob").read_new(failing_on_all)
    assert consumer_of(lab, stream).replay_pending(failing_on_all) == 0
    assert list(lab.pending(stream)["consumer"]) == ["bob"]


def test_what_got_lost_on_its_way_is_found_by_replay(lab: Lab, stream: str) -> None:
    """The server delivered, the answer never arrived: pending, and nobody saw it."""
    ids = written(lab, stream, 2)
    server = address_of(lab)
    consumer_of(lab, stream)
    with losing_answers_to(b"XREADGROUP", server["host"], server["port"]) as port:
        unlucky = RedisStreamConsumer(
            Redis(**{**server, "port": port}),
            stream,
            "billing",
            "alice",
        )
        handled: list[str] = []
        with pytest.raises(redis.ConnectionError):
            unlucky.read_new(collecting(handled))
    assert (handled, pending(lab, stream)) == ([], ids)
    consumer_of(lab, stream).replay_pending(collecting(handled))
    assert (handled, pending(lab, stream)) == (["0", "1"], [])


def test_an_acknowledgement_that_fails_leaves_the_entry_pending(own_lab: Lab) -> None:
    ids = written(own_lab, "orders", 1)
    with pytest.raises(redis.ConnectionError):
        consumer_of(own_lab, "orders").read_new(lambda _: own_lab.server.kill())
    own_lab.server.start()
    assert pending(own_lab, "orders") == ids


def test_a_key_that_is_no_stream_is_an_error_and_not_a_loop(lab: Lab, stream: str) -> None:
    lab.redis.set(stream, "text")
    consumer = RedisStreamConsumer(lab.redis, stream, "billing", "alice")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        consumer.run(failing_on_all, stop=StopEvent())
    assert lab.redis.get(stream) == b"text"


def test_bad_arguments_touch_no_message(lab: Lab, stream: str) -> None:
    written(lab, stream, 1)
    for bad in ({"batch": 0}, {"block_ms": 0}, {"ack_every": -1}, {"name": " "}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            RedisStreamConsumer(lab.redis, stream, "billing", **bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"must be a redis\.Redis client, not NoneType"):
        RedisStreamConsumer(None, stream, "billing")  # type: ignore[arg-type]
    assert lab.redis.xinfo_groups(stream) == []
