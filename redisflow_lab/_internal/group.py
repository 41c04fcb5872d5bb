"""The commands of one consumer in its group, with one method for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import ResponseError

from redisflow_lab._internal.entry import Entry
from redisflow_lab._internal.scripts import ScriptRefusedError, run_script
from redisflow_lab._internal.wire import Command, round_trip

START = b"0-0"
"""An id before every entry, and the cursor at which a scan of the pending list begins."""
LAST = b"%d-%d" % (2**64 - 1, 2**64 - 1)
"""The last id that an entry can have."""
_AFTER_ALL = b"%d-%d" % (2**64 - 1, 2**64 - 2)
"""The last id that an entry can follow. For `LAST` itself, the server starts from the first
entry again."""

# Each script checks that entries are still pending with this consumer and acts on them in
# one step. With two commands, another consumer could claim an entry in between.
# XCLAIM drops a trimmed entry from the pending list. So the scripts do not claim trimmed
# entries: these stay pending until their dead letter is written.
_REDELIVER = """
local group, consumer, before, count = ARGV[1], ARGV[2], ARGV[3], #ARGV - 3
local pending = redis.call('XPENDING', KEYS[1], group, ARGV[4], ARGV[#ARGV],
                           count + 1, consumer)
if #pending ~= count then return false end
local deliveries = {}
for i, row in ipairs(pending) do
  if row[1] ~= ARGV[i + 3] then return false end
  deliveries[i] = math.min(row[4], 2^53) + 1  -- XNACK FATAL sets 2^63 - 1, beyond Lua
end
local entries = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', count,
                           'STREAMS', KEYS[1], before)[1][2]
-- This read raises the delivery count in memory only. A claim propagates it to the
-- append-only file and to replicas.
local claim = {'XCLAIM', KEYS[1], group, consumer, 0}
for _, entry in ipairs(entries) do
  if entry[2] then claim[#claim + 1] = entry[1] end
end
if #claim > 5 then
  claim[#claim + 1] = 'JUSTID'
  redis.pcall(unpack(claim))  -- an error here would leave a delivery counted and not made
end
return {entries, deliveries}
"""
_RENEW = """
local group, consumer, idle, renewed, trimmed = ARGV[1], ARGV[2], ARGV[3], {}, {}
for i = 4, #ARGV, 2 do
  local id = ARGV[i]
  if #redis.call('XPENDING', KEYS[1], group, id, id, 1, consumer) > 0 then
    if #redis.call('XRANGE', KEYS[1], id, id) > 0 then
      local claim = {'XCLAIM', KEYS[1], group, consumer, 0, id, 'IDLE', idle, 'JUSTID'}
      if ARGV[i + 1] ~= '' then
        claim[#claim + 1] = 'RETRYCOUNT'
        claim[#claim + 1] = ARGV[i + 1]
      end
      redis.call(unpack(claim))
      renewed[#renewed + 1] = id
    else
      trimmed[#trimmed + 1] = id
    end
  end
end
return {renewed, trimmed}
"""
# Deleting a consumer deletes its pending entries, even if another process uses the same name.
_REMOVE_IF_NOTHING_IS_PENDING = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[3]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[3])
return 1
"""


NO_COUNTS: Mapping[bytes, int] = MappingProxyType({})


class Pending(NamedTuple):
    """A row of XPENDING: an entry's id, and how often it has been delivered."""

    id: bytes
    deliveries: int


class _Owned(NamedTuple):
    """A row of XPENDING with the time since its last delivery."""

    id: bytes
    idle_ms: int
    deliveries: int


class Group:
    """Consumer `consumer` of the consumer group `group` on `stream`. Keeps no other state.

    redis: a client of the consumer's own (`connection.stream_client`)

    Each method raises redis.RedisError, NOGROUP included.
    """

    def __init__(self, redis: Redis, stream: str, group: str, consumer: str) -> None:
        self._redis = redis
        self.stream, self.group, self.consumer = stream, group, consumer

    def create(self) -> bool:
        """XGROUP CREATE, and the stream with it. False if the group already exists.

        It starts at `0`, before the first entry. redis-py's default, `$`, would skip everything
        written until now: https://redis.io/docs/latest/commands/xgroup-create/
        """
        try:
            self._redis.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
            return False
        return True

    def register(self) -> None:
        """Add this consumer to the group, so that XINFO CONSUMERS lists it from now on.

        Sends an XREADGROUP for pending entries beyond the last possible id, which returns
        nothing. Otherwise Valkey would list the consumer at its first read, and Redis when it
        is given its first entry. XGROUP CREATECONSUMER would need one more permission. Raises
        ResponseError (NOGROUP) if the group does not exist.
        """
        self._ask(
            "XREADGROUP", "GROUP", self.group, self.consumer, "COUNT", 1,
            "STREAMS", self.stream, _AFTER_ALL,
        )  # fmt: skip

    def read_new(self, count: int, block_ms: int) -> list[Entry]:
        """XREADGROUP with `>`: up to `count` entries that were not delivered to the group yet.

        Waits for the first one, `block_ms` at most.
        """
        return delivered_by(self._ask(*self.read_command(count, "BLOCK", block_ms)))

    def read_command(self, count: int, *options: str | int) -> Command:
        """XREADGROUP with `>`, to send with other commands; `delivered_by` reads its reply."""
        return (
            "XREADGROUP", "GROUP", self.group, self.consumer, "COUNT", count, *options,
            "STREAMS", self.stream, ">",
        )  # fmt: skip

    def acknowledge(self, ids: Sequence[bytes]) -> None:
        """XACK: these entries are no longer pending."""
        self._ask(*self.ack_command(ids))

    def ack_command(self, ids: Sequence[bytes]) -> Command:
        """XACK, to send with other commands."""
        return ("XACK", self.stream, self.group, *ids)

    def pending_after(self, entry_id: bytes, count: int) -> list[Pending]:
        """XPENDING: this consumer's pending entries after `entry_id`, oldest first."""
        if entry_id == LAST:
            return []  # the server refuses an id beyond the last one
        rows = self._ask(
            "XPENDING", self.stream, self.group, b"(" + entry_id, "+", count, self.consumer
        )
        return [Pending(entry_id, deliveries) for entry_id, _, _, deliveries in rows]

    def pending_of(self, ids: Sequence[bytes]) -> list[Pending]:
        """XPENDING of each id, in one round trip, for those pending with this consumer."""
        rows = round_trip(
            self._redis,
            [("XPENDING", self.stream, self.group, id_, id_, 1, self.consumer) for id_ in ids],
        )
        return [Pending(row[0][0], row[0][3]) for row in rows if row]

    def claim_idle(
        self, min_idle_ms: int, cursor: bytes, count: int
    ) -> tuple[bytes, list[bytes], list[bytes]]:
        """XAUTOCLAIM JUSTID: claim up to `count` entries that are idle, from any owner.

        min_idle_ms: how long an entry must be idle

        Returns the cursor for the next call, the ids claimed, and the ids of trimmed entries,
        which the server has dropped from the pending list. With JUSTID this does not count as
        a delivery. The server examines up to ten times `count` entries in one call.
        https://redis.io/docs/latest/commands/xautoclaim/
        """
        next_cursor, claimed, trimmed = self._ask(
            "XAUTOCLAIM", self.stream, self.group, self.consumer, min_idle_ms, cursor,
            "COUNT", count, "JUSTID",
        )  # fmt: skip
        return next_cursor, claimed, trimmed

    def redeliver(self, ids: Sequence[bytes]) -> list[Entry] | None:
        """Redeliver these in one step. This counts as a delivery, also after a failover.

        Does nothing and returns None unless they are exactly the entries that are pending with
        this consumer from the first id to the last. Otherwise another consumer has claimed or
        acknowledged one of them, or there is another entry between them. `ids` must be in
        order, and at most 1,000.
        """
        try:
            reply = self._run(_REDELIVER, id_before(ids[0]), *ids)
        except ScriptRefusedError:
            return self._redeliver_by_claim(ids)
        if reply is None:
            return None
        return [
            Entry(entry_id, fields, deliveries)
            for (entry_id, fields), deliveries in zip(*reply, strict=True)
        ]

    def renew(
        self, ids: Sequence[bytes], idle_ms: int, counts: Mapping[bytes, int] = NO_COUNTS
    ) -> tuple[list[bytes], list[bytes]]:
        """Set the idle time of those that are still pending with this consumer.

        counts: delivery counts to set, by id; all other entries keep theirs

        Returns their ids, and separately the ids of trimmed entries, which are pending, but
        whose idle time cannot be set. This does not count as a delivery (XCLAIM JUSTID):
        https://redis.io/docs/latest/commands/xclaim/
        """
        try:
            pairs = [part for id_ in ids for part in (id_, counts.get(id_, ""))]
            renewed, trimmed = self._run(_RENEW, idle_ms, *pairs)
        except ScriptRefusedError:
            owned, gone = self._owned(ids)
            trimmed = [row.id for row in gone]
            replies = self._claim_untouched(owned, "IDLE", idle_ms, "JUSTID", counts=counts)
            renewed = [entry_id for reply in replies for entry_id in reply]
        return renewed, trimmed

    def idle_consumers(self, idle_ms: int) -> list[bytes]:
        """XINFO CONSUMERS: other names that were idle for `idle_ms`, with nothing pending."""
        rows = self._redis.xinfo_consumers(self.stream, self.group)
        return [
            row["name"]
            for row in rows
            if not row["pending"]
            and row["idle"] >= idle_ms
            and row["name"] != self.consumer.encode()
        ]

    def remove_consumer(self, name: str | bytes) -> bool:
        """XGROUP DELCONSUMER, if nothing is pending under it. True if it was removed.

        The name stays if the user may not do this, or may not run scripts. With two commands,
        an entry that is delivered in between, to another process with this name, would be lost.
        """
        try:
            return bool(self._run(_REMOVE_IF_NOTHING_IS_PENDING, name))
        except ScriptRefusedError:
            return False

    def _run(self, script: str, *arguments: bytes | str | int) -> Any:
        return run_script(
            self._redis, script, [self.stream], self.group, self.consumer, *arguments
        )

    def _redeliver_by_claim(self, ids: Sequence[bytes]) -> list[Entry]:
        """`redeliver` without a script, for those still pending with this consumer."""
        owned, trimmed = self._owned(ids)
        replies = self._claim_untouched(owned)
        claimed = [
            Entry(entry_id, fields, row.deliveries + 1)
            for row, reply in zip(owned, replies, strict=True)
            for entry_id, fields in reply
        ]
        return sorted(
            [*claimed, *(Entry(row.id, None, row.deliveries) for row in trimmed)],
            key=lambda entry: ids.index(entry.id),
        )

    def _owned(self, ids: Sequence[bytes]) -> tuple[list[_Owned], list[_Owned]]:
        """Those of `ids` that are pending with this consumer; the trimmed ones separately."""
        stream, group, consumer = self.stream, self.group, self.consumer
        replies = round_trip(
            self._redis,
            [
                command
                for id_ in ids
                for command in (
                    ("XPENDING", stream, group, id_, id_, 1, consumer),
                    ("XRANGE", stream, id_, id_),
                )
            ],
        )
        owned: list[_Owned] = []
        trimmed: list[_Owned] = []
        for rows, entries in zip(replies[::2], replies[1::2], strict=True):
            for entry_id, _, idle_ms, deliveries in rows:
                row = _Owned(entry_id, idle_ms, deliveries)
                (owned if entries else trimmed).append(row)
        return owned, trimmed

    def _claim_untouched(
        self,
        owned: list[_Owned],
        *options: str | int,
        counts: Mapping[bytes, int] = NO_COUNTS,
    ) -> list[Any]:
        """XCLAIM each entry, unless another consumer has claimed it since `_owned` looked.

        Such a claim resets the idle time of an entry, and this XCLAIM requires at least the
        idle time that `_owned` saw. It fails to notice only if the two commands are
        `min_idle_ms` apart.
        """
        command = ("XCLAIM", self.stream, self.group, self.consumer)
        return round_trip(
            self._redis,
            [
                (*command, row.idle_ms, row.id, *options, *_retry_count(counts, row.id))
                for row in owned
            ],
        )

    def _ask(self, *command: str | bytes | int) -> Any:
        (reply,) = round_trip(self._redis, [command])
        return reply


def _retry_count(counts: Mapping[bytes, int], entry_id: bytes) -> tuple[str | int, ...]:
    return ("RETRYCOUNT", counts[entry_id]) if entry_id in counts else ()


def delivered_by(reply: Any) -> list[Entry]:
    """The entries in a reply of XREADGROUP with `>`: each is delivered for the first time."""
    return entries_of(reply[0][1]) if reply else []


def entries_of(rows: Any) -> list[Entry]:
    """The entries of one stream in such a reply."""
    return [Entry(entry_id, fields, 1) for entry_id, fields in rows]


def id_before(entry_id: bytes) -> bytes:
    """The greatest id below this one, because XREADGROUP reads what comes after an id."""
    milliseconds, number = map(int, entry_id.split(b"-"))
    return b"%d-%d" % ((milliseconds, number - 1) if number else (milliseconds - 1, 2**64 - 1))
