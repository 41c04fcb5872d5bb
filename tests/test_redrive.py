"""Redrive: dead letters are published again, each once, and none is lost."""

from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from threading import Thread

import pytest
import redis
from consumers import NewConsumer, Publish, all_at_once
from handlers import collect_into, decline
from network import address_of
from redis import Redis

from redisflow_lab import Delivery, Message
from redisflow_lab.dead_letters import DeadLetter, DeadLetters
from redisflow_lab.lab import Lab

DeadLetterEach = Callable[..., list[DeadLetter]]


@pytest.fixture
def dead_letter_each(
    publish: Publish, consumer: NewConsumer, dead_letters: DeadLetters
) -> DeadLetterEach:
    """Publishes these contents, lets each fail for good, and returns its dead letter."""

    def dead_letter_each(*contents: str) -> list[DeadLetter]:
        publish(*contents)
        consumer(max_deliveries=1).read_new(decline)
        return list(dead_letters)

    return dead_letter_each


def test_a_redriven_dead_letter_is_handled_as_a_new_entry(
    consumer: NewConsumer, dead_letters: DeadLetters, dead_letter_each: DeadLetterEach
) -> None:
    first, second = dead_letter_each("a", "b")
    (new_id,) = dead_letters.redrive(second.letter_id)
    assert [letter.letter_id for letter in dead_letters] == [first.letter_id]
    seen: list[Delivery] = []
    consumer().read_new(seen.append)
    assert [(d.entry_id, d.message.content, d.deliveries) for d in seen] == [(new_id, "b", 1)]


def test_a_repair_makes_the_message_that_is_published(
    lab: Lab, stream: str, consumer: NewConsumer, dead_letters: DeadLetters
) -> None:
    lab.redis.xadd(stream, {b"body": b"1 x Dune"})
    consumer().read_new(decline)
    (letter,) = dead_letters
    assert letter.data is None

    def repair(letter: DeadLetter) -> Message:
        return Message("web", dict(letter.fields)[b"body"].decode())

    dead_letters.redrive(letter.letter_id, repair=repair)
    seen: list[str] = []
    consumer().read_new(collect_into(seen))
    assert seen == ["1 x Dune"]


def test_an_unknown_id_is_refused_before_any_dead_letter_is_redriven(
    lab: Lab, stream: str, dead_letters: DeadLetters, dead_letter_each: DeadLetterEach
) -> None:
    (letter,) = dead_letter_each("a")
    with pytest.raises(KeyError, match="no dead letter 5-5 in"):
        dead_letters.redrive(letter.letter_id, "5-5")
    assert (len(dead_letters), lab.redis.xlen(stream)) == (1, 1)


@pytest.mark.parametrize("bad", ["5", "", "banana", None, b"5-0"])
def test_a_malformed_id_is_refused_before_any_dead_letter_is_redriven(
    lab: Lab,
    stream: str,
    bad: object,
    dead_letters: DeadLetters,
    dead_letter_each: DeadLetterEach,
) -> None:
    (letter,) = dead_letter_each("a")
    with pytest.raises(ValueError, match="letter_id must be an entry id like"):
        dead_letters.redrive(letter.letter_id, bad)  # type: ignore[arg-type]
    assert (len(dead_letters), lab.redis.xlen(stream)) == (1, 1)


def test_a_trimmed_dead_letter_is_not_redriven_without_a_repair(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer, dead_letters: DeadLetters
) -> None:
    publish("a")
    alice = consumer()
    alice.read_new(decline)
    lab.redis.xtrim(stream, maxlen=0, approximate=False)
    alice.replay_pending(decline)
    (letter,) = dead_letters
    with pytest.raises(ValueError, match="there is nothing to"):
        dead_letters.redrive(letter.letter_id)
    assert len(dead_letters) == 1


def test_a_stream_that_was_replaced_by_another_key_loses_no_dead_letter(
    lab: Lab, stream: str, dead_letters: DeadLetters, dead_letter_each: DeadLetterEach
) -> None:
    (letter,) = dead_letter_each("a")
    lab.redis.set(stream, "text")
    with pytest.raises(ValueError, match="holds something other than a stream"):
        dead_letters.redrive(letter.letter_id)
    assert list(dead_letters) == [letter]


def test_a_stream_without_ids_left_loses_no_dead_letter(
    lab: Lab, stream: str, dead_letters: DeadLetters, dead_letter_each: DeadLetterEach
) -> None:
    (letter,) = dead_letter_each("a")
    lab.redis.xadd(stream, {"a": "b"}, id=f"{2**64 - 1}-{2**64 - 1}")
    with pytest.raises(redis.ResponseError, match=r"exhausted|smaller"):
        dead_letters.redrive(letter.letter_id)
    assert list(dead_letters) == [letter]


def test_a_repair_that_fails_redrives_none(
    lab: Lab, stream: str, dead_letters: DeadLetters, dead_letter_each: DeadLetterEach
) -> None:
    ids = [letter.letter_id for letter in dead_letter_each("a", "b")]

    def repair(letter: DeadLetter) -> Message:
        if letter.letter_id == ids[1]:
            raise ValueError("not this one")
        return Message("web", "repaired")

    with pytest.raises(ValueError, match="not this one"):
        dead_letters.redrive(*ids, repair=repair)
    assert (len(dead_letters), lab.redis.xlen(stream)) == (2, 2)


def test_a_redrive_can_be_repeated_after_a_killed_server(
    own_lab: Lab, dead_letters: DeadLetters, dead_letter_each: DeadLetterEach
) -> None:
    """The server is killed after each dead letter in turn: each is redriven exactly once."""
    contents = [str(number) for number in range(10)]
    dead_letter_each(*contents)
    own_lab.redis.config_set("appendfsync", "always")
    while left := [letter.letter_id for letter in dead_letters]:
        dead_letters.redrive(left[0])
        killer = Thread(target=own_lab.server.kill)
        killer.start()
        with suppress(redis.ConnectionError, redis.TimeoutError):
            dead_letters.redrive(*left[1:])
        killer.join()
        own_lab.server.start()
    written = [
        Message.from_fields(fields).content for _, fields in own_lab.redis.xrange("orders")
    ]
    assert sorted(written) == sorted(contents * 2)  # the originals, and each once more


def test_redrives_at_the_same_time_publish_each_dead_letter_once(
    lab: Lab, stream: str, dead_letters: DeadLetters, dead_letter_each: DeadLetterEach
) -> None:
    ids = [letter.letter_id for letter in dead_letter_each(*"abcdefghij")]

    def redrive_each() -> list[str]:
        redriven = []
        letters = DeadLetters(Redis(**address_of(lab)), stream)
        for letter_id in ids:
            with suppress(KeyError):  # another thread was faster
                redriven += letters.redrive(letter_id)
        return redriven

    sent = list(chain.from_iterable(all_at_once([redrive_each] * 4)))
    assert (len(set(sent)), lab.redis.xlen(stream)) == (10, 20)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: {b"a": b"1"},
        lambda _: {b"\xff": b"\xfe"},
        lambda fields: {**fields, b"dead:error": b"\xff"},
        lambda fields: {**fields, b"dead:reason": b"bad luck"},
        lambda fields: {**fields, b"dead:deliveries": b"many"},
        lambda fields: {**fields, b"dead:at": b"yesterday"},
    ],
)
def test_an_entry_of_another_program_is_named_and_the_rest_is_listed(
    lab: Lab,
    dead_letters: DeadLetters,
    dead_letter_each: DeadLetterEach,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[dict[bytes, bytes]], dict[bytes, bytes]],
) -> None:
    (first,) = dead_letter_each("a")
    ((_, fields),) = lab.redis.xrange(dead_letters.dead_stream)
    foreign = lab.redis.xadd(dead_letters.dead_stream, change(fields)).decode()
    *_, last = dead_letter_each("b")
    assert list(dead_letters) == [first, last]
    assert f"entry {foreign} is not a dead letter" in caplog.text
    with pytest.raises(ValueError, match=f"entry {foreign} is not a dead letter"):
        dead_letters[foreign]
