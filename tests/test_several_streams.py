"""Several streams: one consumer keeps every promise on each, and none waits for a backlog."""

import os
import re
import signal
from collections.abc import Callable
from itertools import groupby
from threading import Event as StopEvent
from time import monotonic
from typing import Any

import pytest
import redis
from consumers import rows, running
from handlers import collect_into, decline, interrupt_at, take_s
from idle import deliver_to, make_idle
from network import address_of, client_losing_answers_to
from redis import Redis

from redisflow_lab import (
    Delivery,
    Event,
    Message,
    MultiStreamConsumer,
    RedisStreamConsumer,
    RedisStreamProducer,
    TransientError,
)
from redisflow_lab.events import Batch, Kind
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until

NewMulti = Callable[..., MultiStreamConsumer]
Fill = Callable[[str, int], list[str]]


@pytest.fixture
def names(lab_in_use: Lab, stream: str) -> list[str]:
    """Two streams that no other test uses."""
    return [f"{stream}:a", f"{stream}:b"]


@pytest.fixture
def fill(lab_in_use: Lab, stream: str) -> Fill:
    """Publishes so many messages to stream `a` or `b`: "a0", "a1", ..."""

    def fill(letter: str, count: int) -> list[str]:
        messages = (Message("web", f"{letter}{number}") for number in range(count))
        return RedisStreamProducer(lab_in_use.redis, f"{stream}:{letter}").publish_many(
            messages
        )

    return fill


@pytest.fixture
def multi(lab_in_use: Lab, names: list[str]) -> NewMulti:
    """Makes a consumer of both streams in the group billing; alice by default."""

    def multi(
        name: str = "alice", *, redis: Redis = lab_in_use.redis, **options: Any
    ) -> MultiStreamConsumer:
        consumer = MultiStreamConsumer(
            redis, names, "billing", name, **{"block_ms": 20, **options}
        )
        consumer.ensure_group()
        return consumer

    return multi


def pending(lab: Lab, names: list[str]) -> list[int]:
    """How many entries are pending on each stream."""
    return [len(lab.pending(name)) for name in names]


def test_streams_take_turns_and_another_one_begins_each_time(
    multi: NewMulti, fill: Fill, names: list[str], lab: Lab
) -> None:
    fill("a", 5), fill("b", 3)
    handled: list[str] = []
    alice = multi(batch=2)
    counts = [alice.read_new(collect_into(handled)) for _ in range(4)]
    assert handled == ["a0", "b0", "a1", "b1", "b2", "a2", "a3", "a4"]
    assert counts == [4, 3, 1, 0]
    assert pending(lab, names) == [0, 0]


def test_a_backlog_of_100_000_does_not_starve_another_stream(
    lab: Lab, multi: NewMulti, fill: Fill, names: list[str]
) -> None:
    """The message that is next in its stream waits for the rest of one read at most."""
    fill("a", 100_000)
    batch, stop = 10, StopEvent()
    handled: list[str] = []
    written_at = 0

    def handle(delivery: Delivery) -> None:
        nonlocal written_at
        handled.append(delivery.message.content)
        if len(handled) == 33:
            fill("b", 1)
            written_at = len(handled)
        if delivery.stream == names[1]:
            stop.set()

    multi(batch=batch).run(handle, stop=stop)
    assert handled[-1] == "b0"
    assert len(handled) - written_at <= batch + 1
    assert handled[:-1] == [f"a{number}" for number in range(len(handled) - 1)]


def test_a_delivery_and_its_events_say_from_which_stream_it_is(
    multi: NewMulti, fill: Fill, names: list[str]
) -> None:
    fill("a", 1), fill("b", 1)
    events: list[Event] = []
    batches: list[Batch] = []
    seen: list[tuple[str, str]] = []
    alice = multi(on_event=events.append, on_batch=batches.append)
    alice.read_new(lambda each: seen.append((each.stream, each.message.content)))
    assert seen == [(names[0], "a0"), (names[1], "b0")]
    kinds = [(event.kind, event.stream) for event in events]
    assert kinds == [(k, n) for n in names for k in (Kind.DELIVERED, Kind.HANDLED, Kind.ACKED)]
    assert [(batch.stream, batch.counts[Kind.ACKED]) for batch in batches] == [
        (name, 1) for name in names
    ]


def test_one_connection_serves_all_streams(own_lab: Lab, multi: NewMulti, fill: Fill) -> None:
    fill("a", 20), fill("b", 20)
    client = Redis(**address_of(own_lab), client_name="multi")
    alice = multi(redis=client)  # kept: its connection ends with it
    alice.read_new(lambda _: None)
    clients = own_lab.redis.client_list()
    assert sum(each["name"] == "multi" for each in clients) == 1
    assert own_lab.redis.info("commandstats")["cmdstat_xreadgroup"]["calls"] == 2 + 2 + 1


def test_dead_letters_go_to_the_stream_of_each_entry(
    lab: Lab, multi: NewMulti, fill: Fill, names: list[str]
) -> None:
    fill("a", 1), fill("b", 2)
    multi(max_deliveries=1).read_new(decline)
    assert [len(lab.dead_letters(name)) for name in names] == [1, 2]
    assert pending(lab, names) == [0, 0]


def test_replay_and_take_over_work_on_each_stream(
    lab: Lab, multi: NewMulti, fill: Fill, names: list[str]
) -> None:
    alice, bob = multi("alice"), multi("bob")
    for letter, name in zip("ab", names, strict=True):
        fill(letter, 4)
        deliver_to(lab, name, "alice", 2)
        make_idle(lab, name, *deliver_to(lab, name, "carol", 2))
    handled: list[str] = []
    assert alice.replay_pending(collect_into(handled)) == 4
    assert handled == ["a0", "a1", "b0", "b1"]
    assert bob.take_over(collect_into(handled)) == 4
    assert handled[4:] == ["a2", "a3", "b2", "b3"]
    assert pending(lab, names) == [0, 0]


@pytest.mark.parametrize("crash", [("a1", 1), ("b1", 1), ("b1", 10)])
def test_a_crash_loses_nothing_of_any_stream(
    lab: Lab, multi: NewMulti, fill: Fill, names: list[str], crash: tuple[str, int]
) -> None:
    fill("a", 10), fill("b", 10)
    died_at, ack_every = crash
    seen = lab.key(f"{names[0]}:seen")
    url = lab.url

    def consume() -> None:  # travels to the process; this folder's modules do not
        client = Redis.from_url(url)

        def handle(delivery: Delivery) -> None:
            client.rpush(seen, delivery.message.content)
            if delivery.message.content == died_at:
                os.kill(os.getpid(), signal.SIGKILL)

        carol = MultiStreamConsumer(client, names, "billing", "carol", ack_every=ack_every)
        carol.run(handle, stop=StopEvent())

    assert lab.process(consume).wait_end() == "SIGKILL"
    before = {content.decode() for content in lab.redis.lrange(seen, 0, -1)}
    assert died_at in before
    handled: list[str] = []
    multi("carol").replay_pending(collect_into(handled))
    completed = before - {died_at} if ack_every == 1 else set()
    assert {*handled} == {f"{x}{n}" for x in "ab" for n in range(10)} - completed
    assert [int(each[1:]) for each in handled if each[0] == "a"] == sorted(
        int(each[1:]) for each in handled if each[0] == "a"
    )
    assert pending(lab, names) == [0, 0]


def test_entries_that_wait_for_their_turn_keep_their_lease(multi: NewMulti, fill: Fill) -> None:
    """The last one waits for longer than an entry may be idle."""
    options = {"min_idle_ms": 600, "max_handler_ms": 400}
    alice, bob = multi("alice", **options), multi("bob", **options)
    fill("a", 4), fill("b", 4)
    handled: list[str] = []
    claimed: list[str] = []

    def handle(delivery: Delivery) -> None:
        take_s(0.12)
        bob.take_over(collect_into(claimed))
        handled.append(delivery.message.content)

    alice.read_new(handle)
    assert claimed == []
    assert handled == [f"{letter}{number}" for number in range(4) for letter in "ab"]


@pytest.mark.parametrize("renewal", ["heartbeat", "pause"])
def test_a_long_turn_of_one_stream_keeps_the_lease_on_the_others(
    multi: NewMulti, fill: Fill, renewal: str
) -> None:
    options = {"min_idle_ms": 500, "max_handler_ms": 400}
    alice, bob = multi("alice", **options), multi("bob", **options)
    fill("a", 1), fill("b", 2)
    claimed: list[str] = []
    handled: list[str] = []
    until = monotonic() + 0.7

    def handle(delivery: Delivery) -> None:
        while monotonic() < until:
            if renewal == "pause":
                raise TransientError("the database is down")
            take_s(0.1)
            assert delivery.heartbeat()
        bob.take_over(collect_into(claimed))
        handled.append(delivery.message.content)

    alice.read_new(handle)
    assert (claimed, handled) == ([], ["a0", "b0", "b1"])


def test_what_another_consumer_has_claimed_meanwhile_is_left_to_it(
    lab: Lab, multi: NewMulti, fill: Fill, names: list[str]
) -> None:
    alice, bob = multi("alice"), multi("bob")
    fill("a", 1)
    ids = fill("b", 2)
    handled: list[str] = []

    def handle(delivery: Delivery) -> None:
        if delivery.message.content == "a0":
            make_idle(lab, names[1], *ids)
            bob.take_over(decline)
            assert delivery.heartbeat()
        handled.append(delivery.message.content)

    alice.read_new(handle)
    assert handled == ["a0"]
    assert list(lab.pending(names[1])["consumer"]) == ["bob", "bob"]


def test_a_shutdown_hands_over_the_entries_of_all_streams(
    lab: Lab, multi: NewMulti, fill: Fill, names: list[str]
) -> None:
    alice, bob = multi("alice"), multi("bob")
    fill("a", 3), fill("b", 3)
    handled: list[str] = []
    stop = StopEvent()

    def fail_and_stop(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        if delivery.message.content == "b0":
            stop.set()
            raise ValueError("the card was declined")

    alice.run(fail_and_stop, stop=stop)
    assert handled == ["a0", "b0"]
    assert pending(lab, names) == [2, 3]
    # Only the delivery of b0 was begun.
    counts = [rows(lab.pending(name), "deliveries") for name in names]
    assert counts == [[[1], [1]], [[1], [1], [1]]]
    bob.take_over(collect_into(handled))  # at once: no idle time to wait for
    assert handled[2:] == ["a1", "a2", "b0", "b1", "b2"]
    assert lab.redis.xpending(names[0], "billing")["pending"] == 0


def test_a_stopped_step_leaves_no_count_that_a_later_one_corrects(
    lab: Lab, multi: NewMulti, fill: Fill, names: list[str]
) -> None:
    """What was not begun by the stopped read has failed in the replay after it."""
    fill("a", 2), fill("b", 2)
    alice, stop = multi(), StopEvent()
    alice.read_new(lambda _: stop.set(), stop=stop)
    alice.replay_pending(decline)
    alice.leave()
    counts = [rows(lab.pending(name), "deliveries") for name in names]
    assert counts == [[[2]], [[2], [2]]]


def test_an_interrupt_acknowledges_what_every_stream_has_completed(
    lab: Lab, multi: NewMulti, fill: Fill, names: list[str]
) -> None:
    fill("a", 3), fill("b", 3)
    with pytest.raises(KeyboardInterrupt):
        multi(ack_every=10).read_new(interrupt_at("b1", []))
    assert pending(lab, names) == [1, 2]


@pytest.mark.parametrize(
    "vanish",
    [lambda r, key: r.delete(key), lambda r, key: r.xgroup_destroy(key, "billing")],
    ids=["stream deleted", "group destroyed"],
)
def test_a_stream_that_vanishes_does_not_end_the_others(
    own_lab: Lab,
    multi: NewMulti,
    fill: Fill,
    names: list[str],
    vanish: Callable[[Redis, str], object],
) -> None:
    handled: list[str] = []
    calls = 0

    def handle(delivery: Delivery) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            decline(delivery)
        handled.append(delivery.message.content)

    fill("a", 1)
    with running(multi(block_ms=500), handler=handle):
        wait_until(
            lambda: any(
                each["cmd"] == "xreadgroup" and "b" in each["flags"]
                for each in own_lab.redis.client_list()
            ),
            "the consumer is blocked",
        )
        vanish(own_lab.redis, names[1])
        fill("a", 2)
        wait_until(lambda: handled == ["a0", "a1"], "the other stream goes on")
        fill("b", 1)
        wait_until(lambda: "b0" in handled, "so does the one that was made again")
    assert pending(own_lab, names) == [1, 0]
    assert rows(own_lab.pending(names[0]), "deliveries") == [[1]]  # it used up none


def test_it_recovers_from_an_outage_and_says_so_once(
    own_lab: Lab,
    multi: NewMulti,
    fill: Fill,
    names: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    fill("a", 2), fill("b", 2)
    handled: list[str] = []
    events: list[Event] = []
    alice = multi(on_event=events.append)

    def handle(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        if handled == ["a0", "b0"]:
            own_lab.server.kill()

    with running(alice, handler=handle):
        wait_until(lambda: (alice.health.outage_s or 0) > 0, "it has noticed")
        assert not alice.health.is_ready
        own_lab.server.start()
        wait_until(lambda: alice.health.is_ready, "it is ready again")
        wait_until(lambda: pending(own_lab, names) == [0, 0], "nothing is pending")
        fill("b", 1)
        wait_until(lambda: len(handled) == 5, "all is handled")
    assert sorted(handled) == ["a0", "a1", "b0", "b0", "b1"]
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    own = [
        line for line in lines if line.startswith("alice of billing on orders:a, orders:b: ")
    ]
    said = [re.sub(r".*: (the connection is lost|recovered).*", r"\1", line) for line in own]
    others = [line for line in said if "loading" not in line]
    assert [line for line, _ in groupby(others)] == ["the connection is lost", "recovered"]
    outages = [each.stream for each in events if each.kind is Kind.OUTAGE_BEGAN]
    assert outages == names


def test_a_lost_reply_to_the_read_loses_nothing(
    lab: Lab, multi: NewMulti, fill: Fill, names: list[str]
) -> None:
    fill("a", 2), fill("b", 2)
    handled: list[str] = []
    with (
        client_losing_answers_to(b"BLOCK", lab, times=1) as client,
        running(multi(redis=client), handler=collect_into(handled)),
    ):
        wait_until(lambda: len(handled) == 4, "all is handled")
    assert sorted(handled) == ["a0", "a1", "b0", "b1"]
    assert pending(lab, names) == [0, 0]


def test_a_missing_permission_for_one_stream_is_raised_with_its_name_and_loses_nothing(
    own_lab: Lab, multi: NewMulti, fill: Fill, names: list[str]
) -> None:
    fill("a", 3), fill("b", 3)
    multi("carol")  # an administrator has made the groups
    r = own_lab.redis
    user = ("ACL", "SETUSER", "service", "reset", "on", ">pw", "+@all")
    client = Redis(**{**address_of(own_lab), "username": "service", "password": "pw"})
    handled: list[str] = []
    alice = MultiStreamConsumer(client, names, "billing", "alice", block_ms=20)

    r.execute_command(*user, f"~{names[0]}*")  # from the start
    with pytest.raises(redis.exceptions.NoPermissionError, match=r"the stream 'orders:b' can"):
        alice.run(collect_into(handled), stop=StopEvent())
    assert (handled, pending(own_lab, names)) == ([], [0, 0])

    r.execute_command(*user, "~*")

    def revoke(delivery: Delivery) -> None:  # between a delivery and its acknowledgement
        handled.append(delivery.message.content)
        if delivery.message.content == "b0":
            r.execute_command(*user, f"~{names[0]}*")

    with pytest.raises(redis.exceptions.NoPermissionError, match=r"the stream 'orders:b' can"):
        alice.run(revoke, stop=StopEvent())
    assert handled == ["a0", "b0"]
    assert pending(own_lab, names) == [2, 3]
    multi("bob").take_over(collect_into(handled))  # of a: given back; of b: when idle
    assert handled[2:] == ["a1", "a2"]
    r.execute_command(*user, "~*")
    alice.replay_pending(collect_into(handled))
    assert handled[4:] == ["b1", "b2"]  # and acknowledges b0 first
    assert pending(own_lab, names) == [0, 0]


def test_a_key_of_another_type_is_raised_with_its_name_while_it_runs(
    own_lab: Lab, multi: NewMulti, fill: Fill, names: list[str]
) -> None:
    def replace(_: Delivery) -> None:
        own_lab.redis.delete(names[1])
        own_lab.redis.set(names[1], "x")

    fill("a", 1)
    with pytest.raises(redis.ResponseError, match=r"the stream 'orders:b' cannot .*WRONGTYPE"):
        multi().run(replace, stop=StopEvent())
    assert pending(own_lab, names[:1]) == [0]


def test_leave_hands_over_the_others_if_one_is_refused(
    own_lab: Lab, multi: NewMulti, fill: Fill, names: list[str]
) -> None:
    fill("a", 1), fill("b", 1)
    alice = multi()
    alice.read_new(decline)
    own_lab.redis.delete(names[0])
    with pytest.raises(redis.ResponseError, match="NOGROUP"):
        alice.leave()
    handled: list[str] = []
    bob = RedisStreamConsumer(own_lab.redis, names[1], "billing", "bob")
    bob.take_over(collect_into(handled))
    assert handled == ["b0"]


def test_its_health_is_that_of_all_streams(multi: NewMulti, fill: Fill) -> None:
    fill("a", 2), fill("b", 2)
    alice = multi()
    seen: list[tuple[int, bool]] = []

    def handle(_: Delivery) -> None:
        health = alice.health
        seen.append((health.in_flight, health.handling_s is not None))
        raise ValueError("the card was declined")

    assert alice.health.polled_s is None
    alice.read_new(handle)
    assert seen == [(4, True), (3, True), (2, True), (1, True)]
    health = alice.health
    assert (health.in_flight, health.oldest_s, health.handling_s) == (0, None, None)
    assert health.polled_s is not None
    assert health.last_error.count("ValueError: the card was declined") == 2


def test_a_random_name_is_the_same_on_each_stream(lab: Lab, names: list[str]) -> None:
    alice = MultiStreamConsumer(lab.redis, names, "billing")
    alice.ensure_group()
    listed = [list(lab.consumers(name)["consumer"]) for name in names]
    assert listed == [[alice.name]] * 2


def test_a_call_from_its_own_handler_is_refused_before_any_stream_is_touched(
    lab: Lab, multi: NewMulti, fill: Fill, names: list[str]
) -> None:
    fill("a", 2), fill("b", 1)
    alice = multi()
    handled: list[str] = []
    calls: list[Callable[[], object]] = [
        alice.leave,
        lambda: alice.read_new(decline),
        lambda: alice.take_over(decline),
        lambda: alice.replay_pending(decline),
    ]

    def handle(delivery: Delivery) -> None:
        for call in calls:
            with pytest.raises(RuntimeError, match="from its own handler"):
                call()
        handled.append(delivery.message.content)

    alice.read_new(handle)
    assert handled == ["a0", "b0", "a1"]
    assert list(lab.consumers(names[0])["consumer"]) == ["alice"]
    assert pending(lab, names) == [0, 0]


@pytest.mark.parametrize(
    ("streams", "error"),
    [
        ("orders", "streams must be a list of names, not str: 'orders'; for one stream"),
        ({"orders"}, "streams must be a list of names, not set: {'orders'}; "),
        ([], "streams is empty: name the streams to consume"),
        (["a", "b", "a"], "streams has 'a' twice: name each stream once"),
        (["a", "a:dead"], "streams has 'a:dead', where the dead letters of 'a' go"),
        (["a", b"b"], "stream must be a str, not bytes: b'b'"),
        (["a", " "], "stream is blank: ' '"),
    ],
)
def test_streams_that_cannot_be_consumed_are_refused(
    lab: Lab, streams: Any, error: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(error)):
        MultiStreamConsumer(lab.redis, streams)
