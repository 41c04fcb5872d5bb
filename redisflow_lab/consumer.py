"""RedisStreamConsumer: the group, and the three ways a message comes to a consumer.

Read it in the order a message goes: `ensure_group`, `replay_pending`, `take_over`,
`read_new`, `leave`, and `run`, which is nothing but these in a loop. What happens to a
message then stands in `handling`.
"""

import logging
import random
import time
from math import inf
from threading import Event as ThreadEvent
from uuid import uuid4

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from redisflow_lab._internal.backoff import Backoff, transient_reason
from redisflow_lab._internal.checks import check_handler, check_name, check_positive
from redisflow_lab._internal.connection import stream_client
from redisflow_lab._internal.handling import Handling, RawEntry
from redisflow_lab._internal.wire import Command
from redisflow_lab.dead_letters import Reason, check_dead_stream, dead_stream_of
from redisflow_lab.events import Hook, Kind
from redisflow_lab.interfaces import Handler

log = logging.getLogger(__name__)

# Only what the server checks and does in one step is safe from a second process that uses
# the same name: deleting a consumer deletes what is pending with it.
_REMOVE_IF_EMPTY = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
"""


class RedisStreamConsumer(Handling):
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
               slow: it must be longer than `max_handler_ms`
    max_handler_ms:  the longest your handler takes for one message; None means half of
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
        max_handler_ms: int | None = None,
        max_deliveries: int = 5,
        dead_stream: str | None = None,
        on_event: Hook | None = None,
    ) -> None:
        check_name("stream", stream)
        check_name("group", group)
        self._batch = check_positive("batch", batch)
        self._block_ms = check_positive("block_ms", block_ms)
        self._min_idle_ms = check_positive("min_idle_ms", min_idle_ms)
        if max_handler_ms is None:
            max_handler_ms = min_idle_ms // 2
        elif check_positive("max_handler_ms", max_handler_ms) >= min_idle_ms:
            raise ValueError(
                f"min_idle_ms is {min_idle_ms}, not above max_handler_ms, {max_handler_ms}: "
                "others would take over messages that are still being handled"
            )
        super().__init__(
            stream_client(redis, block_ms=block_ms),
            stream,
            group,
            f"consumer-{uuid4().hex[:12]}" if name is None else check_name("name", name),
            ack_every=check_positive("ack_every", ack_every),
            max_deliveries=check_positive("max_deliveries", max_deliveries),
            dead_stream=dead_stream_of(stream, dead_stream),
            hold_for_s=(min_idle_ms - max_handler_ms) / 1_000,
            on_event=on_event,
        )
        self._seen = b"0"  # the last entry that `run` has been through, in this life
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

    def replay_pending(self, handler: Handler, *, after: bytes = b"0") -> int:
        """Handle again what this name was given and never acknowledged. Returns how many.

        That is what an earlier life left behind, but also what got lost on its way: so it
        belongs at every start, not only after a crash. Each entry is read once, whether
        its handler succeeds or not. Being read again counts as a delivery.

        after: only what has a later entry id
        """
        check_handler(handler)
        replayed = 0
        last: bytes | None = after
        while last and not self._stop.is_set():
            self._seen = last
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
        started after it. Backoff that passes by itself is sat out: a lost connection, a
        server that restarts, loads, fails over, is full, busy or cannot write to its disk, a
        group that vanished. The rest, a refused password for one, is raised.
        """
        check_handler(handler)
        trouble = Backoff(log, f"{self.name} of {self.group} on {self.stream}")
        self._forget_ahead()  # an interrupt may have ended an earlier run
        self._seen = b"0"
        self._stop = stop
        try:
            while not stop.is_set():
                try:
                    if self.ensure_group():
                        self._seen = b"0"
                    # At first everything; after trouble only what it may have swallowed.
                    self.replay_pending(handler, after=self._seen)
                    while not stop.is_set():
                        trouble.reset()
                        self._take_over_if_due(handler)
                        if not stop.is_set():
                            self._read_on(handler)
                except RedisError as error:
                    self._in_hand = []
                    self._forget_ahead()
                    self._redis.connection_pool.disconnect()
                    trouble.wait_or_raise(error, stop)
        finally:
            self._stop = ThreadEvent()
        try:
            self.leave()
        except RedisError as error:
            if transient_reason(error) is None:
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
        waits = not self._ahead and not self._next
        if waits:
            self._send_ahead(self._new_entries(count, "BLOCK", self._until_next_look_ms()))
        self._receive_ahead()
        entries, held_at = self._next, None if waits else self._ahead_at
        self._next, self._ahead_at = [], inf
        if reads_ahead and len(entries) == count:
            self._send_ahead(self._new_entries(count))
        self._handle_all(entries, 1, handler, held_at=held_at)
        if not self._ahead:
            self._acknowledge()  # else with the next read
        if entries:
            self._seen = entries[-1][0]

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


def _before(entry_id: bytes) -> bytes:
    """The id right before this one, since Redis reads what comes after an id."""
    milliseconds, number = map(int, entry_id.split(b"-"))
    return b"%d-%d" % ((milliseconds, number - 1) if number else (milliseconds - 1, 2**64 - 1))
