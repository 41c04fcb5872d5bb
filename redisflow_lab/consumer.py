"""RedisStreamConsumer: group, replay, take-over, new, acknowledge, dead letters.

Read it in the order a message goes: `ensure_group`, `replay_pending`, `take_over`,
`read_new`, `leave`, and `run`, which is nothing but these in a loop.
"""

import logging
import random
import time
from contextlib import suppress
from datetime import UTC, datetime
from math import inf
from threading import Event as ThreadEvent
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from redisflow_lab.checks import check_handler, check_name, check_positive
from redisflow_lab.connection import stream_client
from redisflow_lab.dead_letters import (
    DeadLetter,
    Reason,
    bury,
    check_dead_stream,
    dead_stream_of,
)
from redisflow_lab.events import Event, Hook, Kind, log_event
from redisflow_lab.events import log as event_log
from redisflow_lab.interfaces import Delivery, Handler
from redisflow_lab.message import FIELD, Message, MessageDecodeError
from redisflow_lab.trouble import Trouble, passing_trouble
from redisflow_lab.wire import Command, Sent, round_trip

log = logging.getLogger(__name__)

RawEntry = tuple[bytes, list[bytes] | None]
"""An entry as XREADGROUP answers it: its id, and its fields and values in turn."""

# Only what the server checks and does in one step is safe from a second process that uses
# the same name: deleting a consumer deletes what is pending with it.
_REMOVE_IF_EMPTY = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
"""


class RedisStreamConsumer:
    """Reads one stream for one group, and acknowledges what was handled.

    redis:     a client of the server; the consumer connects by itself with the same
               address and credentials (`connection.stream_client`)
    stream:    the key
    group:     made if missing, from the first entry on: nothing written before is missed
    name:      of this consumer, and the owner of what it has not acknowledged. None takes
               a random one. **A random name strands messages** until `min_idle_ms` has
               passed: replay finds only what its own name left pending, and the next life
               has another. Give a name that survives a restart and that no other process
               uses at the same time.
    batch:     entries delivered in one read; all of them are pending from then on
    ack_every: acknowledge after this many handled messages, at the end of each read, and
               before somebody else would take over what was handled.
               1 repeats at most one side effect after a crash, n at most n. Above 1, `run`
               reads half a batch ahead
    block_ms:  how long a read waits for new entries, and so how soon `run` sees a stop
    min_idle_ms:    take over what nobody has worked on for this long, also what failed
               with this consumer itself: it is the pause between two tries. Looked for
               every quarter of it. Shorter finds the work of the dead sooner, and robs the
               slow: it must be longer than `time_limit_ms`
    time_limit_ms:  the longest your handler takes for one message; None means half of
               `min_idle_ms`. A handler that takes longer must call `Delivery.heartbeat`
               within this time, each time
    max_deliveries: a message that fails at its n-th delivery goes to the dead letters, and
               so does one that was delivered n times without being finished. With 1 that is
               everything a consumer had in hand when it died, started or not
    dead_stream:    where dead letters go; None means `<stream>:dead`
    on_event:  called with everything that happens to a message (`events.Event`), from the
               thread that handles it

    The handler is at-least-once: after a crash, or after an answer that got lost, it sees
    a message again. A handler that raises leaves its message pending, and the next one is
    handled. An entry that holds no message is never handled: it goes to the dead letters.

    One instance belongs to one thread.
    """

    def __init__(
        self,
        redis: Redis,
        stream: str = "messages",
        group: str = "default-group",
        name: str | None = None,
        *,
        batch: int = 10,
        ack_every: int = 1,
        block_ms: int = 1_000,
        min_idle_ms: int = 60_000,
        time_limit_ms: int | None = None,
        max_deliveries: int = 5,
        dead_stream: str | None = None,
        on_event: Hook | None = None,
    ) -> None:
        self.stream = check_name("stream", stream)
        self.group = check_name("group", group)
        self.name = f"consumer-{uuid4().hex[:12]}" if name is None else check_name("name", name)
        self.dead_stream = dead_stream_of(stream, dead_stream)
        self._batch = check_positive("batch", batch)
        self._ack_every = check_positive("ack_every", ack_every)
        self._block_ms = check_positive("block_ms", block_ms)
        self._min_idle_ms = check_positive("min_idle_ms", min_idle_ms)
        if time_limit_ms is None:
            time_limit_ms = min_idle_ms // 2
        elif check_positive("time_limit_ms", time_limit_ms) >= min_idle_ms:
            raise ValueError(
                f"min_idle_ms is {min_idle_ms}, not above time_limit_ms, {time_limit_ms}: "
                "others would take over messages that are still being handled"
            )
        self._renew_after_s = (min_idle_ms - time_limit_ms) / 1_000
        self._max_deliveries = check_positive("max_deliveries", max_deliveries)
        self._on_event = on_event
        self._redis = stream_client(redis, block_ms=block_ms)
        self._stop = ThreadEvent()  # set by nobody, until `run` puts another in its place
        self._in_hand: list[RawEntry] = []  # delivered, and not all through the handler yet
        self._position = 0  # in there, of the one that is being handled or is next
        self._lost: set[bytes] = set()  # of those, what somebody else took over
        self._trimmed: set[bytes] = set()  # what is pending no more, because it was trimmed
        self._held_at = 0.0  # when their idle time was 0, monotonic seconds
        self._unacked: dict[bytes, int] = {}  # handled, and its deliveries
        self._ahead: Sent | None = None  # a read on its way
        self._next: list[RawEntry] = []  # what it brought
        self._ahead_at = inf  # when their idle time was 0; inf if there are none
        self._scanned_to = b"0-0"  # how far take_over has looked; 0-0 begins anew
        self._next_look = 0.0  # when `run` looks again, monotonic seconds

    def ensure_group(self) -> bool:
        """Make the group, and the stream with it, if it is missing. True if it was made.

        It starts at `0`, before the first entry. The default of redis-py, `$`, would skip
        everything written until now: https://redis.io/docs/latest/commands/xgroup-create/

        Raises ValueError if dead letters could not be written.
        """
        check_dead_stream(self._redis, self.dead_stream)
        try:
            self._redis.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
            return False
        log.info("made group %s on %s, from the first entry", self.group, self.stream)
        return True

    def replay_pending(self, handler: Handler) -> int:
        """Handle again what this name was given and never acknowledged. Returns how many.

        That is what an earlier life left behind, but also what got lost on its way: so it
        belongs at every start, not only after a crash. Each entry is read once, whether
        its handler succeeds or not. Being read again counts as a delivery.
        """
        check_handler(handler)
        replayed = 0
        last: bytes | None = b"0"
        while last and not self._stop.is_set():
            last = self._redeliver(last, handler)
            replayed += last is not None
        self._acknowledge()
        return replayed

    def take_over(self, handler: Handler) -> int:
        """Handle what was pending with any consumer for `min_idle_ms`. Returns how many.

        Claims at most a batch. The server looks at ten times as many pending entries in
        one go, and the next call goes on behind those: from the beginning each time, it
        would never see what stands behind many fresh ones.
        https://redis.io/docs/latest/commands/xautoclaim/
        """
        check_handler(handler)
        self._scanned_to, claimed, trimmed = self._redis.execute_command(
            "XAUTOCLAIM", self.stream, self.group, self.name, self._min_idle_ms,
            self._scanned_to, "COUNT", self._batch, "JUSTID",
        )  # fmt: skip
        for entry_id in trimmed:
            self._give_up(entry_id, None, 0, Reason.TRIMMED, "trimmed while it was pending")
        for entry_id in claimed:
            self._emit(Kind.CLAIMED, entry_id, 0)
        handled = 0
        for position, entry_id in enumerate(claimed):
            if self._stop.is_set():
                self._in_hand, self._position = [(rest, None) for rest in claimed], position
                break
            handled += self._redeliver(_before(entry_id), handler, only=entry_id) is not None
        self._acknowledge()
        return handled

    def read_new(self, handler: Handler) -> int:
        """Handle one batch that nobody in the group was given yet. Returns how many.

        Waits up to `block_ms` for the first entry; 0 if none came.
        """
        check_handler(handler)
        (reply,) = self._ask(self._new_entries(self._batch, "BLOCK", self._block_ms))
        entries: list[RawEntry] = reply[0][1] if reply else []
        self._handle_all(entries, 1, handler)
        self._acknowledge()
        return len(entries)

    def leave(self) -> bool:
        """Remove this name from the group, if nothing is pending with it. True if it is gone.

        What it was given and has not started may be taken over from now on by anybody who
        looks: it counts as idle for `min_idle_ms`.
        """
        self._hold(self._min_idle_ms)
        for entry_id, flat in self._unfinished():
            if entry_id in self._trimmed:
                said = "trimmed before it was handled"
                self._give_up(entry_id, flat, 0, Reason.TRIMMED, said)
        removed = self._redis.eval(_REMOVE_IF_EMPTY, 1, self.stream, self.group, self.name)
        return bool(removed)

    def run(self, handler: Handler, *, stop: ThreadEvent) -> None:
        """Replay, then take over and handle new messages, until `stop` is set; then leave.

        When `stop` is set, the message in hand is finished and acknowledged, and none is
        started after it. Trouble that passes by itself is sat out: a lost connection, a
        server that restarts, loads, fails over, is full, busy or cannot write to its disk, a
        group that vanished. The rest, a refused password for one, is raised.
        """
        check_handler(handler)
        trouble = Trouble(log, f"{self.name} of {self.group} on {self.stream}")
        self._forget_ahead()  # an interrupt may have ended an earlier run
        self._stop = stop
        try:
            while not stop.is_set():
                try:
                    self.ensure_group()
                    self.replay_pending(handler)
                    while not stop.is_set():
                        trouble.over()
                        self._take_over_if_due(handler)
                        if not stop.is_set():
                            self._read_on(handler)
                except RedisError as error:
                    self._in_hand = []
                    self._forget_ahead()
                    self._redis.connection_pool.disconnect()
                    trouble.sit_out(error, stop)
        finally:
            self._stop = ThreadEvent()
        try:
            self.leave()
        except RedisError as error:
            if passing_trouble(error) is None:
                raise
            log.warning("%s left without a word to the server: %s", self.name, error)

    def _take_over_if_due(self, handler: Handler) -> None:
        if time.monotonic() < self._next_look:
            return
        self.take_over(handler)
        if self._scanned_to == b"0-0":  # it has been through the whole pending list
            pause_s = self._min_idle_ms / 4 / 1_000
            # Not all at once, when many consumers were started together.
            self._next_look = time.monotonic() + pause_s * random.uniform(0.75, 1.25)

    def _until_next_look_ms(self) -> int:
        until = (self._next_look - time.monotonic()) * 1_000
        return max(1, min(self._block_ms, int(until)))

    def _read_on(self, handler: Handler) -> None:
        """Handle the next new entries, as `read_new` does.

        By `ack_every`, half a batch is read ahead while the other half is handled, as long
        as there is more: server and handler work at the same time.
        """
        reads_ahead = self._ack_every > 1 and self._batch > 1
        count = self._batch // 2 if reads_ahead else self._batch
        if not self._ahead and not self._next:
            self._send_ahead(count, "BLOCK", self._until_next_look_ms())
        self._receive_ahead()
        entries, held_at = self._next, self._ahead_at
        self._next, self._ahead_at = [], inf
        if reads_ahead and len(entries) == count:
            self._send_ahead(count)
        self._handle_all(entries, 1, handler, held_at=held_at)
        self._acknowledge()

    def _send_ahead(self, count: int, *options: str | int) -> None:
        self._ahead_at = time.monotonic()
        self._ahead = Sent(self._redis, [self._new_entries(count, *options)])

    def _receive_ahead(self) -> None:
        if self._ahead:
            sent, self._ahead = self._ahead, None
            (reply,) = sent.replies()
            self._next = reply[0][1] if reply else []

    def _forget_ahead(self) -> None:
        """Leave it to the replay, which finds also what was delivered and did not arrive."""
        if self._ahead:
            self._ahead.abandon()
        self._ahead, self._next, self._ahead_at = None, [], inf

    def _new_entries(self, count: int, *options: str | int) -> Command:
        return (
            "XREADGROUP", "GROUP", self.group, self.name, "COUNT", count, *options,
            "STREAMS", self.stream, ">",
        )  # fmt: skip

    def _redeliver(
        self, after: bytes, handler: Handler, *, only: bytes | None = None
    ) -> bytes | None:
        """Handle the next entry that is pending with us after the id `after`. Returns its id.

        only: handle no other than this one; somebody may be done with it meanwhile

        One at a time: if a message kills this process, only its own deliveries are raised,
        and no neighbour is given up with it. Leaves it to be acknowledged with the next.
        """
        reply, pending = self._ask(
            ("XREADGROUP", "GROUP", self.group, self.name, "COUNT", 1,
             "STREAMS", self.stream, after),
            ("XPENDING", self.stream, self.group, b"(" + after, "+", 1, self.name),
        )  # fmt: skip
        entries: list[RawEntry] = reply[0][1]
        if not entries:
            return None
        entry_id, fields = entries[0]
        if not pending or pending[0][0] != entry_id:
            return entry_id  # taken over by somebody, between the two commands
        deliveries = pending[0][3]
        if only not in (None, entry_id):
            # It has failed here and has to wait, or was read ahead: this delivery was none.
            self._ask(
                ("XCLAIM", self.stream, self.group, self.name, 0, entry_id,
                 "RETRYCOUNT", deliveries - 1, "JUSTID"),
            )  # fmt: skip
            return None
        if fields:
            # Such a read raises the count in memory only: a restart or a failover forgets
            # it. A claim writes it to the append-only file and to replicas.
            self._ask(("XCLAIM", self.stream, self.group, self.name, 0, entry_id, "JUSTID"))
        self._handle_all(entries, deliveries, handler)
        return entry_id

    def _ask(self, *commands: Command) -> list[Any]:
        """The replies to these commands. What is to be acknowledged goes before them."""
        if not self._unacked:
            return round_trip(self._redis, commands)
        ack: Command = ("XACK", self.stream, self.group, *self._unacked)
        _, *replies = round_trip(self._redis, [ack, *commands])
        self._acknowledged()
        return replies

    def _handle_all(
        self,
        entries: list[RawEntry],
        deliveries: int,
        handler: Handler,
        *,
        held_at: float | None = None,
    ) -> None:
        """Handle entries in order, each delivered so often, and acknowledge by `ack_every`.

        held_at: when their idle time was 0, monotonic seconds; None is now
        """
        # What each of millions of messages needs is looked up once.
        observed, unacked, ack_every = self._observed, self._unacked, self._ack_every
        lost = self._lost
        is_stopped, now, delivery_of = self._stop.is_set, time.monotonic, Delivery._make
        heartbeat = self._heartbeat
        lost.clear()
        self._in_hand = entries
        self._held_at = min(held_at or now(), self._ahead_at)
        if observed:
            for entry_id, _ in entries:
                self._emit(Kind.DELIVERED, entry_id, deliveries)
        try:
            for position, (entry_id, flat) in enumerate(entries):
                self._position = position
                if is_stopped():
                    return
                if now() > self._held_at + self._renew_after_s:
                    self._hold(0)
                if entry_id in lost:
                    continue  # to another consumer, while its forerunners were handled
                message = self._message(entry_id, flat, deliveries)
                if message is None:
                    continue
                try:
                    handler(delivery_of((entry_id.decode(), message, deliveries, heartbeat)))
                except Exception as error:
                    self._failed(entry_id, flat, deliveries, error)
                    continue
                if entry_id not in lost:
                    unacked[entry_id] = deliveries
                if observed:
                    self._emit(Kind.HANDLED, entry_id, deliveries)
                if len(unacked) >= ack_every:
                    self._acknowledge()
            self._in_hand = []
        except RedisError:
            raise  # what is not acknowledged yet is so at the next step
        except BaseException:  # the loop ends: the user's Ctrl-C, or a hook that raised
            with suppress(RedisError):  # `run` would sit it out, and never end
                self._acknowledge()
            raise

    def _message(
        self, entry_id: bytes, flat: list[bytes] | None, deliveries: int
    ) -> Message | None:
        """The message of an entry; None if it was given up, because nobody can handle it."""
        try:
            if deliveries > self._max_deliveries:
                said = f"delivered {deliveries - 1} times, and never finished"
                self._give_up(entry_id, flat, deliveries, Reason.UNFINISHED, said)
                return None
            if flat is not None and len(flat) == 2 and flat[0] == FIELD:  # the usual case
                return Message.from_bytes(flat[1])
            return Message.from_fields(dict(_pairs(flat or [])))
        except MessageDecodeError as error:
            reason = Reason.UNDECODABLE if flat else Reason.TRIMMED
            self._give_up(entry_id, flat, deliveries, reason, str(error))
            return None

    def _failed(
        self, entry_id: bytes, flat: list[bytes] | None, deliveries: int, error: Exception
    ) -> None:
        said = _described(error)
        self._emit(Kind.FAILED, entry_id, deliveries, said)
        if entry_id in self._trimmed:  # there is no other try
            self._give_up(
                entry_id, flat, 0, Reason.TRIMMED, f"trimmed before it failed: {said}"
            )
        elif deliveries >= self._max_deliveries:
            self._give_up(entry_id, flat, deliveries, Reason.FAILED, said)

    def _give_up(
        self,
        entry_id: bytes,
        flat: list[bytes] | None,
        deliveries: int,
        reason: Reason,
        error: str,
    ) -> None:
        letter = DeadLetter(
            "", self.stream, entry_id.decode(), self.group, self.name, deliveries, reason,
            error, datetime.now(UTC), tuple(_pairs(flat or [])),
        )  # fmt: skip
        if bury(self._redis, self.dead_stream, letter):
            self._emit(Kind.DEAD_LETTERED, entry_id, deliveries, f"{reason}: {error}")

    def _acknowledge(self) -> None:
        if self._unacked:
            self._redis.execute_command("XACK", self.stream, self.group, *self._unacked)
            self._acknowledged()

    def _acknowledged(self) -> None:
        acked = dict(self._unacked)
        self._unacked.clear()
        if self._observed:
            for entry_id, deliveries in acked.items():
                self._emit(Kind.ACKED, entry_id, deliveries)

    def _heartbeat(self) -> bool:
        """What `Delivery.heartbeat` calls: hold on to the message that is being handled."""
        entry_id, _ = self._in_hand[self._position]
        self._hold(0)
        return entry_id not in self._lost

    def _hold(self, idle_ms: int) -> None:
        """Set the idle time of all in hand, and let go of what somebody else took over.

        What the handler is through with is acknowledged instead: it would be taken over
        and handled again.
        A claim with JUSTID counts no delivery: https://redis.io/docs/latest/commands/xclaim/
        """
        self._acknowledge()
        self._receive_ahead()
        self._held_at = time.monotonic()
        self._ahead_at = self._held_at if self._next else inf
        in_hand = {entry_id for entry_id, _ in self._unfinished()}
        self._trimmed &= in_hand
        in_hand -= self._trimmed
        if not in_hand:
            return
        pipeline = self._redis.pipeline(transaction=False)
        for entry_id in in_hand:
            pipeline.xpending_range(self.stream, self.group, entry_id, entry_id, 1, self.name)
        ours = [row["message_id"] for found in pipeline.execute() for row in found]
        self._lost |= in_hand - set(ours)
        self._next = [entry for entry in self._next if entry[0] not in self._lost]
        if ours:
            claimed = self._redis.execute_command(
                "XCLAIM", self.stream, self.group, self.name, 0, *ours,
                "IDLE", idle_ms, "JUSTID",
            )  # fmt: skip
            # It took the trimmed ones off the pending list: nobody else will report them.
            self._trimmed |= set(ours) - set(claimed)

    def _unfinished(self) -> list[RawEntry]:
        """What the handler is at, or is next; what follows; and what was read ahead."""
        return self._in_hand[self._position :] + self._next

    @property
    def _observed(self) -> bool:
        return self._on_event is not None or event_log.isEnabledFor(logging.DEBUG)

    def _emit(self, kind: Kind, entry_id: bytes, deliveries: int, error: str = "") -> None:
        event = Event(
            kind,
            entry_id.decode(),
            self.stream,
            self.group,
            self.name,
            time.monotonic(),
            deliveries,
            error,
        )
        log_event(event)
        if self._on_event is not None:
            self._on_event(event)


def _pairs(flat: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _before(entry_id: bytes) -> bytes:
    """The id right before this one, since Redis reads what comes after an id."""
    milliseconds, number = map(int, entry_id.split(b"-"))
    return b"%d-%d" % ((milliseconds, number - 1) if number else (milliseconds - 1, 2**64 - 1))


def _described(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # a handler's own exception may fail to say anything
        return type(error).__name__
