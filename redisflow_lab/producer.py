"""RedisStreamProducer: writes messages to a stream, one at a time or pipelined in batches."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from itertools import islice
from time import monotonic
from types import MappingProxyType
from typing import Any, NamedTuple

from redis import Redis, RedisCluster
from redis.exceptions import NoPermissionError, RedisError

from redisflow_lab._internal.backoff import Backoff, retried
from redisflow_lab._internal.checks import check_name, check_positive, check_seconds, name_part
from redisflow_lab._internal.connection import stream_client
from redisflow_lab._internal.guarded_log import GuardedLog
from redisflow_lab._internal.hooks import guarded
from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.scripts import (
    MAX_ARGUMENTS,
    ScriptRefusedError,
    script_command,
    telling_refusals,
)
from redisflow_lab._internal.slot import check_one_slot
from redisflow_lab._internal.trimmer import Trimmer
from redisflow_lab._internal.wire import Command, CommandPipe, round_trip
from redisflow_lab.codec import MESSAGE_CODEC, Codec, check_codec, encoder_of
from redisflow_lab.events import Published, PublishHook
from redisflow_lab.message import FIELD, TYPE, Message
from redisflow_lab.retention import Retention

log = GuardedLog(__name__)

REMEMBER_S = 24 * 3_600
"""How long an idempotency key is remembered, in seconds."""

# A script, because XADD and SET must happen together: if a producer crashed between the two, it
# would leave an entry without its deduplication key (`mark`), and a retry would write it again.
#
# The mark may outlive its entry, which may be trimmed, but it must not outlive its stream. The
# script recognises a stream that was deleted and created again: fewer entries were added to it
# than when the mark was set, or the entry is missing although no entry was removed.
#
# If the producer waits for replicas (ARGV[2] is above 0), the mark is written again, as it is:
# WAIT is about the last write of its connection, and a repetition on a new one has none.
_ADD_ONCE = """
local function added()
  local info, of = redis.pcall('XINFO', 'STREAM', KEYS[1]), {}
  if info['err'] and not string.find(info['err'], 'no such key') then error(info['err']) end
  for i = 1, #info, 2 do of[info[i]] = info[i + 1] end
  return of['entries-added'] or 0, of['length'] or 0
end
local mark = redis.call('GET', KEYS[2])
local now_added, length = added()  -- before anything is written, because it may be refused
if mark then
  local id, then_added = string.match(mark, '^(%S+) (%d+)$')
  if not id then
    return redis.error_reply('ERR the key ' .. KEYS[2] .. ' is not the deduplication key '
      .. 'of a keyed publish: another program has written it')
  end
  local found = #redis.call('XRANGE', KEYS[1], id, id) > 0
  if now_added >= tonumber(then_added) and (found or now_added > length) then
    if tonumber(ARGV[2]) > 0 then redis.call('SET', KEYS[2], mark, 'KEEPTTL') end
    return id
  end
end
local id = redis.call('XADD', KEYS[1], unpack(ARGV, 3))
redis.call('SET', KEYS[2], id .. ' ' .. string.format('%d', now_added + 1), 'EX', ARGV[1])
return id
"""


_LONGEST_WAIT_MS = 4_000
"""Below the 5 s after which a connection is taken for broken."""


class NotReplicatedError(RedisError):
    """Raised if an entry was written, and too few replicas have confirmed in time.

    entry_id: of the entry, which is in the stream of the primary
    replicas: how many have confirmed
    """

    def __init__(
        self, entry_id: str, replicas: int, wanted: int, wait_ms: int, *, has_key: bool
    ) -> None:
        self.entry_id, self.replicas = entry_id, replicas
        again = (
            "Publish it again with the same key, which writes nothing twice and waits again"
            if has_key
            else "It has no key, so publishing it again writes a second entry: give each "
            "message that must be on a replica a key"
        )
        super().__init__(
            f"{entry_id} was written, but within {wait_ms:,} ms {replicas} of {wanted} "
            f"replicas have confirmed it: a failover may lose it. {again}"
        )


class _Sent(NamedTuple):
    """A batch that was sent, and not answered yet."""

    messages: int
    at: float


class RedisStreamProducer:
    """Writes messages to one stream.

    redis:      a client of the server, or of the cluster. The producer opens connections of
                its own with the same address and credentials, in a cluster to the node that
                owns the stream
    stream:     the key of the stream; the first message creates it
    maxlen:     trim the stream to about this many entries with each write, oldest first,
                whether they have been consumed or not (default: None, keep all). Redis trims
                whole nodes of entries, so some more may remain:
                https://redis.io/docs/latest/commands/xadd/
    retention:  trim the stream from time to time, by age or by what every group has
                acknowledged, and never what is pending (default: None, keep all)
    codec:      how messages are encoded (default: a `Message` as a StreamMessage)
    on_publish: called with a `Published` after each attempt to write: a message, or a batch of
                `publish_many`. What it raises is logged, and has no effect on the write

    A write without a key is never retried. If the connection breaks, it raises
    redis.ConnectionError or redis.TimeoutError, and the message may or may not have been
    written: the caller decides whether to publish it again and risk a duplicate. A write with
    a key is retried, and the message is still written only once.
    """

    def __init__(
        self,
        redis: Redis | RedisCluster,
        stream: str = "messages",
        *,
        maxlen: int | None = None,
        retention: Retention | None = None,
        codec: Codec[Any] = MESSAGE_CODEC,
        on_publish: PublishHook | None = None,
    ) -> None:
        self.stream = check_name("stream", stream)
        self._given, self._redis = redis, stream_client(redis, self.stream)
        check_codec(codec)
        self._on_publish = guarded("on_publish", on_publish)
        self._trimmer = Trimmer(self._redis, self.stream, retention) if retention else None
        self._encode = encoder_of(codec)
        trim = () if maxlen is None else ("MAXLEN", "~", check_positive("maxlen", maxlen))
        self._trim = trim
        self._may_wait = False

    def publish(
        self,
        message: Any,
        *,
        key: str | None = None,
        type: str | None = None,  # noqa: A002  # the name of the field
        fields: Mapping[str | bytes, str | bytes] = MappingProxyType({}),
        retry_for_s: float = 5.0,
        wait_replicas: int = 0,
        wait_ms: int = 1_000,
    ) -> str:
        """Write one message and return its entry id, such as "1730671200000-0".

        message:     a `Message`, or what the codec encodes
        key:         an idempotency key that identifies this message, such as the order number
                     (default: None). For one day, while the stream exists, publishing again
                     with the same key and the same `message.producer` (if it has one) writes
                     nothing, and returns the id of the first entry. Each key takes about 120
                     bytes of the server's memory. A server that may evict keys
                     (`maxmemory-policy` other than `noeviction`) may forget it earlier
        type:        the type of the message, such as "order.placed", by which a `Router` finds
                     its handler (default: None, the entry has no type)
        fields:      other fields of the entry, such as a trace id. A consumer finds them in
                     `Delivery.fields`
        retry_for_s: with a key, transient errors are retried with exponential backoff. The
                     last try begins at most this many seconds after the first. A try takes at
                     most 10 s: 5 s to connect, and 5 s for the reply
        wait_replicas: return only when at least so many replicas have the entry in their
                     memory; it may reach their disks a second later (default: 0, do not
                     wait). A failover to one of these keeps it; one to a replica that has not
                     received it does not. https://redis.io/docs/latest/commands/wait/
        wait_ms:     how long to wait for them (default: a second)

        Raises NotReplicatedError if fewer replicas have confirmed in time. The entry is in the
        stream then, and consumers may have handled it: WAIT takes nothing back.
        """
        own = _own_fields(type)
        values = [*own, self._encode(message), *_flat(fields, own)]
        check_seconds("retry_for_s", retry_for_s)
        wait = None if wait_replicas == 0 else _wait_command(wait_replicas, wait_ms)
        if key is None:
            xadd = ("XADD", self.stream, *self._trim, "*")
            replies = self._attempt(lambda: self._write_now((*xadd, *values), wait))
        else:
            key = check_name("key", key)
            producer = message.producer if isinstance(message, Message) else ""
            replies = self._retried(
                lambda: self._add_once(producer, key, values, wait), key, retry_for_s
            )
        entry_id: str = replies[0].decode()
        if wait and replies[1] < wait_replicas:
            raise NotReplicatedError(
                entry_id, replies[1], wait_replicas, wait_ms, has_key=key is not None
            )
        log.debug("wrote %s to %s", entry_id, self.stream)
        if self._trimmer is not None:
            self._trimmer.trim_if_due()
        return entry_id

    def publish_many(
        self,
        messages: Iterable[Any],
        *,
        type: str | None = None,  # noqa: A002  # the name of the field
        batch_size: int = 500,
    ) -> list[str]:
        """Write messages in order, in pipelined batches, and return their entry ids in order.

        messages:   any iterable, such as a generator; it is consumed as the batches are written
        type:       the type of all these messages, as for `publish`
        batch_size: messages to send in one packet (default: 500)

        One batch is in flight while the next is packed, so at most two batches are in memory,
        besides the returned ids. One connection stays open for the whole call: an iterable
        that pauses for longer than the server's `timeout` setting loses it.

        This is not a transaction, and nothing is retried. Entries of other producers may be
        written in between. After an error, the stream holds the beginning of `messages`:

        - If an item is not a Message, TypeError is raised; the iterable may also raise an error
          of its own. All batches before the current one are written, and nothing of that one.
        - When the server refuses a write or the connection breaks, redis.ResponseError,
          redis.ConnectionError or redis.TimeoutError is raised. The last two batches taken
          from `messages` may have been written in full, in part or not at all, and so may
          those of an interrupted call (KeyboardInterrupt). All batches before them are written.
        """
        check_positive("batch_size", batch_size)
        xadd = ("XADD", self.stream, *self._trim, "*", *_own_fields(type))
        source = iter(messages)
        entry_ids: list[str] = []
        sent: deque[_Sent] = deque()
        try:
            with closing(CommandPipe(self._redis)) as pipe:
                while True:
                    try:
                        batch = [self._encode(each) for each in islice(source, batch_size)]
                    except Exception:
                        self._receive_ids(pipe, sent, leave=0)  # those are still written
                        raise
                    if not batch:
                        entry_ids += self._receive_ids(pipe, sent, leave=0)
                        return entry_ids
                    sent.append(_Sent(len(batch), monotonic()))
                    pipe.send_each(xadd, batch)
                    entry_ids += self._receive_ids(pipe, sent, leave=1)
        except RedisError as error:
            for unanswered in sent:
                self._report(*unanswered, error)
            raise

    def _receive_ids(self, pipe: CommandPipe, sent: deque[_Sent], *, leave: int) -> list[str]:
        """Return the ids of the oldest batches in flight, until `leave` batches remain."""
        entry_ids: list[str] = []
        while pipe.in_flight > leave:
            written = [entry_id.decode() for entry_id in pipe.receive()]
            log.debug("wrote %d to %s: %s", len(written), self.stream, written)
            self._report(*sent.popleft())
            entry_ids += written
        if self._trimmer is not None and entry_ids:
            self._trimmer.trim_if_due()
        return entry_ids

    def _attempt(self, write: Callable[[], Any]) -> Any:
        """Write one message, and report how that went."""
        began_at = monotonic()
        try:
            reply = write()
        except RedisError as error:
            self._report(1, began_at, error)
            raise
        self._report(1, began_at)
        return reply

    def _report(self, messages: int, at: float, error: RedisError | None = None) -> None:
        if self._on_publish is not None:
            self._on_publish(Published(self.stream, messages, monotonic() - at, error))

    def _retried(self, write: Callable[[], Any], key: str, retry_for_s: float) -> Any:
        who = f"key {printable(key)} to {printable(self.stream)}"
        return retried(
            lambda: self._attempt(write), retry_for_s, Backoff(log, who), self._redis
        )

    def _write_now(self, xadd: Command, wait: Command | None) -> list[Any]:
        if wait:
            self._check_may_wait()
        return self._write(xadd, wait)

    def _write(self, command: Command, wait: Command | None) -> list[Any]:
        """The id of the entry, and how many replicas have it if we `wait` for them."""
        return round_trip(self._redis, [command] if wait is None else [command, wait])

    def _check_may_wait(self) -> None:
        """Raise NoPermissionError before anything is written, rather than after each write."""
        if self._may_wait:
            return
        try:
            self._redis.execute_command("WAIT", 0, 1)  # for no replica: answers at once
        except NoPermissionError as error:
            raise NoPermissionError(
                f"wait_replicas needs the command WAIT, and this user may not run it: {error}. "
                "Allow it. Nothing was written"
            ) from None
        self._may_wait = True

    def _add_once(
        self, producer: str, key: str, values: list[str | bytes], wait: Command | None
    ) -> list[Any]:
        if len(values) > MAX_ARGUMENTS - 10:
            raise ValueError(
                f"an entry of {len(values) // 2:,} fields cannot be written with a key: a "
                f"script takes {MAX_ARGUMENTS:,} arguments. Put them into the message"
            )
        if wait:
            self._check_may_wait()
        mark = ":".join([self.stream, "published", name_part(producer), name_part(key)])
        check_one_slot(self._given, self.stream, mark)
        try:
            with telling_refusals():
                add = script_command(
                    _ADD_ONCE, [self.stream, mark],
                    REMEMBER_S, wait[1] if wait else 0, *self._trim, "*", *values,
                )  # fmt: skip
                return self._write(add, wait)
        except ScriptRefusedError as error:
            raise NoPermissionError(
                f"publish with a key runs a script, and this user may not: {error}. Allow it "
                "EVAL, GET, SET, XADD, XRANGE and XINFO STREAM, or publish without a key"
            ) from None


def _wait_command(replicas: int, ms: int) -> Command:
    if check_positive("wait_ms", ms) > _LONGEST_WAIT_MS:
        raise ValueError(
            f"wait_ms must be at most {_LONGEST_WAIT_MS:,}, not {ms}: a connection that is "
            "silent for longer counts as broken. Publish again with the same key to go on "
            "waiting"
        )
    return ("WAIT", check_positive("wait_replicas", replicas), ms)


def _own_fields(type_name: str | None) -> tuple[str | bytes, ...]:
    """The fields that the producer writes, up to the value of `data`.

    Always in this order: a server stores the names once for entries that have the same ones.
    """
    if type_name is None:
        return (FIELD,)
    return (TYPE, check_name("type", type_name), FIELD)


def _flat(
    fields: Mapping[str | bytes, str | bytes], own: tuple[str | bytes, ...]
) -> list[str | bytes]:
    """Names and values in turn. Raises ValueError for a name that the producer writes."""
    if not isinstance(fields, Mapping):
        raise TypeError(
            f"fields must be a mapping, not {type(fields).__name__}: {fields!r:.80}"
        )
    if FIELD in fields or FIELD.decode() in fields:
        raise ValueError(
            f"the field {FIELD.decode()!r} carries the message; name yours otherwise"
        )
    if TYPE in own and (TYPE in fields or TYPE.decode() in fields):
        raise ValueError(
            f"the field {TYPE.decode()!r} is given twice, as type and in fields: give it once"
        )
    return [part for pair in fields.items() for part in pair]
