"""What this consumer was given and has not finished, and the lease on it."""

from collections import deque
from collections.abc import Iterable, Iterator
from math import inf
from operator import length_hint

from redisflow_lab._internal.entry import Entry

NEVER = inf
"""A time that does not come: there is no lease to renew."""


class InFlight:
    """The entries of one consumer between delivery and completion. Knows no Redis.

    An entry is *queued* (pending with us, to be delivered again), *prefetched* (delivered
    before it is needed) or in the *current* batch. All share one lease: `renew_at` says when
    the oldest of them needs it renewed, in monotonic seconds, so that no other consumer finds
    it idle for too long.

    lease_s: how long after its delivery, or its last renewal, an entry is safe, in seconds
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self.lost: set[bytes] = set()
        """Ids of those that another consumer has claimed meanwhile."""
        self.clear()

    def clear(self) -> None:
        """Forget everything: what is still pending is left to a replay."""
        self._queued: deque[list[bytes]] = deque()
        self._is_expecting = False  # whether a prefetch was requested and is not here yet
        self._prefetched: list[Entry] = []
        self._make_current([])
        self.renew_at = NEVER

    def queue(self, batches: Iterable[list[bytes]], since: float) -> None:
        """Take on entries that are pending with us, in batches to be delivered again.

        since: when they were asked for; no later than the server began to count idle time
        """
        self._queued.extend(batches)
        self._lease_from(since)

    def next_queued(self) -> list[bytes]:
        """Take the next batch of ids from the queue; an empty one if there is none."""
        return self._queued.popleft() if self._queued else []

    def queue_again(self, ids: list[bytes]) -> None:
        """Put a batch back as the next ones, each id alone; forget it if it was alone."""
        if len(ids) > 1:
            self._queued.extendleft([entry_id] for entry_id in reversed(ids))

    def expect(self, now: float) -> None:
        """A prefetch was requested: its entries may be pending with us from now on."""
        self._is_expecting = True
        self._lease_from(now)

    def prefetch(self, entries: list[Entry]) -> None:
        """Take on the entries that were prefetched."""
        self._prefetched, self._is_expecting = entries, False

    def begin_prefetched(self) -> list[Entry]:
        """Make what was prefetched the current batch, and return it."""
        batch, self._prefetched = self._prefetched, []
        self._make_current(batch)
        return batch

    def begin(self, batch: list[Entry], since: float) -> None:
        """Make these entries the current batch; `since` is as of `queue`."""
        self._make_current(batch)
        self._lease_from(since)

    def __iter__(self) -> Iterator[Entry]:
        """Each entry of the current batch; it is finished when the next one is asked for."""
        self._rest = iter(self._batch)
        return self._rest

    def finish(self) -> None:
        """Every entry of the current batch is finished."""
        self._make_current([])
        if not (self._is_expecting or self._prefetched or self._queued):
            self.renew_at = NEVER

    @property
    def position(self) -> int:
        """The position in the batch of the entry that is being handled; 0 between two."""
        # From what the iterator has left: counting along would cost each message 100 ns.
        return max(0, len(self._batch) - length_hint(self._rest) - 1)

    @property
    def current(self) -> Entry | None:
        """The entry that is being handled; None between two batches."""
        return self._batch[self.position] if self._batch else None

    def unfinished(self) -> list[Entry]:
        """The current entry, the rest of its batch, and what was prefetched."""
        return self._batch[self.position :] + self._prefetched

    def unfinished_ids(self) -> list[bytes]:
        """Ids of these, and of what is queued."""
        return [entry.id for entry in self.unfinished()] + [
            entry_id for batch in self._queued for entry_id in batch
        ]

    def renewed(self, kept: set[bytes], now: float) -> None:
        """The lease was renewed for those kept; every other entry belongs to another owner."""
        unfinished = set(self.unfinished_ids())
        self.lost.clear()
        self.lost |= unfinished - kept
        self._prefetched = [entry for entry in self._prefetched if entry.id in kept]
        self.renew_at = now + self._lease_s if unfinished else NEVER

    def _make_current(self, batch: list[Entry]) -> None:
        self._batch, self._rest = batch, iter(batch)
        self.lost.clear()  # an entry that was lost may have come back

    def _lease_from(self, since: float) -> None:
        self.renew_at = min(self.renew_at, since + self._lease_s)
