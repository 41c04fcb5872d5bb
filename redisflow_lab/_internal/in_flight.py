"""Entries that are delivered to this consumer and not finished, and the lease on them."""

from collections import deque
from collections.abc import Iterable, Iterator
from math import inf
from operator import length_hint
from typing import NamedTuple

from redisflow_lab._internal.entry import Entry

NEVER = inf
"""A time that never comes, for when there is no lease to renew."""


class Snapshot(NamedTuple):
    """What another thread sees of what is in flight.

    entries:        that are not finished
    oldest_at:      when the oldest of them was requested; None if there is none
    handling_since: when the handler was called for the current one; None between batches
    """

    entries: int
    oldest_at: float | None
    handling_since: float | None


class InFlight:
    """The entries of one consumer between delivery and completion. Sends nothing to Redis.

    An entry is *queued* (pending with this consumer, to be redelivered), *prefetched*
    (delivered before it is needed) or in the *current* batch. All share one lease. `renew_at`
    says, in monotonic seconds, when the lease must be renewed before another consumer could
    claim the oldest of them.

    lease_s: how long after its delivery, or its last renewal, an entry is safe, in seconds
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self.lost: set[bytes] = set()
        """Ids of the entries that another consumer has claimed meanwhile."""
        self.began_at = NEVER
        """When the handler was called for the current entry."""
        self._current_at = self._queued_at = self._prefetched_at = NEVER  # when requested
        self.clear()

    def clear(self) -> None:
        """Forget everything. A replay redelivers what is still pending."""
        self._queued: deque[list[bytes]] = deque()
        self._is_expecting = False  # whether a prefetch was requested and has not arrived
        self._prefetched: list[Entry] = []
        self._make_current([])
        self.renew_at = NEVER

    def queue(self, batches: Iterable[list[bytes]], since: float) -> None:
        """Add entries that are pending with this consumer, in batches to be redelivered.

        since: when they were requested: no later than the server began to count idle time
        """
        self._queued.extend(batches)
        self._queued_at = since
        self._lease_from(since)

    @property
    def is_queued(self) -> bool:
        """Whether a batch is waiting to be redelivered."""
        return bool(self._queued)

    @property
    def is_next_alone(self) -> bool:
        """Whether the next batch of the queue, which must not be empty, is a single entry."""
        return len(self._queued[0]) == 1

    def next_queued(self) -> list[bytes]:
        """Take the next batch of ids from the queue; empty if there is none."""
        return self._queued.popleft() if self._queued else []

    def queue_again(self, ids: list[bytes]) -> None:
        """Queue a batch again, as the next ones, each id alone. Drop a batch of one id."""
        if len(ids) > 1:
            self._queued.extendleft([entry_id] for entry_id in reversed(ids))

    def expect(self, now: float) -> None:
        """Note that a prefetch was requested: its entries may be pending from now on."""
        self._is_expecting = True
        self._prefetched_at = now
        self._lease_from(now)

    def prefetch(self, entries: list[Entry]) -> None:
        """Add the entries that were prefetched."""
        self._prefetched, self._is_expecting = entries, False

    def hold(self, entries: list[Entry], since: float) -> None:
        """Add entries as if prefetched, to begin them in turn; `since` is as for `queue`."""
        self._prefetched, self._prefetched_at = entries, since
        if entries:
            self._lease_from(since)

    def drop_prefetched(self) -> None:
        """Forget what was prefetched and has not begun. It is still pending."""
        self._prefetched = []

    @property
    def holds_prefetched(self) -> bool:
        """Whether something was prefetched and has not begun."""
        return bool(self._prefetched)

    def begin_prefetched(self, most: int | None = None) -> list[Entry]:
        """Make what was prefetched, or the first of it, the current batch, and return it.

        most: how many entries, at most (default: None, all)
        """
        prefetched = self._prefetched
        batch, self._prefetched = prefetched[:most], [] if most is None else prefetched[most:]
        self._current_at = self._prefetched_at
        self._make_current(batch)
        return batch

    def begin(self, batch: list[Entry], since: float) -> None:
        """Make these entries the current batch; `since` is the same as for `queue`."""
        self._current_at = since
        self._make_current(batch)
        self._lease_from(since)

    def __iter__(self) -> Iterator[Entry]:
        """Iterate over the current batch. An entry is finished when the next one is taken."""
        self._rest = iter(self._batch)
        return self._rest

    def finish(self) -> None:
        """Note that every entry of the current batch is finished."""
        self._make_current([])
        if not (self._is_expecting or self._prefetched or self._queued):
            self.renew_at = NEVER

    @property
    def position(self) -> int:
        """The position in the batch of the entry that is being handled; 0 between batches."""
        # Computed from what the iterator has left: a counter would cost 100 ns per message.
        return max(0, len(self._batch) - length_hint(self._rest) - 1)

    @property
    def current(self) -> Entry | None:
        """The entry that is being handled; None between two batches."""
        return self._batch[self.position] if self._batch else None

    def unfinished(self) -> list[Entry]:
        """The current entry, the rest of its batch, and what was prefetched."""
        return self._batch[self.position :] + self._prefetched

    def unfinished_ids(self) -> list[bytes]:
        """Ids of the unfinished and the queued entries."""
        return [entry.id for entry in self.unfinished()] + [
            entry_id for batch in self._queued for entry_id in batch
        ]

    def snapshot(self) -> Snapshot:
        """What is in flight. Any thread may ask: each attribute is read once."""
        batch, rest, queued, prefetched = (
            self._batch, self._rest, tuple(self._queued), self._prefetched
        )  # fmt: skip
        began_at = self.began_at
        current = min(len(batch), length_hint(rest) + 1) if began_at < NEVER else len(batch)
        parts = (
            (current, self._current_at),
            (sum(map(len, queued)), self._queued_at),
            (len(prefetched), self._prefetched_at),
        )
        times = [at for count, at in parts if count]
        return Snapshot(
            sum(count for count, _ in parts),
            min(times, default=None),
            began_at if batch and began_at < NEVER else None,
        )

    def renewed(self, kept: set[bytes], now: float) -> None:
        """Note a lease renewal on `kept`. Every other entry has another owner now."""
        unfinished = set(self.unfinished_ids())
        self.lost.clear()
        self.lost |= unfinished - kept
        self._prefetched = [entry for entry in self._prefetched if entry.id in kept]
        self.renew_at = now + self._lease_s if unfinished else NEVER

    def _make_current(self, batch: list[Entry]) -> None:
        self._batch, self._rest = batch, iter(batch)
        self.began_at = NEVER
        self.lost.clear()  # an entry that was lost may have been claimed again

    def _lease_from(self, since: float) -> None:
        self.renew_at = min(self.renew_at, since + self._lease_s)
