"""Dead letters: who goes there, why, never twice and never lost; and the way back."""

import os
import random
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain

import pytest
import redis
from consumers import consumer_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from network import address_of
from redis import Redis

from redisflow_lab import (
    Delivery,
    Message,
    MessageDecodeError,
    RedisStreamConsumer,
    RedisStreamProducer,
)
from redisflow_lab.dead_letters import DeadLetter, DeadLetters, Reason, dead_letter
from redisflow_lab.lab import Lab


def write(lab: Lab, stream: str, *contents: str) -> list[str]:
    return RedisStreamProducer(lab.redis, stream).publish_many(
        Message("web", content) for content in contents
    )


def declined(_: Delivery) -> None:
    raise ValueError("the card was declined")


def pending(lab: Lab, stream: str) -> list[str]:
    return list(lab.pending(stream)["entry_id"])


def test_a_message_that_fails_too_often_is_given_up_with_all_that_is_known(
    lab: Lab, stream: str
) -> None:
    (entry_id,) = write(lab, stream, "Kim")
    alice = consumer_of(lab, stream, max_deliveries=3)
    alice.read_new(declined)
    alice.replay_pending(declined)
    assert (pending(lab, stream), len(DeadLetters(lab.redis, stream))) == ([entry_id], 0)
    alice.replay_pending(declined)
    assert pending(lab, stream) == []
    (letter,) = DeadLetters(lab.redis, stream)
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


def test_one_delivery_may_be_all_there_is(lab: Lab, stream: str) -> None:
    write(lab, stream, "Kim")
    consumer_of(lab, stream, max_deliveries=1).read_new(declined)
    assert list(lab.dead_letters(stream)["reason"]) == ["failed"]


def test_the_count_outlives_a_killed_server(own_lab: Lab) -> None:
    """Redis forgets what a history read counted: the consumer has it written down."""
    write(own_lab, "orders", "Kim")
    consumer_of(own_lab, "orders", max_deliveries=4).read_new(declined)
    consumer_of(own_lab, "orders", max_deliveries=4).replay_pending(declined)
    own_lab.server.kill()
    own_lab.server.start()
    assert list(own_lab.pending("orders")["deliveries"]) == [2]
    alice = consumer_of(own_lab, "orders", max_deliveries=3)
    alice.replay_pending(declined)
    assert list(own_lab.dead_letters("orders")["deliveries"]) == [3]


def test_a_message_that_kills_its_consumer_is_given_up_and_no_neighbour_with_it(
    lab: Lab, stream: str
) -> None:
    ids = write(lab, stream, "a", "kills", "b", "c")
    client = lab.redis
    effects = f"{stream}:effects"

    def handle(delivery: Delivery) -> None:
        if delivery.message.content == "kills":
            os.kill(os.getpid(), signal.SIGKILL)
        client.rpush(effects, delivery.message.content)

    for _ in range(3):
        worker = lab.worker("alice", handle, stream=stream, max_deliveries=3)
        assert worker.wait_end() == "SIGKILL"
    last = lab.worker("alice", handle, stream=stream, max_deliveries=3)
    last.wait_for("acked", 2)
    assert last.stop() == "exit 0"
    letters = lab.dead_letters(stream)
    assert letters[["entry_id", "reason", "deliveries"]].values.tolist() == [
        [ids[1], "unfinished", 4]
    ]
    assert client.lrange(effects, 0, -1) == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    ("crash", "still_pending", "letters"),
    [("after-failure", 1, 0), ("after-dead-letter", 0, 1)],
)
def test_a_crash_leaves_the_message_here_or_there(
    lab: Lab, stream: str, crash: str, still_pending: int, letters: int
) -> None:
    write(lab, stream, "Kim")

    def decline(_: Delivery) -> None:
        raise ValueError("declined")

    worker = lab.worker("alice", decline, stream=stream, max_deliveries=1, crash=crash)
    assert worker.wait_end() == "SIGKILL"
    assert (len(lab.pending(stream)), len(lab.dead_letters(stream))) == (still_pending, letters)


def test_of_two_that_give_up_the_same_entry_one_writes_a_letter(lab: Lab, stream: str) -> None:
    (entry_id,) = write(lab, stream, "Kim")
    consumer_of(lab, stream).read_new(declined)
    letter = DeadLetter(
        "", stream, entry_id, "billing", "alice", 9, Reason.FAILED, "x", datetime.now(UTC), ()
    )
    done: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda: done.append(
                dead_letter(Redis(**address_of(lab)), f"{stream}:dead", letter)
            )
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False] * 7 + [True]
    assert len(DeadLetters(lab.redis, stream)) == 1


def test_what_somebody_took_over_is_not_given_up_any_more(lab: Lab, stream: str) -> None:
    (entry_id,) = write(lab, stream, "Kim")
    bob = consumer_of(lab, stream, "bob")

    def robbed(delivery: Delivery) -> None:
        lab.redis.xclaim(stream, "billing", "bob", 0, [delivery.entry_id])
        raise ValueError("declined")

    consumer_of(lab, stream, max_deliveries=1).read_new(robbed)
    assert len(DeadLetters(lab.redis, stream)) == 0
    assert lab.pending(stream)[["entry_id", "consumer"]].values.tolist() == [[entry_id, "bob"]]
    handled: list[str] = []
    bob.replay_pending(lambda delivery: handled.append(delivery.message.content))
    assert handled == ["Kim"]


def test_a_handler_that_raises_a_decode_error_of_its_own_is_a_failing_handler(
    lab: Lab, stream: str
) -> None:
    ids = write(lab, stream, "Kim")
    consumer_of(lab, stream).read_new(lambda _: Message.from_bytes(b"\xff"))
    assert pending(lab, stream) == ids


def test_a_key_that_is_no_stream_is_refused_before_a_message_is_touched(
    lab: Lab, stream: str
) -> None:
    write(lab, stream, "Kim")
    lab.redis.set(f"{stream}:dead", "text")
    with pytest.raises(ValueError, match="is a string and not a stream"):
        RedisStreamConsumer(lab.redis, stream, "billing", "alice").run(
            declined, stop=threading.Event()
        )
    assert lab.redis.xinfo_groups(stream) == []


def test_a_dead_letter_stream_that_is_replaced_loses_no_message(lab: Lab, stream: str) -> None:
    ids = write(lab, stream, "Kim")
    alice = consumer_of(lab, stream, max_deliveries=1)
    lab.redis.set(f"{stream}:dead", "text")
    with pytest.raises(ValueError, match="not a stream"):
        alice.read_new(declined)
    assert pending(lab, stream) == ids
    assert lab.redis.get(f"{stream}:dead") == b"text"


def test_a_server_without_memory_loses_no_message(own_lab: Lab) -> None:
    ids = write(own_lab, "orders", "Kim")
    alice = consumer_of(own_lab, "orders", max_deliveries=1)
    own_lab.redis.config_set("maxmemory", "1")
    with pytest.raises(redis.ResponseError, match=r"OOM|maxmemory"):
        alice.read_new(declined)
    own_lab.redis.config_set("maxmemory", "0")
    assert pending(own_lab, "orders") == ids
    alice.replay_pending(declined)
    assert list(own_lab.dead_letters("orders")["entry_id"]) == ids


def test_an_error_that_is_long_or_no_text_still_fits_in_a_letter(lab: Lab, stream: str) -> None:
    write(lab, stream, "a", "b")

    def odd(delivery: Delivery) -> None:
        raise ValueError("\udcff" * 5_000 if delivery.message.content == "a" else "é" * 5_000)

    consumer_of(lab, stream, max_deliveries=1).read_new(odd)
    assert [len(letter.error) for letter in DeadLetters(lab.redis, stream)] == [1_000, 1_000]


# The way back.


def given_up(lab: Lab, stream: str, *contents: str) -> list[DeadLetter]:
    write(lab, stream, *contents)
    consumer_of(lab, stream, max_deliveries=1).read_new(declined)
    return list(DeadLetters(lab.redis, stream))


def test_a_redriven_letter_is_handled_as_a_new_entry(lab: Lab, stream: str) -> None:
    first, second = given_up(lab, stream, "a", "b")
    letters = DeadLetters(lab.redis, stream)
    (new_id,) = letters.redrive(second.letter_id)
    assert [letter.letter_id for letter in letters] == [first.letter_id]
    seen: list[Delivery] = []
    consumer_of(lab, stream).read_new(seen.append)
    assert [(d.entry_id, d.message.content, d.deliveries) for d in seen] == [(new_id, "b", 1)]


def test_a_repair_makes_the_message_anew(lab: Lab, stream: str) -> None:
    lab.redis.xadd(stream, {b"body": b"1 x Dune"})
    consumer_of(lab, stream).read_new(declined)
    (letter,) = DeadLetters(lab.redis, stream)
    assert letter.data is None

    def repair(broken: DeadLetter) -> Message:
        return Message("web", dict(broken.fields)[b"body"].decode())

    DeadLetters(lab.redis, stream).redrive(letter.letter_id, repair=repair)
    seen: list[str] = []
    consumer_of(lab, stream).read_new(lambda delivery: seen.append(delivery.message.content))
    assert seen == ["1 x Dune"]


def test_an_id_that_is_not_there_is_refused_before_any_is_sent(lab: Lab, stream: str) -> None:
    (letter,) = given_up(lab, stream, "a")
    letters = DeadLetters(lab.redis, stream)
    with pytest.raises(KeyError, match="no dead letter 5-5 in"):
        letters.redrive(letter.letter_id, "5-5")
    assert (len(letters), lab.redis.xlen(stream)) == (1, 1)


@pytest.mark.parametrize("bad", ["5", "", "banana", None, b"5-0"])
def test_what_is_no_id_is_refused_before_any_is_sent(
    lab: Lab, stream: str, bad: object
) -> None:
    (letter,) = given_up(lab, stream, "a")
    letters = DeadLetters(lab.redis, stream)
    with pytest.raises(ValueError, match="letter_id must be an entry id like"):
        letters.redrive(letter.letter_id, bad)  # type: ignore[arg-type]
    assert (len(letters), lab.redis.xlen(stream)) == (1, 1)


def test_a_trimmed_letter_is_not_sent_as_an_empty_message(lab: Lab, stream: str) -> None:
    write(lab, stream, "a")
    alice = consumer_of(lab, stream)
    alice.read_new(declined)
    lab.redis.xtrim(stream, maxlen=0, approximate=False)
    alice.replay_pending(declined)
    letters = DeadLetters(lab.redis, stream)
    (letter,) = letters
    with pytest.raises(ValueError, match="there is nothing to send"):
        letters.redrive(letter.letter_id)
    assert len(letters) == 1


def test_a_stream_that_was_replaced_loses_no_letter(lab: Lab, stream: str) -> None:
    """Redis would run the XDEL of the MULTI although its XADD failed."""
    (letter,) = given_up(lab, stream, "a")
    lab.redis.set(stream, "text")
    letters = DeadLetters(lab.redis, stream)
    with pytest.raises(ValueError, match="it is a string and not a stream"):
        letters.redrive(letter.letter_id)
    assert list(letters) == [letter]


def test_a_repair_that_fails_sends_none(lab: Lab, stream: str) -> None:
    ids = [letter.letter_id for letter in given_up(lab, stream, "a", "b")]

    def repair(letter: DeadLetter) -> Message:
        if letter.letter_id == ids[1]:
            raise ValueError("not this one")
        return Message("web", "repaired")

    with pytest.raises(ValueError, match="not this one"):
        DeadLetters(lab.redis, stream).redrive(*ids, repair=repair)
    assert (len(DeadLetters(lab.redis, stream)), lab.redis.xlen(stream)) == (2, 2)


def test_an_interrupted_redrive_goes_on_where_it_was(own_lab: Lab) -> None:
    """The server is killed after each letter in turn: each comes back exactly once."""
    contents = [str(number) for number in range(10)]
    given_up(own_lab, "orders", *contents)
    own_lab.redis.config_set("appendfsync", "always")
    while left := [letter.letter_id for letter in DeadLetters(own_lab.redis, "orders")]:
        letters = DeadLetters(own_lab.redis, "orders")
        letters.redrive(left[0])
        killer = threading.Thread(target=own_lab.server.kill)
        killer.start()
        with suppress(redis.ConnectionError, redis.TimeoutError):
            letters.redrive(*left[1:])
        killer.join()
        own_lab.server.start()
    written = [
        Message.from_fields(fields).content for _, fields in own_lab.redis.xrange("orders")
    ]
    assert sorted(written) == sorted(contents * 2)  # the originals, and each once more


def test_two_redrives_at_once_send_each_letter_once(lab: Lab, stream: str) -> None:
    ids = [letter.letter_id for letter in given_up(lab, stream, *"abcdefghij")]

    def redrive(into: list[str]) -> Callable[[], None]:
        def send() -> None:
            letters = DeadLetters(Redis(**address_of(lab)), stream)
            for letter_id in ids:
                try:
                    into.extend(letters.redrive(letter_id))
                except KeyError:
                    continue  # the other one was faster

        return send

    sent: list[str] = []
    threads = [threading.Thread(target=redrive(sent)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(set(sent)), lab.redis.xlen(stream)) == (10, 20)


def test_an_entry_that_is_no_letter_is_named(lab: Lab, stream: str) -> None:
    lab.redis.xadd(f"{stream}:dead", {"a": "1"}, id="7-0")
    with pytest.raises(
        ValueError, match=r"entry 7-0 is no dead letter: it has no 'dead:stream'"
    ):
        list(DeadLetters(lab.redis, stream))


# Ten thousand bad entries among good ones: ten runs of about a thousand.


def good_entry(rng: random.Random) -> dict[bytes, bytes]:
    extra = {b"trace": rng.randbytes(4)} if rng.random() < 0.2 else {}
    return {**extra, **Message("web", str(rng.random())).to_fields()}


def bad_entry(rng: random.Random) -> dict[bytes, bytes]:
    """No field of the name, random bytes, a message cut short, or very much of nothing."""
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


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.randoms(use_true_random=True))
def test_every_good_entry_is_handled_once_and_every_bad_one_given_up(
    lab: Lab, stream: str, rng: random.Random
) -> None:
    client = lab.redis
    client.delete(stream, f"{stream}:dead")
    alice = consumer_of(lab, stream, batch=100)
    entries = [bad_entry(rng) if rng.random() < 0.9 else good_entry(rng) for _ in range(1_200)]
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
    letters = {letter.entry_id: letter for letter in DeadLetters(client, stream)}
    assert sorted(letters) == sorted(set(ids) - set(good))
    assert {i for i, letter in letters.items() if letter.reason == "trimmed"} == {*trimmed}
    assert all(letter.error for letter in letters.values())
    originals = dict(zip(ids, entries, strict=True))
    assert all(
        dict(letter.fields) == originals[i] for i, letter in letters.items() if i not in trimmed
    )
