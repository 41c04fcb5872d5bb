"""Trimming removes what it says, and nothing that is pending unless it is told to."""

from threading import Event as StopEvent
from threading import Thread
from typing import Any

import pytest
from consumers import NewConsumer, Publish, numbered
from handlers import collect_into, collect_until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from network import address_of
from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.dead_letters import DeadLetters, Reason
from redisflow_lab.lab import Lab
from redisflow_lab.retention import Retention, Trimmed, trim


def add(lab: Lab, stream: str, *ids: str) -> None:
    for entry_id in ids:
        lab.redis.xadd(stream, {"data": "x"}, id=entry_id)


def ids_of(lab: Lab, stream: str) -> list[str]:
    return [entry_id.decode() for entry_id, _ in lab.redis.xrange(stream)]


def read(lab: Lab, stream: str, group: str, count: int) -> None:
    lab.redis.xreadgroup(group, "alice", {stream: ">"}, count=count)


TEN = [f"{number}-0" for number in range(1, 11)]
TO_SEVEN: list[dict[str, Any]] = [{"maxlen": 4}, {"minid": "7-0"}]
"""Limits that leave 7-0 to 10-0 of ten entries."""


@pytest.mark.parametrize("limit", TO_SEVEN, ids=str)
def test_without_a_group_the_limit_alone_counts(
    lab: Lab, stream: str, limit: dict[str, Any]
) -> None:
    add(lab, stream, *TEN)
    assert trim(lab.redis, stream, **limit) == Trimmed(6, 0, held_by_pending=False)
    assert ids_of(lab, stream) == TEN[6:]
    assert trim(lab.redis, stream, **limit).removed == 0


@pytest.mark.parametrize("limit", TO_SEVEN, ids=str)
def test_the_oldest_pending_entry_holds_it_and_all_after_it(
    lab: Lab, stream: str, limit: dict[str, Any]
) -> None:
    add(lab, stream, *TEN)
    lab.redis.xgroup_create(stream, "billing", id="0")
    read(lab, stream, "billing", 5)
    lab.redis.xack(stream, "billing", "1-0", "2-0", "4-0")
    assert trim(lab.redis, stream, **limit) == Trimmed(2, 0, True, "billing")
    assert ids_of(lab, stream) == TEN[2:]


@pytest.mark.parametrize("limit", TO_SEVEN, ids=str)
def test_what_is_pending_goes_if_it_is_told_and_it_says_how_much(
    lab: Lab, stream: str, limit: dict[str, Any], consumer: NewConsumer
) -> None:
    add(lab, stream, *TEN)
    for group in ("billing", "shipping"):
        lab.redis.xgroup_create(stream, group, id="0")
        read(lab, stream, group, 5)
    lab.redis.xack(stream, "billing", "1-0")
    lab.redis.xdel(stream, "3-0")  # it is pending, and no longer there to be removed
    done = trim(lab.redis, stream, **limit, even_pending=True)
    assert done == Trimmed(5, 7, held_by_pending=False)
    assert ids_of(lab, stream) == TEN[6:]
    consumer("alice").replay_pending(lambda _: None)
    letters = DeadLetters(lab.redis, stream)
    assert {letter.reason for letter in letters} == {Reason.TRIMMED}
    assert [letter.entry_id for letter in letters] == TEN[1:5]


@pytest.mark.parametrize(("fast", "slow"), [("a", "b"), ("b", "a")])
def test_acknowledged_is_what_each_group_has_finished(
    lab: Lab, stream: str, fast: str, slow: str
) -> None:
    add(lab, stream, *TEN)
    assert trim(lab.redis, stream, acknowledged=True).removed == 0  # no group
    for group, delivered in ((fast, 8), (slow, 5)):
        lab.redis.xgroup_create(stream, group, id="0")
        read(lab, stream, group, delivered)
    lab.redis.xack(stream, fast, *TEN[:8])
    lab.redis.xack(stream, slow, "1-0", "2-0", "4-0")
    assert trim(lab.redis, stream, acknowledged=True).removed == 2
    lab.redis.xack(stream, slow, "3-0", "5-0")
    assert trim(lab.redis, stream, acknowledged=True).removed == 3
    assert ids_of(lab, stream) == TEN[5:]  # 6-0 to 8-0 are not delivered to the slow one


def test_nothing_is_left_when_all_is_acknowledged(lab: Lab, stream: str) -> None:
    add(lab, stream, *TEN)
    lab.redis.xgroup_create(stream, "billing", id="0")
    read(lab, stream, "billing", 10)
    lab.redis.xack(stream, "billing", *TEN)
    assert trim(lab.redis, stream, acknowledged=True).removed == 10
    assert ids_of(lab, stream) == []


def test_the_age_is_by_the_clock_of_the_server(lab: Lab, stream: str) -> None:
    seconds, micros = lab.redis.time()
    now_ms = seconds * 1_000 + micros // 1_000
    add(lab, stream, f"{now_ms - 90_000}-0", f"{now_ms - 30_000}-0", f"{now_ms}-0")
    assert trim(lab.redis, stream, older_than_s=60).removed == 1
    assert trim(lab.redis, stream, older_than_s=10**9).removed == 0  # before 1970
    assert trim(lab.redis, stream, older_than_s=29.5).removed == 1
    assert len(ids_of(lab, stream)) == 1


def test_many_entries_are_trimmed_to_a_length_up_to_the_oldest_pending(
    lab: Lab, stream: str
) -> None:
    pipeline = lab.redis.pipeline()
    for number in range(1, 1_001):
        pipeline.xadd(stream, {"data": "x"}, id=f"{number}-0")
    pipeline.execute()
    lab.redis.xgroup_create(stream, "billing", id="499-0")
    read(lab, stream, "billing", 1)
    assert trim(lab.redis, stream, maxlen=10) == Trimmed(499, 0, True, "billing")
    assert trim(lab.redis, stream, maxlen=10, even_pending=True) == Trimmed(491, 1, False)
    assert trim(lab.redis, stream, maxlen=0).removed == 10


def test_ids_beyond_what_lua_counts_to_are_compared_exactly(lab: Lab, stream: str) -> None:
    big = 2**53
    add(lab, stream, *(f"5-{big + number}" for number in range(4)))
    lab.redis.xgroup_create(stream, "billing", id="0")
    read(lab, stream, "billing", 1)
    assert trim(lab.redis, stream, minid=f"5-{big + 1}") == Trimmed(0, 0, True, "billing")
    lab.redis.xack(stream, "billing", f"5-{big}")
    assert trim(lab.redis, stream, minid=f"5-{big + 1}") == Trimmed(1, 0, False)


def test_a_consumer_beside_it_misses_nothing(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    consumer()  # makes the group
    publish(*numbered(2_000), "last")
    handled: list[str] = []
    stop = StopEvent()
    alice = consumer("alice", batch=7, ack_every=5)
    running = Thread(
        target=alice.run, args=(collect_until("last", handled, stop),), kwargs={"stop": stop}
    )
    running.start()
    removed = 0
    while not stop.is_set():
        removed += trim(lab.redis, stream, acknowledged=True).removed
    running.join()
    assert handled == [*numbered(2_000), "last"]
    assert removed + len(ids_of(lab, stream)) == 2_001
    assert len(DeadLetters(lab.redis, stream)) == 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 5)),
        st.tuples(st.just("read"), st.sampled_from(["billing", "shipping"]), st.integers(1, 4)),
        st.tuples(st.just("ack"), st.sampled_from(["billing", "shipping"]), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.integers(1, 20)),
        st.tuples(st.just("maxlen"), st.integers(0, 8)),
        st.tuples(st.just("minid"), st.integers(0, 20)),
        st.tuples(st.just("acknowledged"), st.just(True)),
    ),
    max_size=20,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_nothing_pending_goes_whatever_came_before(
    lab: Lab, stream: str, steps: list[Any]
) -> None:
    r = lab.redis
    r.delete(stream)
    published = 0
    for group in ("billing", "shipping"):
        r.xgroup_create(stream, group, id="0", mkstream=True)
    for kind, *arguments in steps:
        number = arguments[-1]
        pending = {
            group: [
                row["message_id"].decode()
                for row in r.xpending_range(stream, group, "-", "+", 99)
            ]
            for group in ("billing", "shipping")
        }
        match kind:
            case "publish":
                for _ in range(number):
                    published += 1
                    add(lab, stream, f"{published}-0")
            case "read":
                read(lab, stream, arguments[0], number)
            case "ack" if pending[arguments[0]]:
                owned = pending[arguments[0]]
                r.xack(stream, arguments[0], owned[number % len(owned)])
            case "delete":
                r.xdel(stream, f"{number}-0")
            case "maxlen" | "minid" | "acknowledged":
                check_trim(lab, stream, kind, number, pending)


def check_trim(
    lab: Lab, stream: str, kind: str, value: Any, pending: dict[str, list[str]]
) -> None:
    """Compare with what is right, found from what the server said before."""
    before = [int(entry_id.split("-")[0]) for entry_id in ids_of(lab, stream)]
    # What is pending before the first entry was deleted: it holds nothing.
    held = [int(e.split("-")[0]) for ids in pending.values() for e in ids]
    oldest = min((one for one in held if before and one >= before[0]), default=10**9)
    read_up_to = min(
        int(group["last-delivered-id"].split(b"-")[0])
        for group in lab.redis.xinfo_groups(stream)
    )
    may_go = {
        "maxlen": before[: max(0, len(before) - value)] if kind == "maxlen" else [],
        "minid": [one for one in before if one < value],
        "acknowledged": [one for one in before if one <= read_up_to],
    }[kind]
    right = [one for one in before if one not in may_go or one >= oldest]
    trim(lab.redis, stream, **{kind: f"{value}-0" if kind == "minid" else value})
    assert [int(entry_id.split("-")[0]) for entry_id in ids_of(lab, stream)] == right


@pytest.mark.parametrize("decodes", [False, True])
def test_the_group_that_holds_the_stream_is_named(
    lab: Lab, stream: str, *, decodes: bool
) -> None:
    redis = Redis(**{**address_of(lab), "decode_responses": decodes})
    add(lab, stream, *TEN)
    assert trim(redis, stream, acknowledged=True).held_by == ""  # there is no group
    for group, count in (("billing", 7), ("shipping", 3), ("audit", 5)):
        lab.redis.xgroup_create(stream, group, id="0")
        read(lab, stream, group, count)
    lab.redis.xack(stream, "audit", *TEN[:5])
    lab.redis.xack(stream, "shipping", "1-0")
    assert trim(redis, stream, acknowledged=True).held_by == "billing"
    lab.redis.xack(stream, "billing", *TEN[:7])
    assert trim(redis, stream, maxlen=1).held_by == "shipping"
    lab.redis.xack(stream, "shipping", *TEN[:3])
    done = trim(redis, stream, acknowledged=True)
    assert (done.held_by, done.held_by_pending) == ("shipping", False)  # read up to 3-0


def test_a_stream_that_is_not_there_has_nothing_to_remove(lab: Lab, stream: str) -> None:
    assert trim(lab.redis, stream, maxlen=1) == Trimmed(0, 0, held_by_pending=False)
    lab.redis.rpush(stream, "not a stream")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        trim(lab.redis, stream, maxlen=1)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({}, "not none of them"),
        ({"maxlen": 1, "acknowledged": True}, "not maxlen and acknowledged"),
        ({"maxlen": -1}, "maxlen must be 0 or more, not -1"),
        ({"older_than_s": float("nan")}, "older_than_s must be 0 or more, not nan"),
        ({"minid": "5"}, "must be an entry id"),
        ({"acknowledged": True, "even_pending": True}, "even_pending needs another limit"),
    ],
)
def test_a_limit_that_is_none_is_explained(
    lab: Lab, stream: str, limits: dict[str, Any], says: str
) -> None:
    add(lab, stream, *TEN)
    with pytest.raises(ValueError, match=says):
        trim(lab.redis, stream, **limits)
    assert ids_of(lab, stream) == TEN


def user_without_xtrim(own_lab: Lab) -> Redis:
    own_lab.redis.execute_command(
        "ACL", "SETUSER", "service", "reset", "on", ">pw", "~*", "+@all", "-xtrim"
    )
    return Redis(**{**address_of(own_lab), "username": "service", "password": "pw"})


def test_a_user_who_may_not_trim_is_told_what_is_needed(own_lab: Lab) -> None:
    add(own_lab, "orders", *TEN)
    service = user_without_xtrim(own_lab)
    with pytest.raises(NoPermissionError, match=r"orders cannot be trimmed: .*XTRIM"):
        trim(service, "orders", maxlen=1)
    assert ids_of(own_lab, "orders") == TEN


def test_a_full_server_can_be_trimmed(own_lab: Lab) -> None:
    add(own_lab, "orders", *TEN)
    own_lab.redis.config_set("maxmemory", "1")
    with pytest.raises(ResponseError, match="maxmemory"):
        add(own_lab, "orders", "11-0")
    assert trim(own_lab.redis, "orders", maxlen=4).removed == 6


def test_a_producer_removes_what_every_group_has_acknowledged(
    lab: Lab, stream: str, consumer: NewConsumer
) -> None:
    kept = Retention(acknowledged=True, every_s=0)
    producer = RedisStreamProducer(lab.redis, stream, retention=kept)
    handled: list[str] = []
    billing, shipping = consumer(), consumer(group="shipping", batch=2)
    producer.publish_many([Message("web", content) for content in numbered(6)])
    billing.read_new(lambda _: None)
    producer.publish(Message("web", "6"))
    assert lab.redis.xlen(stream) == 7  # shipping has read nothing
    shipping.read_new(collect_into(handled))
    producer.publish(Message("web", "7"), key="7")
    assert lab.redis.xlen(stream) == 6
    assert handled == ["0", "1"]


def test_a_producer_removes_by_age_but_nothing_that_is_pending(lab: Lab, stream: str) -> None:
    for old in ("1-0", "2-0", "3-0"):
        lab.redis.xadd(stream, {"data": b""}, id=old)
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=2)
    lab.redis.xack(stream, "billing", "1-0")
    kept = Retention(older_than_s=3_600, every_s=0)
    producer = RedisStreamProducer(lab.redis, stream, retention=kept)
    new = producer.publish(Message("web", "new"))
    assert ids_of(lab, stream) == ["2-0", "3-0", new]
    lab.redis.xack(stream, "billing", "2-0")
    (newer,) = producer.publish_many([Message("web", "newer")])
    assert ids_of(lab, stream) == [new, newer]


def test_a_producer_trims_when_it_is_time_only(lab: Lab, stream: str) -> None:
    producer = RedisStreamProducer(lab.redis, stream, retention=Retention(acknowledged=True))
    lab.redis.xgroup_create(stream, "billing", id="0", mkstream=True)
    producer.publish(Message("web", "a"))
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, noack=True)
    producer.publish(Message("web", "b"))
    assert lab.redis.xlen(stream) == 2


def test_a_trim_that_is_refused_harms_no_publish(
    own_lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    redis = user_without_xtrim(own_lab)
    kept = Retention(acknowledged=True, every_s=0)
    producer = RedisStreamProducer(redis, "orders", retention=kept)
    own_lab.redis.xgroup_create("orders", "billing", id="0", mkstream=True)
    for content in numbered(3):
        producer.publish(Message("web", content))
    assert own_lab.redis.xlen("orders") == 3
    (line,) = [r.getMessage() for r in caplog.records if "is not trimmed" in r.getMessage()]
    assert "this user may not run the script" in line


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "give one of"),
        ({"older_than_s": 5, "acknowledged": True}, "give one of"),
        ({"older_than_s": -1}, "older_than_s must be 0 or more, not -1"),
        ({"acknowledged": True, "every_s": -1}, "every_s must be 0 or more, not -1"),
    ],
)
def test_a_retention_that_makes_no_sense_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Retention(**given)
