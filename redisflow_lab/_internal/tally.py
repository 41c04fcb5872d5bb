"""Counts what happens to the entries of one consumer, and passes it on in batches."""

import time
from collections.abc import Callable, Sequence

from redisflow_lab._internal.entry import Entry
from redisflow_lab._internal.laps import Laps
from redisflow_lab.events import Batch, Kind

REPORT_EVERY_S = 0.1
"""While there is much to do, counts are passed on this often: a batch takes 1 ms, or hours."""


class Tally:
    """What was counted since the last report.

    Costs a small part of an event for each message, because nearly everything is counted once
    for a whole batch: `make bench` shows how much.

    new_batch: makes an empty batch
    pass_on:   calls the consumer's `on_batch`
    """

    def __init__(
        self, new_batch: Callable[[], Batch], pass_on: Callable[[Batch], None]
    ) -> None:
        self._new_batch, self._pass_on = new_batch, pass_on
        self._batch = new_batch()
        self._reported_at = time.monotonic()
        self.laps = Laps()
        """The calls of the handler, timed by `Processor`."""

    def count(self, kind: Kind, entries: int = 1) -> None:
        """Count an event of so many entries."""
        self._batch.counts[kind] = self._batch.counts.get(kind, 0) + entries

    def delivered(self, entries: Sequence[Entry]) -> None:
        """Count a batch of deliveries: all of them are the first ones, or none is."""
        self.count(Kind.DELIVERED, len(entries))
        if entries[0].deliveries > 1:
            self._batch.redelivered += len(entries)

    def failed(self, began_at: float, exception: BaseException) -> None:
        """Count a handler that has raised."""
        self.count(Kind.FAILED)
        took_s = time.monotonic() - began_at
        self._batch.failed_s.setdefault(type(exception).__qualname__, []).append(took_s)

    def dead_lettered(self, reason: str) -> None:
        """Count a dead letter."""
        self.count(Kind.DEAD_LETTERED)
        reasons = self._batch.dead_lettered
        reasons[reason] = reasons.get(reason, 0) + 1

    def acknowledged(self, took_s: float) -> None:
        """Note how long an XACK took that was waited for."""
        self._batch.acks_s.append(took_s)

    def report(self, *, is_busy: bool = False) -> None:
        """Pass on what was counted, if anything was.

        is_busy: more is to come at once: so wait until it is worth a call
        """
        now = time.monotonic()
        if is_busy and now < self._reported_at + REPORT_EVERY_S:
            return
        self._reported_at = now
        batch = self._batch
        if handled_s := self.laps.take():
            batch.handled_s = handled_s
            self.count(Kind.HANDLED, len(handled_s))
        if batch.counts:
            self._batch = self._new_batch()
            self._pass_on(batch)
