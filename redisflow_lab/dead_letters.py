"""Dead letters: where a message goes that nobody can handle, and how it comes back.

The letter is an entry of `<stream>:dead`. It carries the fields of the original entry,
untouched, and after them eight fields that say why it is there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

from redis import Redis
from redis.client import Pipeline

from redisflow_lab._internal.checks import check_entry_id, check_name
from redisflow_lab._internal.connection import stream_client
from redisflow_lab.message import FIELD, Message

RawEntry = tuple[bytes, list[bytes]]
"""An entry as Redis answers it: its id, and its fields and values in turn."""

_PAGE = 100
_LONGEST_ERROR = 1_000


class Reason(StrEnum):
    """Why an entry was given up."""

    FAILED = "failed"
    """Its handler raised, at the last delivery it was given."""
    UNFINISHED = "unfinished"
    """It was delivered as often as allowed, and no consumer lived to see its handler end."""
    UNDECODABLE = "undecodable"
    """It has no field `data`, or other bytes in it than a StreamMessage."""
    TRIMMED = "trimmed"
    """It was trimmed or deleted from the stream while it was pending: its data is lost."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One entry that was given up.

    letter_id:  its id in the dead-letter stream
    stream, entry_id, group, consumer: where it came from, and who gave it up
    deliveries: how often it was delivered; 0 if the server had already forgotten
    reason:     why
    error:      the same in words, cut after 1,000 characters
    at:         when, in UTC, by the clock of the consumer
    fields:     of the original entry, in order; empty if they were trimmed
    """

    letter_id: str
    stream: str
    entry_id: str
    group: str
    consumer: str
    deliveries: int
    reason: Reason
    error: str
    at: datetime
    fields: tuple[tuple[bytes, bytes], ...]

    @property
    def data(self) -> bytes | None:
        """The bytes that should hold a message; None if there are none."""
        return dict(self.fields).get(FIELD)


def dead_letter(redis: Redis, dead_stream: str, letter: DeadLetter) -> bool:
    """Write the letter and acknowledge its entry, in one MULTI/EXEC. True if it was done.

    False says that the entry is not pending with this consumer any more: somebody took it
    over, or is done with it. The transaction watches the dead-letter stream, so of two that
    give up the same entry, only one writes a letter. It cannot watch the pending list: an
    entry that is taken over at this very moment may be handled and have a letter as well.
    A trimmed entry may be gone from the pending list already, because XAUTOCLAIM drops it:
    its letter is written all the same.

    Redis runs the rest of a MULTI when one command of it fails. So what could make XADD
    fail there, a key that is no stream, is looked at before.
    """
    flat = [part for pair in letter.fields for part in pair] + _flat_reasons(letter)

    def write(pipeline: Pipeline) -> None:
        pending = pipeline.xpending_range(
            letter.stream, letter.group, letter.entry_id, letter.entry_id, 1, letter.consumer
        )
        check_dead_stream(pipeline, dead_stream)
        pipeline.multi()
        if pending or (letter.reason is Reason.TRIMMED and not letter.deliveries):
            pipeline.execute_command("XADD", dead_stream, "*", *flat)
            pipeline.xack(letter.stream, letter.group, letter.entry_id)

    return bool(redis.transaction(write, dead_stream))


def check_dead_stream(redis: Redis, dead_stream: str) -> None:
    """Raise ValueError if dead letters cannot go there, because the key is something else."""
    if kind := _kind_of_no_stream(redis, dead_stream):
        raise ValueError(
            f"dead letters cannot go to {dead_stream!r}: it is a {kind} and not a stream. "
            "Rename it, or name another dead_stream"
        )


def _kind_of_no_stream(redis: Redis, key: str) -> str | None:
    """What is there instead of a stream, if anything is: XADD would fail on it."""
    kind = cast(bytes, redis.type(key)).decode()
    return None if kind in ("stream", "none") else kind


class DeadLetters:
    """The dead letters of one stream, of all its groups.

    redis:       a client of the server
    stream:      whose dead letters
    dead_stream: where they are; None means `<stream>:dead`
    """

    def __init__(self, redis: Redis, stream: str, *, dead_stream: str | None = None) -> None:
        self.stream = check_name("stream", stream)
        self.dead_stream = dead_stream_of(stream, dead_stream)
        self._redis = stream_client(redis)

    def __len__(self) -> int:
        return int(self._redis.xlen(self.dead_stream))

    def __iter__(self) -> Iterator[DeadLetter]:
        """All letters, oldest first; only a page of them is held in memory."""
        after = b"-"
        while page := self._range(after, b"+", _PAGE):
            yield from map(_parsed, page)
            after = b"(" + page[-1][0]

    def __getitem__(self, letter_id: str) -> DeadLetter:
        """The letter of this id. Raises KeyError if it is not there, ValueError for no id."""
        check_entry_id("letter_id", letter_id)
        found = self._range(letter_id, letter_id, 1)
        if not found:
            raise KeyError(
                f"no dead letter {letter_id} in {self.dead_stream}: it was never there, or it "
                "was sent back already"
            )
        return _parsed(found[0])

    def redrive(
        self,
        *letter_ids: str,
        repair: Callable[[DeadLetter], Message] | None = None,
    ) -> list[str]:
        """Write these letters to their stream again, and remove them. Returns the new ids.

        repair: makes the message to write; None writes the original fields as they are

        Each letter is written and removed in one MULTI/EXEC: when this is interrupted, a
        letter is either back in the stream or still here, so call it again with those that
        are left. Raises KeyError for an id that is not here, ValueError for what is no id,
        and whatever `repair` raises,
        before any is touched. A trimmed letter cannot be sent without `repair`.

        The entry is new to every group of the stream, also to those that handled the
        original: let them be idempotent.
        """
        letters = [self[letter_id] for letter_id in dict.fromkeys(letter_ids)]
        fields = [_fields_to_send(letter, repair) for letter in letters]
        return list(map(self._send_back, letters, fields))

    def _send_back(self, letter: DeadLetter, fields: list[bytes]) -> str:
        def write(pipeline: Pipeline) -> None:
            if not pipeline.xrange(self.dead_stream, letter.letter_id, letter.letter_id):
                raise KeyError(f"dead letter {letter.letter_id} was sent back by somebody else")
            if kind := _kind_of_no_stream(pipeline, self.stream):  # XDEL would be run as well
                raise ValueError(
                    f"dead letters cannot go back to {self.stream!r}: it is a {kind} and not "
                    "a stream. Rename it"
                )
            pipeline.multi()
            pipeline.execute_command("XADD", self.stream, "*", *fields)
            pipeline.xdel(self.dead_stream, letter.letter_id)

        written, _ = cast(list[Any], self._redis.transaction(write, self.dead_stream))
        return str(written.decode())

    def _range(self, first: str | bytes, last: str | bytes, count: int) -> list[RawEntry]:
        reply: list[RawEntry] = self._redis.execute_command(
            "XRANGE", self.dead_stream, first, last, "COUNT", count
        )
        return reply


def dead_stream_of(stream: str, dead_stream: str | None) -> str:
    """Where the dead letters of `stream` go: `<stream>:dead` if nobody says otherwise.

    On a Redis Cluster both must be in one slot, which a hash tag in the stream's name does:
    `{orders}` and `{orders}:dead`.
    """
    if dead_stream is None:
        return f"{stream}:dead"
    if check_name("dead_stream", dead_stream) == stream:
        raise ValueError(
            f"dead_stream is the stream itself: {stream!r}; its dead letters would be "
            "delivered again. Name another one, or leave it out"
        )
    return dead_stream


def _flat_reasons(letter: DeadLetter) -> list[str | int | bytes]:
    return [
        "dead:stream", letter.stream,
        "dead:id", letter.entry_id,
        "dead:group", letter.group,
        "dead:consumer", letter.consumer,
        "dead:deliveries", letter.deliveries,
        "dead:reason", letter.reason,
        "dead:error", letter.error[:_LONGEST_ERROR].encode(errors="replace"),
        "dead:at", letter.at.isoformat(),
    ]  # fmt: skip


def _parsed(entry: RawEntry) -> DeadLetter:
    letter_id, flat = entry
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    # The last eight: an original entry may have had fields of these names too.
    said = {name.decode(errors="replace"): value.decode() for name, value in pairs[-8:]}
    try:
        return DeadLetter(
            letter_id=letter_id.decode(),
            stream=said["dead:stream"],
            entry_id=said["dead:id"],
            group=said["dead:group"],
            consumer=said["dead:consumer"],
            deliveries=int(said["dead:deliveries"]),
            reason=Reason(said["dead:reason"]),
            error=said["dead:error"],
            at=datetime.fromisoformat(said["dead:at"]).astimezone(UTC),
            fields=tuple(pairs[:-8]),
        )
    except KeyError as missing:
        raise ValueError(
            f"entry {letter_id.decode()} is no dead letter: it has no {missing}"
        ) from None


def _fields_to_send(
    letter: DeadLetter, repair: Callable[[DeadLetter], Message] | None
) -> list[bytes]:
    if repair is not None:
        return [FIELD, repair(letter).to_bytes()]
    if not letter.fields:
        raise ValueError(
            f"dead letter {letter.letter_id} lost its data, {letter.error}: there is nothing "
            "to send. Give a repair that makes the message anew"
        )
    return [part for pair in letter.fields for part in pair]
