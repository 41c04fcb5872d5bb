"""Dead letters: which entries become one, why, and never twice."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from threading import Event as StopEvent
from time import monotonic

import pytest
from consumers import NewConsumer, Publish, all_at_once, numbered, rows, running
from handlers import collect_into, decline, decline_only
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from network import address_of
from redis import Redis

from redisflow_lab import (
    Delivery,
    Event,
    Message,
    MessageDecodeError,
    RedisStreamConsumer,
)
from redisflow_lab.dead_letters import DeadLetter, DeadLetters, Reason, dead_letter
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until

PendingIds = Callable[[], list[str]]


def test_a_message_that_fails_at_its_last_delivery_is_dead_lettered_with_all_that_is_known(
    lab: Lab,
    stream: str,
    publish: Publish,
    consumer: NewConsumer,
    pending_ids: PendingIds,
    dead_letters: DeadLetters,
) -> None:
    (entry_id,) = publish("Kim")
    alice = consumer(max_deliveries=3)
    alice.read_new(decline)
    alice.replay_pending(decline)
    assert (pending_ids(), len(dead_letters)) == ([entry_id], 0)
    alice.replay_pending(decline)
    assert pending_ids() == []
    (letter,) = dead_letters
    assert (letter.stream, letter.entry_id, letter.group, letter.consumer) == (
        stream,
        entry_id,
        "billing",
        "alice",
    )
    assert (letter.reason, letter.deliveries) == (Reason.FAILED, 3)
    assert letter.error == "ValueError: the card was declined"
    assert abs((datetime.now(UTC) - letter.at).total_seconds()) < 60
    (original,) = lab.redis.xrange(stream)
    assert dict(letter.fields) == original[1]


def test_with_one_delivery_the_first_failure_dead_letters(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    publish("Kim")
    consumer(max_deliveries=1).read_new(decline)
    assert list(lab.dead_letters(stream)["reason"]) == ["failed"]


def test_the_delivery_count_survives_a_killed_server(
    own_lab: Lab, publish: Publish, consumer: NewConsumer
) -> None:
    """The append-only file does not hold what a history read (XREADGROUP with an id) counts."""
    publish("Kim")
    consumer(max_deliveries=4).read_new(decline)
    consumer(max_deliveries=4).replay_pending(decline)
    own_lab.server.kill()
    own_lab.server.start()
    assert list(own_lab.pending()["deliveries"]) == [2]
    alice = consumer(max_deliveries=3)
    alice.replay_pending(decline)
    assert list(own_lab.dead_letters()["deliveries"]) == [3]


@pytest.mark.parametrize(
    ("crash", "still_pending", "letters"),
    [("after-failure", 1, 0), ("after-dead-letter", 0, 1)],
)
def test_a_crash_leaves_a_failed_message_pending_or_dead_lettered(
    lab: Lab, stream: str, crash: str, still_pending: int, letters: int, publish: Publish
) -> None:
    publish("Kim")

    def fail(_: Delivery) -> None:  # travels to the worker; this folder's modules do not
        raise ValueError("declined")

    worker = lab.worker("alice", fail, stream=stream, max_deliveries=1, crash=crash)
    assert worker.wait_end() == "SIGKILL"
    assert (len(lab.pending(stream)), len(lab.dead_letters(stream))) == (still_pending, letters)


def test_of_many_that_dead_letter_the_same_entry_one_succeeds(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer, dead_letters: DeadLetters
) -> None:
    (entry_id,) = publish("Kim")
    consumer().read_new(decline)
    letter = DeadLetter(
        "", stream, entry_id, "billing", "alice", 9, Reason.FAILED, "x", datetime.now(UTC), ()
    )
    write = partial(dead_letter, dead_stream=f"{stream}:dead", letter=letter)
    done = all_at_once([partial(write, Redis(**address_of(lab))) for _ in range(8)])
    assert sorted(done) == [False] * 7 + [True]
    assert len(dead_letters) == 1


def test_a_claimed_message_is_not_dead_lettered_by_its_former_owner(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer, dead_letters: DeadLetters
) -> None:
    (entry_id,) = publish("Kim")
    bob = consumer("bob")

    def claim_and_fail(delivery: Delivery) -> None:
        lab.redis.xclaim(stream, "billing", "bob", 0, [delivery.entry_id])
        raise ValueError("declined")

    consumer(max_deliveries=1).read_new(claim_and_fail)
    assert len(dead_letters) == 0
    assert rows(lab.pending(stream), "entry_id", "consumer") == [[entry_id, "bob"]]
    handled: list[str] = []
    bob.replay_pending(collect_into(handled))
    assert handled == ["Kim"]


def test_a_decode_error_raised_by_a_handler_is_a_failure_like_any_other(
    publish: Publish, consumer: NewConsumer, pending_ids: PendingIds
) -> None:
    ids = publish("Kim")
    consumer().read_new(lambda _: Message.from_bytes(b"\xff"))
    assert pending_ids() == ids


def test_a_dead_stream_that_is_not_a_stream_is_refused_before_a_message_is_read(
    lab: Lab, stream: str, publish: Publish
) -> None:
    publish("Kim")
    lab.redis.set(f"{stream}:dead", "text")
    with pytest.raises(ValueError, match="is a string and not a stream"):
        RedisStreamConsumer(lab.redis, stream, "billing", "alice").run(
            decline, stop=StopEvent()
        )
    assert lab.redis.xinfo_groups(stream) == []


def test_a_dead_stream_that_was_replaced_by_another_key_loses_no_message(
    lab: Lab,
    stream: str,
    publish: Publish,
    consumer: NewConsumer,
    pending_ids: PendingIds,
    dead_letters: DeadLetters,
) -> None:
    ids = publish("Kim", "Lee")
    alice = consumer(max_deliveries=1)
    lab.redis.set(f"{stream}:dead", "text")
    handled: list[str] = []
    alice.read_new(decline_only("Kim", handled))
    assert (handled, pending_ids()) == (["Lee"], ids[:1])
    assert lab.redis.get(f"{stream}:dead") == b"text"
    lab.redis.delete(f"{stream}:dead")
    alice.read_new(decline)
    assert pending_ids() == []
    assert [letter.error for letter in dead_letters] == ["ValueError: the card was declined"]


def test_on_a_server_without_memory_the_good_messages_behind_a_poison_one_are_handled(
    own_lab: Lab, publish: Publish, consumer: NewConsumer, pending_ids: PendingIds
) -> None:
    """The dead letter is written as soon as the server takes it, with the true reason."""
    ids = publish("Kim", *numbered(4))
    handled: list[str] = []
    alice = consumer(max_deliveries=1, min_idle_ms=600, batch=2)
    bob = consumer("bob", max_deliveries=1, min_idle_ms=600)
    own_lab.redis.config_set("maxmemory", "1")
    with running(alice, handler=decline_only("Kim", handled)):
        wait_until(lambda: handled == numbered(4), "the good ones are handled")
        until = monotonic() + 1.8
        while monotonic() < until:
            bob.take_over(collect_into(handled))  # it is alice's, although it is long ago
        assert pending_ids() == ids[:1]
        own_lab.redis.config_set("maxmemory", "0")
        wait_until(lambda: not pending_ids(), "the dead letter is written")
    (letter,) = DeadLetters(own_lab.redis, "orders")
    assert (letter.entry_id, letter.reason) == (ids[0], Reason.FAILED)
    assert letter.error == "ValueError: the card was declined"
    assert handled == numbered(4)


def test_a_dead_stream_without_ids_left_loses_no_message(
    lab: Lab,
    stream: str,
    publish: Publish,
    consumer: NewConsumer,
    pending_ids: PendingIds,
    dead_letters: DeadLetters,
) -> None:
    (entry_id,) = publish("Kim")
    last = f"{2**64 - 1}-{2**64 - 1}"
    lab.redis.xadd(dead_letters.dead_stream, {"a": "b"}, id=last)
    consumer(max_deliveries=1).read_new(decline)
    assert pending_ids() == [entry_id]


def test_an_entry_of_thousands_of_fields_becomes_a_dead_letter(
    lab: Lab, stream: str, consumer: NewConsumer, dead_letters: DeadLetters
) -> None:
    """A script can take only so many arguments."""
    alice = consumer(max_deliveries=1)
    fields = {f"field {number}": b"" for number in range(5_000)}
    lab.redis.xadd(stream, fields)
    alice.read_new(decline)
    (letter,) = dead_letters
    assert len(letter.fields) == 5_000
    dead_letters.redrive(letter.letter_id)
    assert (lab.redis.xlen(stream), len(dead_letters)) == (2, 0)


def test_a_long_or_unencodable_error_is_cut_to_fit_a_dead_letter(
    publish: Publish,
    consumer: NewConsumer,
    dead_letters: DeadLetters,
    caplog: pytest.LogCaptureFixture,
) -> None:
    publish("a", "b")

    def fail(delivery: Delivery) -> None:
        raise ValueError("\udcff" * 5_000 if delivery.message.content == "a" else "é" * 5_000)

    consumer(max_deliveries=1).read_new(fail)
    assert [len(letter.error) for letter in dead_letters] == [1_000, 1_000]
    assert r"ValueError: \udcff\udcff" in caplog.text
    caplog.text.encode()  # as a log file does


UNDECODABLE = [
    {b"body": b"x"},
    {b"data": b"\xff\xff"},
    {b"data": b""},
    {b"a": b"1", b"b": b"2"},
]


@pytest.mark.parametrize("fields", UNDECODABLE)
def test_an_undecodable_entry_is_dead_lettered_and_logged(
    lab: Lab,
    stream: str,
    publish: Publish,
    consumer: NewConsumer,
    pending_ids: PendingIds,
    dead_letters: DeadLetters,
    fields: dict[bytes, bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    undecodable = lab.redis.xadd(stream, fields).decode()
    publish("0")
    events: list[Event] = []
    handled: list[str] = []
    alice = consumer(on_event=events.append)
    alice.read_new(collect_into(handled))
    alice.replay_pending(collect_into(handled))
    assert handled == ["0"]
    assert pending_ids() == []
    assert [(event.kind, event.entry_id) for event in events if event.error] == [
        ("dead-lettered", undecodable)
    ]
    (letter,) = dead_letters
    assert (letter.reason, letter.entry_id) == ("undecodable", undecodable)
    assert dict(letter.fields) == fields
    assert undecodable in caplog.text


def entry_of_a_message(rng: random.Random) -> dict[bytes, bytes]:
    extra = {b"trace": rng.randbytes(4)} if rng.random() < 0.2 else {}
    return {**extra, **Message("web", str(rng.random())).to_fields()}


def undecodable_entry(rng: random.Random) -> dict[bytes, bytes]:
    """Without the field, random bytes, a message cut short, or a large value."""
    whole = Message("web", rng.randbytes(rng.randrange(40)).hex()).to_bytes()
    kinds: list[dict[bytes, bytes]] = [
        {rng.randbytes(3): rng.randbytes(8) for _ in range(rng.randint(1, 4))},
        {b"data": rng.randbytes(rng.randrange(60))},
        {b"data": whole[: rng.randrange(len(whole))]},
        {b"data": whole[: rng.randrange(len(whole))], b"trace": b"1"},
    ]
    if rng.random() < 0.005:
        return {b"data": rng.randbytes(1) * rng.randint(20_000, 2_000_000)}
    return rng.choice(kinds)


def is_message(fields: dict[bytes, bytes]) -> bool:
    try:
        Message.from_fields(fields)
    except MessageDecodeError:
        return False
    return True


@pytest.mark.slow
@settings(
    max_examples=10,  # of 1,200 entries each: ten thousand undecodable ones
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rng=st.randoms(use_true_random=True))
def test_each_message_among_many_undecodable_entries_is_handled_once(
    lab: Lab, stream: str, rng: random.Random, consumer: NewConsumer, dead_letters: DeadLetters
) -> None:
    client = lab.redis
    client.delete(stream, f"{stream}:dead")
    alice = consumer(batch=100)
    entries = [
        undecodable_entry(rng) if rng.random() < 0.9 else entry_of_a_message(rng)
        for _ in range(1_200)
    ]
    pipeline = client.pipeline(transaction=False)
    for fields in entries:
        pipeline.execute_command("XADD", stream, "*", *chain.from_iterable(fields.items()))
    ids: list[str] = [entry_id.decode() for entry_id in pipeline.execute()]
    client.xreadgroup("billing", "alice", {stream: ">"}, count=300)
    trimmed = rng.sample(ids[:300], 100)
    client.xdel(stream, *trimmed)

    handled: list[str] = []
    alice.replay_pending(lambda delivery: handled.append(delivery.entry_id))
    while alice.read_new(lambda delivery: handled.append(delivery.entry_id)):
        pass

    good = [
        entry_id
        for entry_id, fields in zip(ids, entries, strict=True)
        if is_message(fields) and entry_id not in trimmed
    ]
    assert handled == good
    assert len(lab.pending(stream)) == 0
    letters = {letter.entry_id: letter for letter in dead_letters}
    assert sorted(letters) == sorted(set(ids) - set(good))
    assert {i for i, letter in letters.items() if letter.reason == "trimmed"} == {*trimmed}
    assert all(letter.error for letter in letters.values())
    originals = dict(zip(ids, entries, strict=True))
    assert all(
        dict(letter.fields) == originals[i] for i, letter in letters.items() if i not in trimmed
    )
