"""Dead letters: reads and redrives the messages that consumers have dead-lettered.

A dead letter is an entry of the dead-letter stream, `<stream>:dead`. It has the fields of the
original entry, unchanged, followed by eight fields that say why it was dead-lettered.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

from redis import Redis, RedisCluster
from redis.exceptions import NoPermissionError, ResponseError

from redisflow_lab._internal.checks import check_entry_id, check_name
from redisflow_lab._internal.connection import stream_client
from redisflow_lab._internal.group import LAST
from redisflow_lab._internal.guarded_log import GuardedLog
from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.scripts import ScriptRefusedError, run_script
from redisflow_lab._internal.slot import check_one_slot
from redisflow_lab._internal.user_code import check_finished
from redisflow_lab.codec import MESSAGE_CODEC, Codec, check_codec, encoder_of
from redisflow_lab.message import FIELD

RawEntry = tuple[bytes, list[bytes]]
"""An entry as Redis returns it: its id, then field names and values in turn."""

log = GuardedLog(__name__)

_PAGE = 100
_LONGEST_ERROR = 1_000

# A command that fails ends its script. So XACK and XDEL come after the write that must not be
# lost.
DEAD_LETTER_SCRIPT = """
local group, id, owner = ARGV[1], ARGV[2], ARGV[3]
if owner ~= '' and #redis.call('XPENDING', KEYS[1], group, id, id, 1, owner) == 0 then
  return 0
end
local letter = redis.call('XADD', KEYS[2], '*', unpack(ARGV, 4))
local acked = redis.pcall('XACK', KEYS[1], group, id)
if type(acked) == 'table' and acked['err'] then
  redis.pcall('XDEL', KEYS[2], letter)  -- else each try leaves one
  return acked
end
return 1
"""
_REDRIVE = """
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return false end
local id = redis.call('XADD', KEYS[2], '*', unpack(ARGV, 2))
redis.call('XDEL', KEYS[1], ARGV[1])
return id
"""


class Reason(StrEnum):
    """Why an entry was dead-lettered."""

    FAILED = "failed"
    """Its handler raised at the last delivery that `max_deliveries` allows."""
    UNFINISHED = "unfinished"
    """It reached the delivery limit and was never finished: it may kill its processes."""
    UNDECODABLE = "undecodable"
    """It has no field `data`, or the bytes in it are not a StreamMessage."""
    UNKNOWN_TYPE = "unknown-type"
    """The `Router` of the consumer has no handler for its field `type`."""
    TRIMMED = "trimmed"
    """It was trimmed or deleted from the stream while it was pending."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead-lettered entry.

    letter_id:  its id in the dead-letter stream
    stream, entry_id: where the original entry was written, and its id
    group, consumer:  which consumer dead-lettered it
    deliveries: how often it was delivered in that group; 0 if unknown
    reason:     why it was dead-lettered
    error:      the reason in words, at most 1,000 characters
    at:         when, in UTC, by the clock of that consumer
    fields:     (name, value) pairs of the original entry, in order; empty if it was trimmed
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
        """The value of its field `data`; None if it has no such field."""
        return dict(self.fields).get(FIELD)


def dead_letter(redis: Redis, dead_stream: str, letter: DeadLetter) -> bool:
    """Write a dead letter, and only then acknowledge its entry. Returns whether it was done.

    False means that the entry is no longer pending with this consumer: another one has
    claimed it, or it was acknowledged. Check, write and acknowledgement are one script: if
    the write fails, the entry stays pending. An entry that XAUTOCLAIM reported as trimmed is
    no longer in the pending list, so its dead letter is written without the check.

    Where scripts are refused, the same is done with three commands. A crash between them
    leaves the entry pending, and it is dead-lettered a second time later.

    Raises redis.ResponseError if the server refuses the write.
    """
    key, group, entry_id = letter.stream, letter.group, letter.entry_id
    fields = [part for pair in letter.fields for part in pair] + _reason_fields(letter)
    dropped = letter.reason is Reason.TRIMMED and not letter.deliveries
    owner = "" if dropped else letter.consumer
    try:
        arguments = (group, entry_id, owner, *fields)
        return bool(run_script(redis, DEAD_LETTER_SCRIPT, (key, dead_stream), *arguments))
    except ScriptRefusedError:
        pass
    if not dropped and not redis.xpending_range(key, group, entry_id, entry_id, 1, owner):
        return False
    letter_id = redis.execute_command("XADD", dead_stream, "*", *fields)
    try:
        redis.xack(key, group, entry_id)
    except NoPermissionError:
        with suppress(NoPermissionError):
            redis.xdel(dead_stream, letter_id)  # else each try leaves one
        raise
    return True


def check_dead_stream(redis: Redis, dead_stream: str) -> None:
    """Raise ValueError if the key `dead_stream` holds something other than a stream."""
    try:
        kind = cast(bytes, redis.type(dead_stream)).decode()
    except NoPermissionError:
        return  # then writing the first dead letter reports it
    if kind not in ("stream", "none"):
        raise ValueError(
            f"dead letters cannot be written to {dead_stream!r}: it is a {kind} and not a "
            "stream. Rename that key, or give another dead_stream"
        )


class DeadLetters:
    """The dead letters of one stream, from all of its groups.

    Iterate over it, index it by a dead letter's id, or take its `len`, which counts the
    entries of the dead-letter stream.

    redis:       a client of the server, or of the cluster
    stream:      the stream that the original entries were written to
    dead_stream: key of the dead-letter stream (default: `<stream>:dead`)
    codec:       how a repaired message is encoded (default: a `Message` as a StreamMessage)
    """

    def __init__(
        self,
        redis: Redis | RedisCluster,
        stream: str,
        *,
        dead_stream: str | None = None,
        codec: Codec[Any] = MESSAGE_CODEC,
    ) -> None:
        self.stream = check_name("stream", stream)
        self.dead_stream = dead_stream_of(self.stream, dead_stream)
        check_one_slot(redis, self.stream, self.dead_stream)
        self._redis = stream_client(redis, self.stream)
        check_codec(codec)
        self._encode = encoder_of(codec)

    def __len__(self) -> int:
        return int(self._redis.xlen(self.dead_stream))

    def __iter__(self) -> Iterator[DeadLetter]:
        """All dead letters, oldest first, read in pages of 100.

        Skips entries that another program has written there, and logs them.
        """
        after, last = b"-", b""
        while last != LAST and (page := self._range(after, b"+", _PAGE)):
            for entry in page:
                try:
                    letter = _parsed(entry)
                except ValueError as error:
                    log.warning("%s: %s", printable(self.dead_stream), error)
                else:
                    yield letter
            last = page[-1][0]
            after = b"(" + last

    def __getitem__(self, letter_id: str) -> DeadLetter:
        """The dead letter with this id.

        Raises KeyError if there is none, and ValueError if it is not a dead letter.
        """
        check_entry_id("letter_id", letter_id)
        found = self._range(letter_id, letter_id, 1)
        if not found:
            raise KeyError(
                f"no dead letter {letter_id} in {printable(self.dead_stream)}: it was never "
                "there, or it was redriven already"
            )
        return _parsed(found[0])

    def redrive(
        self,
        *letter_ids: str,
        repair: Callable[[DeadLetter], Any] | None = None,
    ) -> list[str]:
        """Write these dead letters to their stream again, and delete them. Returns the new ids.

        repair: returns the message to write instead of the original one (default: write the
                original fields, unchanged)

        One script writes each dead letter to the stream and then deletes it. So if the call is
        interrupted, each one is either back in the stream or still a dead letter: call it
        again with those that are left. Where scripts are refused, two commands do this, and
        after a crash between them a dead letter may be in both.

        Raises, before anything is written,

        - KeyError for an id that is not in the dead-letter stream
        - ValueError for text that is not an entry id, for a dead letter of another stream, and
          without `repair` for a dead letter whose entry was trimmed
        - TypeError if `repair` does not return a message, and what `repair` itself raises

        Each new entry is delivered to every group of the stream, including those that have
        handled the original. So their handlers should be idempotent.
        """
        letters = [self[letter_id] for letter_id in dict.fromkeys(letter_ids)]
        for letter in letters:
            if letter.stream != self.stream:
                raise ValueError(
                    f"dead letter {letter.letter_id} is of the stream "
                    f"'{printable(letter.stream)}', and this is '{printable(self.stream)}'. "
                    "Redrive it with DeadLetters of its own stream"
                )
        fields = [_fields_to_redrive(letter, repair, self._encode) for letter in letters]
        return list(map(self._redrive_one, letters, fields))

    def _redrive_one(self, letter: DeadLetter, fields: list[bytes]) -> str:
        try:
            written = self._write_and_delete(letter.letter_id, fields)
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            raise ValueError(
                f"dead letters cannot be redriven to {self.stream!r}: that key holds something "
                "other than a stream. Rename it"
            ) from None
        if written is None:
            raise KeyError(f"dead letter {letter.letter_id} was redriven meanwhile")
        return written.decode()

    def _write_and_delete(self, letter_id: str, fields: list[bytes]) -> bytes | None:
        """The id of the new entry; None if the dead letter is gone."""
        redis, keys = self._redis, (self.dead_stream, self.stream)
        try:
            return cast(bytes | None, run_script(redis, _REDRIVE, keys, letter_id, *fields))
        except ScriptRefusedError:
            pass
        if not self._range(letter_id, letter_id, 1):
            return None
        written = redis.execute_command("XADD", self.stream, "*", *fields)
        redis.xdel(self.dead_stream, letter_id)
        return cast(bytes, written)

    def _range(self, first: str | bytes, last: str | bytes, count: int) -> list[RawEntry]:
        reply: list[RawEntry] = self._redis.execute_command(
            "XRANGE", self.dead_stream, first, last, "COUNT", count
        )
        return reply


def dead_stream_of(stream: str, dead_stream: str | None) -> str:
    """The key of the dead-letter stream: `dead_stream`, or `<stream>:dead` if that is None.

    On a Redis Cluster both keys must be in one slot: use a hash tag, as in `{orders}` and
    `{orders}:dead`. Raises ValueError if `dead_stream` is the stream itself.
    """
    if dead_stream is None:
        return f"{stream}:dead"
    if check_name("dead_stream", dead_stream) == stream:
        raise ValueError(
            f"dead_stream is the stream itself: {stream!r}; its dead letters would be "
            "delivered again. Name another one, or leave it out"
        )
    return dead_stream


def _reason_fields(letter: DeadLetter) -> list[str | int | bytes]:
    return [
        "dead:stream", letter.stream,
        "dead:id", letter.entry_id,
        "dead:group", letter.group,
        "dead:consumer", letter.consumer,
        "dead:deliveries", letter.deliveries,
        "dead:reason", letter.reason,
        "dead:error", letter.error[:_LONGEST_ERROR].encode(errors="backslashreplace"),
        "dead:at", letter.at.isoformat(),
    ]  # fmt: skip


def _parsed(entry: RawEntry) -> DeadLetter:
    """The dead letter in an entry. Raises ValueError if it is not a dead letter."""
    letter_id, flat = entry
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    try:
        # The last eight: the original entry may have had fields with these names too.
        reasons = {name.decode(): value.decode() for name, value in pairs[-8:]}
        return DeadLetter(
            letter_id=letter_id.decode(),
            stream=reasons["dead:stream"],
            entry_id=reasons["dead:id"],
            group=reasons["dead:group"],
            consumer=reasons["dead:consumer"],
            deliveries=int(reasons["dead:deliveries"]),
            reason=Reason(reasons["dead:reason"]),
            error=reasons["dead:error"],
            at=datetime.fromisoformat(reasons["dead:at"]).astimezone(UTC),
            fields=tuple(pairs[:-8]),
        )
    except (KeyError, ValueError, OverflowError) as error:
        missing = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"entry {letter_id.decode()} is not a dead letter, so another program may have "
            f"written it: {printable(missing, 200)}"
        ) from None


def _fields_to_redrive(
    letter: DeadLetter,
    repair: Callable[[DeadLetter], Any] | None,
    encode: Callable[[Any], bytes],
) -> list[bytes]:
    if repair is not None:
        others = [part for pair in letter.fields if pair[0] != FIELD for part in pair]
        message = repair(letter)
        check_finished("repair", message)
        if message is None:
            raise TypeError(
                "repair returned None; expected a Message, or what the codec encodes"
            )
        return [FIELD, encode(message), *others]
    if not letter.fields:
        raise ValueError(
            f"dead letter {letter.letter_id} has no data ({letter.error}), so there is nothing "
            "to redrive. Give a repair that makes the message again"
        )
    return [part for pair in letter.fields for part in pair]
