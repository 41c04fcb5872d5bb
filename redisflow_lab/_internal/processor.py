"""Processes delivered entries: decodes, handles, then acknowledges or dead-letters them."""

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from threading import Event as ThreadEvent
from time import monotonic
from typing import Any

from redis.exceptions import RedisError

from redisflow_lab._internal.acks import Acks
from redisflow_lab._internal.backoff import Backoff
from redisflow_lab._internal.emitter import Emitter
from redisflow_lab._internal.entry import Entry
from redisflow_lab._internal.group import Group
from redisflow_lab._internal.guarded_log import GuardedLog
from redisflow_lab._internal.in_flight import NEVER, InFlight
from redisflow_lab._internal.lease import Lease
from redisflow_lab._internal.outbox import Outbox
from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.tally import REPORT_EVERY_S
from redisflow_lab._internal.turn import Turn
from redisflow_lab._internal.user_code import (
    ENDS_THE_PROCESS,
    check_finished,
    check_handler,
    described,
)
from redisflow_lab.dead_letters import DeadLetter, Reason
from redisflow_lab.interfaces import Delivery, Handler, TransientError
from redisflow_lab.message import MessageDecodeError
from redisflow_lab.router import Router, UnknownTypeError

log = GuardedLog("redisflow_lab.consumer")

_NONE_YET = object()


class _NoMessageError(Exception):
    """Raised for an entry without a message that a handler could be given."""

    def __init__(self, reason: Reason, error: str) -> None:
        super().__init__(error)
        self.reason = reason


class Processor:
    """Calls the handler, and acts on its outcome. Nothing else calls the handler.

    ack_every:      acknowledge when this many messages are completed
    max_deliveries: an entry that fails at this delivery is dead-lettered
    decode:         returns the message in the bytes of an entry
    """

    def __init__(
        self,
        group: Group,
        in_flight: InFlight,
        lease: Lease,
        acks: Acks,
        outbox: Outbox,
        emitter: Emitter,
        turn: Turn,
        *,
        ack_every: int,
        max_deliveries: int,
        decode: Callable[[bytes], Any],
    ) -> None:
        self._group, self._in_flight, self._lease = group, in_flight, lease
        self._stream = group.stream
        self._acks, self._outbox, self._emitter = acks, outbox, emitter
        self._turn = turn
        self._laps = emitter.laps
        self._heartbeat = lease.heartbeat
        self._pauses = Backoff(log, emitter.who)
        self._is_busy = False
        self._checked: object = _NONE_YET
        self._router: Router | None = None  # the handler, if it is one
        self._process_id = os.getpid()
        self._ack_every = ack_every
        self._max_deliveries = max_deliveries
        self._decode = decode

    def check(self, handler: Handler) -> None:
        """Raise TypeError if the handler cannot be called with a delivery.

        Raises RuntimeError in a forked process, where its parent uses the same name, and if
        the consumer is busy. Each step calls this, and checking a handler takes 25 µs, so the
        last handler that passed is remembered.
        """
        if os.getpid() != self._process_id:
            raise RuntimeError(
                f"the consumer {self._group.consumer!r} was made in process "
                f"{self._process_id}, and this is process {os.getpid()}: two processes with "
                "one name would handle each other's messages. Make a consumer in each process"
            )
        self.check_is_idle()
        if handler is not self._checked:
            check_handler(handler)
            self._checked = handler
            self._router = handler if isinstance(handler, Router) else None

    def check_is_idle(self) -> None:
        """Raise RuntimeError if the consumer is handling a batch, as in its own handler."""
        if self._is_busy:
            raise RuntimeError(
                f"the consumer {self._group.consumer!r} was called from its own handler, or "
                "from another thread, while it handles a batch. Call its steps one after "
                "another, and set the stop of run to end it"
            )

    def process(self, batch: list[Entry], handler: Handler, stop: ThreadEvent) -> int:
        """Handle the current batch of `InFlight`, in order.

        Returns how many were begun: all, unless `stop` was set.
        """
        if self._emitter.enabled:
            self._emitter.delivered(batch)
        begin_lap = None if self._laps is None else self._laps.begin
        observed = self._emitter.takes_events
        pause_at = self._next_pause()
        in_flight, waiting, is_stopped = self._in_flight, self._outbox.waiting, stop.is_set
        self._is_busy = True
        try:
            if waiting:
                self._outbox.send()
                self._lease.renew()  # else another consumer claims what was refused again
            for entry in in_flight:
                if is_stopped():
                    self._end_lap()
                    return in_flight.position
                began_at = monotonic()
                if began_at > pause_at:
                    self._end_lap()
                    self._emitter.report()
                    if began_at > in_flight.renew_at:
                        self._lease.renew()
                    began_at, pause_at = monotonic(), self._next_pause()
                if entry.id in in_flight.lost or entry.id in waiting:
                    continue
                in_flight.began_at = began_at
                if begin_lap is not None:
                    begin_lap(began_at)
                if not self._handle(entry, handler, observed, stop):
                    return in_flight.position
            self._end_lap()
            in_flight.finish()
        except RedisError:
            raise  # the next step acknowledges what is completed
        except BaseException:  # Ctrl-C, for example: there may be no next step
            with suppress(RedisError):  # if the server is down, a replay redelivers them
                self._acks.flush()
            raise
        finally:
            self._is_busy, in_flight.began_at = False, NEVER
            self._void_lap()
        return len(batch)

    def dead_letter(self, entry: Entry, reason: Reason, error: str) -> None:
        """Dead-letter an entry, as soon as the server accepts the write."""
        self._void_lap()  # of a message that could not be decoded
        letter = DeadLetter(
            "", self._group.stream, entry.id.decode(), self._group.group,
            self._group.consumer, entry.deliveries, reason, error, datetime.now(UTC),
            entry.pairs(),
        )  # fmt: skip
        self._outbox.put(entry, letter)
        self._outbox.send()

    def _next_pause(self) -> float:
        """When a batch must be interrupted, to renew the lease or to report what is counted."""
        if self._laps is None:
            return self._in_flight.renew_at
        return min(self._in_flight.renew_at, monotonic() + REPORT_EVERY_S)

    def _end_lap(self) -> None:
        if self._laps is not None:
            self._laps.end()

    def _void_lap(self) -> None:
        if self._laps is not None:
            self._laps.void()

    def _handle(
        self, entry: Entry, handler: Handler, observed: bool, stop: ThreadEvent
    ) -> bool:
        """Handle one entry. False if `stop` was set while its next try had to wait."""
        if entry.deliveries > self._max_deliveries:
            error = f"delivered {entry.deliveries - 1} times, and never finished"
            self.dead_letter(entry, Reason.UNFINISHED, error)
            return True
        delivery: Delivery[Any] | None = None
        paused = False
        while True:
            try:
                if delivery is None:
                    delivery = self._delivery(entry)
                result = handler(delivery)
                if result is not None:
                    check_finished("handler", result)
            except ENDS_THE_PROCESS:
                raise
            except _NoMessageError as error:
                self.dead_letter(entry, error.reason, str(error))
                return True
            except UnknownTypeError as error:
                self.dead_letter(entry, Reason.UNKNOWN_TYPE, str(error))
                return True
            except BaseException as error:
                if not _is_transient(error):
                    self._fail(entry, error)
                    return True
                self._lease.raise_if_broken()
                if not self._pause(entry, error, stop):
                    return False
                if entry.id in self._in_flight.lost:
                    return True
                paused = True
                self._in_flight.began_at = monotonic()
                if self._laps is not None:
                    self._laps.begin(self._in_flight.began_at)
            else:
                break
        if paused:
            self._pauses.reset()
        if observed:
            self._emitter.handled(entry, self._in_flight.began_at)
        # If another consumer has claimed the entry meanwhile, its new owner finishes it.
        completed = 0 if entry.id in self._in_flight.lost else self._acks.complete(entry)
        if self._lease.broken is not None:
            self._end_lap()
            self._lease.raise_if_broken()
        if completed >= self._ack_every:
            self._end_lap()
            self._acks.flush()
        return True

    def _delivery(self, entry: Entry) -> Delivery[Any]:
        """The delivery to give to the handler.

        Raises _NoMessageError if the entry has no message, UnknownTypeError of the router,
        and TransientError of `decode`.
        """
        try:
            data, others = entry.data()
            if self._router is None:
                message = self._decode(data)
            else:
                message = self._router.decoder_of(others, self._decode)(data)
        except (*ENDS_THE_PROCESS, UnknownTypeError):
            raise
        except BaseException as error:  # the codec may be the user's
            if _is_transient(error):
                raise
            known = type(error) is MessageDecodeError
            text = printable(str(error), 1_000) if known else described(error)
            reason = Reason.UNDECODABLE if entry.fields else Reason.TRIMMED
            raise _NoMessageError(reason, text) from error
        return Delivery(
            entry.id.decode(), message, entry.deliveries, self._heartbeat, others, self._stream
        )

    def _fail(self, entry: Entry, error: BaseException) -> None:
        """Leave an entry pending whose handler failed; dead-letter it at the delivery limit."""
        self._void_lap()
        self._lease.raise_if_caused(error)
        text = described(error)
        self._emitter.failed(entry, self._in_flight.began_at, text, error)
        if entry.deliveries >= self._max_deliveries:
            self.dead_letter(entry, Reason.FAILED, text)
        self._lease.raise_if_broken()

    def _pause(self, entry: Entry, error: BaseException, stop: ThreadEvent) -> bool:
        """Wait before the next try, and renew the lease. Returns False if `stop` is set.

        Meanwhile other consumers of the process have their turns. One of their messages may
        kill the process, so this delivery is not counted until the next try.
        """
        self._void_lap()
        text = described(error)
        self._emitter.paused(entry, self._in_flight.began_at, text)
        self._acks.flush()
        if had_turn := self._turn.is_held:
            self._group.renew([entry.id], 0, {entry.id: entry.deliveries - 1})
            self._turn.give_back()
        until = monotonic() + self._pauses.next_wait_s("a message has to wait", text)
        while not stop.is_set() and (now := monotonic()) < until:
            stop.wait(min(until, self._in_flight.renew_at) - now)
            self._lease.keep()
        if had_turn and self._turn.take(stop) and not stop.is_set():
            self._group.renew([entry.id], 0, {entry.id: entry.deliveries})
        return not stop.is_set()


def _is_transient(error: BaseException) -> bool:
    """Whether it is a TransientError, or an ExceptionGroup with nothing else in it."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(TransientError)[1] is None
    return isinstance(error, TransientError)
