"""RedisStreamConsumer: group, replay, new, acknowledge.

Read it in the order a message goes: `ensure_group`, `replay_pending`, `read_new`, and
`run`, which is nothing but these in a loop.
"""

import logging
import time
from threading import Event as ThreadEvent
from typing import Any, cast
from uuid import uuid4

from redis import Redis
from redis.exceptions import ResponseError

from redisflow_lab.checks import check_handler, check_name, check_positive
from redisflow_lab.connection import stream_client
from redisflow_lab.events import Event, Hook, Kind, log_event
from redisflow_lab.events import log as event_log
from redisflow_lab.interfaces import Delivery, Handler
from redisflow_lab.message import FIELD, Message

log = logging.getLogger(__name__)

RawEntry = tuple[bytes, list[bytes] | None]
"""An entry as XREADGROUP answers it: its id, and its fields and values in turn."""


class RedisStreamConsumer:
    """Reads one stream for one group, and acknowledges what was handled.

    redis:     a client of the server; the consumer connects by itself with the same
               address and credentials (`connection.stream_client`)
    stream:    the key
    group:     made if missing, from the first entry on: nothing written before is missed
    name:      of this consumer, and the owner of what it has not acknowledged. None takes
               a random one. **A random name strands messages**: after a crash the next
               life has another name, and replay finds only what its own name left
               pending. Give a name that survives a restart and that no other process
               uses at the same time.
    batch:     entries delivered in one read; all of them are pending from then on
    ack_every: acknowledge after this many handled messages, and at the end of each batch.
               1 repeats at most one side effect after a crash, n at most n.
    block_ms:  how long a read waits for new entries, and so how soon `run` sees a stop
    on_event:  called with everything that happens to a message (`events.Event`), from the
               thread that handles it

    The handler is at-least-once: after a crash, or after an answer that got lost, it sees
    a message again. A handler that raises leaves its message pending, and the next one is
    handled. An entry that holds no message is never handled and never acknowledged: it
    stays pending and is reported, as a FAILED event and in the log.

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
        on_event: Hook | None = None,
    ) -> None:
        self.stream = check_name("stream", stream)
        self.group = check_name("group", group)
        self.name = f"consumer-{uuid4().hex[:12]}" if name is None else check_name("name", name)
        self._batch = check_positive("batch", batch)
        self._ack_every = check_positive("ack_every", ack_every)
        self._block_ms = check_positive("block_ms", block_ms)
        self._on_event = on_event
        self._redis = stream_client(redis, block_ms=block_ms)

    def ensure_group(self) -> bool:
        """Make the group, and the stream with it, if it is missing. True if it was made.

        It starts at `0`, before the first entry. The default of redis-py, `$`, would skip
        everything written until now: https://redis.io/docs/latest/commands/xgroup-create/
        """
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
        last = b"0"
        while entries := self._read(last):
            counts = self._delivery_counts(entries)
            self._handle_all(entries, counts, handler)
            replayed += len(entries)
            last = entries[-1][0]
        return replayed

    # Its place: take_over(handler), which claims what other consumers left for too long.

    def read_new(self, handler: Handler) -> int:
        """Handle one batch that nobody in the group was given yet. Returns how many.

        Waits up to `block_ms` for the first entry; 0 if none came.
        """
        check_handler(handler)
        entries = self._read(">", "BLOCK", self._block_ms)
        self._handle_all(entries, {}, handler)
        return len(entries)

    def run(self, handler: Handler, *, stop: ThreadEvent) -> None:
        """Replay what is pending, then handle new messages until `stop` is set.

        When `stop` is set the batch in hand is finished. A group or stream that vanishes
        is made again. A lost connection raises redis.ConnectionError.
        """
        self.ensure_group()
        step = self.replay_pending
        while not stop.is_set():
            try:
                step(handler)
                step = self.read_new
            except ResponseError as error:
                if not _group_vanished(error):
                    raise
                log.warning("%s on %s vanished: %s", self.group, self.stream, error)
                self.ensure_group()

    def _read(self, after: str | bytes, *options: str | int) -> list[RawEntry]:
        reply = self._redis.execute_command(
            "XREADGROUP", "GROUP", self.group, self.name, "COUNT", self._batch, *options,
            "STREAMS", self.stream, after,
        )  # fmt: skip
        return reply[0][1] if reply else []

    def _delivery_counts(self, entries: list[RawEntry]) -> dict[bytes, int]:
        """How often each of these pending entries was delivered. XREADGROUP does not say."""
        pending = self._redis.xpending_range(
            self.stream, self.group, entries[0][0], entries[-1][0], len(entries), self.name
        )
        rows: list[dict[str, Any]] = cast(Any, pending)
        return {row["message_id"]: row["times_delivered"] for row in rows}

    def _handle_all(
        self, entries: list[RawEntry], counts: dict[bytes, int], handler: Handler
    ) -> None:
        """Handle entries in order, and acknowledge those whose handler returned.

        counts: how often each was delivered; one that is not in it, once
        """
        observed = self._on_event is not None or event_log.isEnabledFor(logging.DEBUG)
        if observed:
            for entry_id, _ in entries:
                self._emit(Kind.DELIVERED, entry_id, counts.get(entry_id, 1))
        handled: list[bytes] = []
        try:
            for entry_id, flat in entries:
                count = counts.get(entry_id, 1)
                try:
                    handler(Delivery(entry_id.decode(), _message(flat), count))
                except Exception as error:
                    self._emit(Kind.FAILED, entry_id, count, error)
                    continue
                handled.append(entry_id)
                if observed:
                    self._emit(Kind.HANDLED, entry_id, count)
                if len(handled) == self._ack_every:
                    self._ack(handled, counts, observed)
        finally:
            # Also when a KeyboardInterrupt ends the loop: these were handled.
            self._ack(handled, counts, observed)

    def _ack(self, handled: list[bytes], counts: dict[bytes, int], observed: bool) -> None:
        if not handled:
            return
        self._redis.execute_command("XACK", self.stream, self.group, *handled)
        if observed:
            for entry_id in handled:
                self._emit(Kind.ACKED, entry_id, counts.get(entry_id, 1))
        handled.clear()

    def _emit(
        self, kind: Kind, entry_id: bytes, deliveries: int, error: Exception | None = None
    ) -> None:
        event = Event(
            kind,
            entry_id.decode(),
            self.stream,
            self.group,
            self.name,
            time.monotonic(),
            deliveries,
            _described(error) if error else "",
        )
        log_event(event)
        if self._on_event is not None:
            self._on_event(event)


def _message(flat: list[bytes] | None) -> Message:
    if flat is not None and len(flat) == 2 and flat[0] == FIELD:  # the usual case, directly
        return Message.from_bytes(flat[1])
    return Message.from_fields(dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {})


def _described(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # a handler's own exception may fail to say anything
        return type(error).__name__


def _group_vanished(error: ResponseError) -> bool:
    """Deleting the stream or group answers NOGROUP, to a reader that blocks also UNBLOCKED."""
    return str(error).startswith(("NOGROUP", "UNBLOCKED"))
