"""What happens to an entry once it was delivered: handled, acknowledged, held, given up.

The lower half of `RedisStreamConsumer`, which says where entries come from.
"""

import logging
import time
from contextlib import suppress
from datetime import UTC, datetime
from math import inf
from threading import Event as ThreadEvent
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from redisflow_lab._internal.wire import Command, CommandPipe, round_trip
from redisflow_lab.dead_letters import DeadLetter, Reason, dead_letter
from redisflow_lab.events import Event, Hook, Kind, log_event
from redisflow_lab.events import log as event_log
from redisflow_lab.interfaces import Delivery, Handler
from redisflow_lab.message import FIELD, Message, MessageDecodeError

RawEntry = tuple[bytes, list[bytes] | None]
"""An entry as XREADGROUP answers it: its id, and its fields and values in turn."""


class Handling:
    """Takes entries through a handler, and keeps the promise of each outcome.

    redis:      a client of the consumer's own (`connection.stream_client`)
    hold_for_s: how long after a delivery, or the last claim, entries need no other claim
    The rest is as of `RedisStreamConsumer`.
    """

    def __init__(
        self,
        redis: Redis,
        stream: str,
        group: str,
        name: str,
        *,
        ack_every: int,
        max_deliveries: int,
        dead_stream: str,
        hold_for_s: float,
        on_event: Hook | None,
    ) -> None:
        self.stream, self.group, self.name = stream, group, name
        self.dead_stream = dead_stream
        self._redis = redis
        self._ack_every = ack_every
        self._max_deliveries = max_deliveries
        self._hold_for_s = hold_for_s
        self._on_event = on_event
        self._stop = ThreadEvent()  # set by nobody, until `run` puts another in its place
        self._in_hand: list[RawEntry] = []  # delivered, and not all through the handler yet
        self._position = 0  # in there, of the one that is being handled or is next
        self._lost: set[bytes] = set()  # of those, what somebody else took over
        self._trimmed: set[bytes] = set()  # what is pending no more, because it was trimmed
        self._held_at = 0.0  # when their idle time was 0, monotonic seconds
        self._unacked: dict[bytes, int] = {}  # handled, and its deliveries
        self._acking: dict[bytes, int] = {}  # of those, what is acknowledged with `_ahead`
        self._ahead: CommandPipe | None = None  # a read on its way
        self._next: list[RawEntry] = []  # what it brought
        self._ahead_at = inf  # when their idle time was 0; inf if there are none

    def _ask(self, *commands: Command) -> list[Any]:
        """The replies to these commands. What is to be acknowledged goes before them."""
        if not self._unacked:
            return round_trip(self._redis, commands)
        ack = self._ack_of(self._unacked)
        _, *replies = round_trip(self._redis, [ack, *commands])
        self._acknowledged(self._unacked)
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
                if now() > self._held_at + self._hold_for_s:
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
        if dead_letter(self._redis, self.dead_stream, letter):
            self._emit(Kind.DEAD_LETTERED, entry_id, deliveries, f"{reason}: {error}")

    def _acknowledge(self) -> None:
        if self._unacked:
            self._ask()

    def _acknowledged(self, acked: dict[bytes, int]) -> None:
        """Tell the hook, and forget them."""
        told = dict(acked)
        acked.clear()
        if self._observed:
            for entry_id, deliveries in told.items():
                self._emit(Kind.ACKED, entry_id, deliveries)

    def _ack_of(self, handled: dict[bytes, int]) -> Command:
        return ("XACK", self.stream, self.group, *handled)

    def _heartbeat(self) -> bool:
        """What `Delivery.heartbeat` calls: hold on to the message that is being handled."""
        if not self._in_hand:
            return False  # kept and called after the handler was through
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

    def _send_ahead(self, read: Command) -> None:
        """Send this read, and the acknowledgement of what is handled, and wait for neither."""
        self._acking.update(self._unacked)
        self._unacked.clear()
        acks = [self._ack_of(self._acking)] if self._acking else []
        self._ahead_at = time.monotonic()
        self._ahead = CommandPipe(self._redis)
        self._ahead.send([*acks, read])

    def _receive_ahead(self) -> None:
        if self._ahead:
            sent, self._ahead = self._ahead, None
            try:
                *_, reply = sent.receive()
            finally:
                sent.close()
            self._next = reply[0][1] if reply else []
            self._acknowledged(self._acking)

    def _forget_ahead(self) -> None:
        """Leave it to the replay, which finds also what was delivered and did not arrive."""
        if self._ahead:
            self._ahead.close()
        self._ahead, self._next, self._ahead_at = None, [], inf
        self._unacked.update(self._acking)  # to be sent again: it may have been lost
        self._acking.clear()

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


def _described(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # a handler's own exception may fail to say anything
        return type(error).__name__
