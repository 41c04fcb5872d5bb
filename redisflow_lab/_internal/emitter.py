"""Sends an event to the log and the hooks for everything that happens to an entry."""

import logging
import time
from collections.abc import Sequence

from redisflow_lab._internal.entry import Entry
from redisflow_lab._internal.hooks import guarded
from redisflow_lab._internal.laps import Laps
from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.tally import Tally
from redisflow_lab.events import Batch, BatchHook, Event, Hook, Kind, log_event
from redisflow_lab.events import log as event_log


class Emitter:
    """Makes the events of one consumer, logs them, and calls its hooks.

    on_event, on_batch: the consumer's
    """

    def __init__(
        self,
        stream: str,
        group: str,
        consumer: str,
        on_event: Hook | None,
        on_batch: BatchHook | None = None,
    ) -> None:
        self._names = stream, group, consumer
        self._on_event = guarded("on_event", on_event)
        pass_on = guarded("on_batch", on_batch)
        self._tally = Tally(lambda: Batch(*self._names), pass_on) if pass_on else None
        self.last_error = ""
        """Of the handler or the server, in words."""

    @property
    def who(self) -> str:
        """The consumer in words, for a log line."""
        stream, group, name = map(printable, self._names)
        return f"{name} of {group} on {stream}"

    @property
    def takes_events(self) -> bool:
        """Whether the log or the hook takes events that are not errors. Asked once a batch."""
        return self._on_event is not None or event_log.enabled_for(logging.DEBUG)

    @property
    def enabled(self) -> bool:
        """Whether anything at all takes them, one by one or counted. Asked once a batch."""
        return self._tally is not None or self.takes_events

    def delivered(self, batch: Sequence[Entry]) -> None:
        """Emit that a batch was delivered."""
        if self._tally is not None and batch:
            self._tally.delivered(batch)
        self._emit_each(Kind.DELIVERED, batch)

    def claimed(self, entries: Sequence[Entry]) -> None:
        """Emit that these entries were claimed."""
        if self._tally is not None and entries:
            self._tally.count(Kind.CLAIMED, len(entries))
        self._emit_each(Kind.CLAIMED, entries)

    @property
    def laps(self) -> Laps | None:
        """Times the calls of the handler; None if nothing is counted."""
        return None if self._tally is None else self._tally.laps

    def handled(self, entry: Entry, began_at: float) -> None:
        """Emit that the handler, which was called at `began_at`, has returned."""
        self._emit(Kind.HANDLED, entry, began_at=began_at)

    def acked(self, entries: Sequence[Entry], took_s: float | None = None) -> None:
        """Emit that these entries were acknowledged.

        took_s: how long the XACK took; None if it was not waited for
        """
        if self._tally is not None and entries:
            self._tally.count(Kind.ACKED, len(entries))
            if took_s is not None:
                self._tally.acknowledged(took_s)
        self._emit_each(Kind.ACKED, entries)

    def failed(
        self, entry: Entry, began_at: float, error: str, exception: BaseException
    ) -> None:
        """Emit that the handler has raised."""
        if self._tally is not None:
            self._tally.failed(began_at, exception)
        self.last_error = error
        self._emit(Kind.FAILED, entry, error, began_at, exception)

    def paused(self, entry: Entry, began_at: float, error: str) -> None:
        """Emit that the handler is called again, after a pause."""
        if self._tally is not None:
            self._tally.count(Kind.PAUSED)
        self.last_error = error
        self._emit(Kind.PAUSED, entry, error, began_at)
        self.report()  # the pause may be long

    def dead_lettered(self, entry: Entry, reason: str, error: str) -> None:
        """Emit that the dead letter of an entry was written."""
        if self._tally is not None:
            self._tally.dead_lettered(reason)
        self._emit(Kind.DEAD_LETTERED, entry, f"{reason}: {error}")

    def outage(self, reason: str) -> None:
        """Emit that an outage has begun; without a reason, that it has ended.

        It is not logged here: `Backoff` has done that.
        """
        kind = Kind.OUTAGE_BEGAN if reason else Kind.OUTAGE_ENDED
        self.last_error = reason or self.last_error
        if self._tally is not None:
            self._tally.count(kind)
        if self._on_event is not None:
            event = Event(kind, "", *self._names, time.monotonic(), 0, reason)
            self._on_event(event)
        self.report()

    def report(self, *, is_busy: bool = False) -> None:
        """Pass on what was counted since the last time.

        is_busy: as for `Tally.report`
        """
        if self._tally is not None:
            self._tally.report(is_busy=is_busy)

    def _emit_each(self, kind: Kind, entries: Sequence[Entry]) -> None:
        if self.takes_events:
            for entry in entries:
                self._emit(kind, entry)

    def _emit(
        self,
        kind: Kind,
        entry: Entry,
        error: str = "",
        began_at: float | None = None,
        exception: BaseException | None = None,
    ) -> None:
        """Log an event and pass it to the hook, in this thread."""
        event = Event(
            kind, entry.id.decode(), *self._names, time.monotonic(), entry.deliveries,
            error, began_at, exception,
        )  # fmt: skip
        log_event(event)
        if self._on_event is not None:
            self._on_event(event)
