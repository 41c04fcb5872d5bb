"""What happens to a delivered entry: decode, handle, then acknowledge or dead-letter it."""

from contextlib import suppress
from datetime import UTC, datetime
from threading import Event as ThreadEvent
from time import monotonic

from redis import Redis
from redis.exceptions import RedisError

from redisflow_lab._internal.acks import Acks
from redisflow_lab._internal.checks import check_handler
from redisflow_lab._internal.emitter import Emitter
from redisflow_lab._internal.entry import Entry
from redisflow_lab._internal.group import Group
from redisflow_lab._internal.in_flight import InFlight
from redisflow_lab._internal.lease import Lease
from redisflow_lab.dead_letters import DeadLetter, Reason, dead_letter
from redisflow_lab.events import Kind
from redisflow_lab.interfaces import Delivery, Handler
from redisflow_lab.message import MessageDecodeError

_NONE_YET = object()


class Processor:
    """Calls the handler, and keeps the promise of each outcome. Nothing else calls it.

    ack_every:      acknowledge when this many messages are completed
    max_deliveries: an entry that fails at its n-th delivery is dead-lettered
    dead_stream:    where dead letters go
    """

    def __init__(
        self,
        redis: Redis,
        group: Group,
        in_flight: InFlight,
        lease: Lease,
        acks: Acks,
        emitter: Emitter,
        *,
        ack_every: int,
        max_deliveries: int,
        dead_stream: str,
    ) -> None:
        self._redis, self._group = redis, group
        self._in_flight, self._lease, self._acks = in_flight, lease, acks
        self._heartbeat = lease.heartbeat
        self._checked: object = _NONE_YET
        self._emitter = emitter
        self._ack_every = ack_every
        self._max_deliveries = max_deliveries
        self._dead_stream = dead_stream

    def check(self, handler: Handler) -> None:
        """Raise TypeError if the handler cannot be called with a delivery.

        Each step asks, so the answer for the last handler is kept: asking takes 25 µs.
        """
        if handler is not self._checked:
            check_handler(handler)
            self._checked = handler

    def process(self, batch: list[Entry], handler: Handler, stop: ThreadEvent) -> int:
        """Take the current batch of `InFlight` through the handler, in order.

        Returns how many were begun: all, unless `stop` was set.
        """
        if observed := self._emitter.enabled:
            for entry in batch:
                self._emitter.emit(Kind.DELIVERED, entry)
        in_flight = self._in_flight
        try:
            for begun, entry in enumerate(in_flight):
                if stop.is_set():
                    return begun
                if monotonic() > in_flight.renew_at:
                    self._lease.renew()
                if entry.id not in in_flight.lost:
                    self._handle(entry, handler, observed)
        except RedisError:
            raise  # the next step acknowledges what is completed
        except BaseException:  # Ctrl-C, or a hook that raised: there may be no next step
            with suppress(RedisError):  # the server may be down; then a replay repeats it
                self._acks.flush()
            raise
        return len(batch)

    def dead_letter(self, entry: Entry, reason: Reason, error: str) -> None:
        """Move an entry to the dead-letter stream."""
        letter = DeadLetter(
            "", self._group.stream, entry.id.decode(), self._group.group,
            self._group.consumer, entry.deliveries, reason, error, datetime.now(UTC),
            entry.pairs(),
        )  # fmt: skip
        if dead_letter(self._redis, self._dead_stream, letter):
            self._emitter.emit(Kind.DEAD_LETTERED, entry, f"{reason}: {error}")

    def _handle(self, entry: Entry, handler: Handler, observed: bool) -> None:
        if entry.deliveries > self._max_deliveries:
            error = f"delivered {entry.deliveries - 1} times, and never finished"
            self.dead_letter(entry, Reason.UNFINISHED, error)
            return
        try:
            message = entry.message()
        except MessageDecodeError as error:
            reason = Reason.UNDECODABLE if entry.fields else Reason.TRIMMED
            self.dead_letter(entry, reason, str(error))
            return
        try:
            handler(Delivery(entry.id.decode(), message, entry.deliveries, self._heartbeat))
        except Exception as error:
            self._fail(entry, error)
            return
        if observed:
            self._emitter.emit(Kind.HANDLED, entry)
        # An entry that another consumer has claimed meanwhile is for its new owner to finish.
        if (
            entry.id not in self._in_flight.lost
            and self._acks.complete(entry) >= self._ack_every
        ):
            self._acks.flush()

    def _fail(self, entry: Entry, error: Exception) -> None:
        """The entry stays pending, or is dead-lettered after its last delivery."""
        described = _described(error)
        self._emitter.emit(Kind.FAILED, entry, described)
        if entry.deliveries >= self._max_deliveries:
            self.dead_letter(entry, Reason.FAILED, described)


def _described(error: Exception) -> str:
    """Type and message, in text that every log and every client can encode."""
    try:
        described = f"{type(error).__name__}: {error}"
    except Exception:  # the exception is the user's, and so is its __str__
        return type(error).__name__
    return described.encode(errors="backslashreplace").decode()
