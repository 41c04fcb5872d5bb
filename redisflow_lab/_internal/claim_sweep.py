"""Sweeps the pending list of the whole group for entries that other consumers left."""

import random
import time

from redisflow_lab._internal.group import START, Group

_SWEEPS_PER_MIN_IDLE = 4


class ClaimSweep:
    """Claims idle entries, one batch per call, and remembers how far it has looked.

    It keeps the cursor from call to call. If it started from the beginning each time, it would
    never reach stale entries behind many fresh ones.

    min_idle_ms: claims what has been idle for this long, with any owner. A sweep is due every
                 quarter of this time, with jitter, so that consumers that were started
                 together do not all sweep at once
    batch:       how many entries to claim in one call, at most
    """

    def __init__(self, group: Group, min_idle_ms: int, batch: int) -> None:
        self._group = group
        self._min_idle_ms, self._batch = min_idle_ms, batch
        self._cursor = START
        self._due_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time for a sweep, or a sweep has begun and not reached the end."""
        return time.monotonic() >= self._due_at

    def claim(self) -> tuple[list[bytes], list[bytes]]:
        """Do the next step. Returns the ids claimed, and the ids of trimmed entries."""
        self._cursor, claimed, trimmed = self._group.claim_idle(
            self._min_idle_ms, self._cursor, self._batch
        )
        if self._cursor == START:  # the sweep has reached the end of the pending list
            pause_s = self._min_idle_ms / 1_000 / _SWEEPS_PER_MIN_IDLE
            self._due_at = time.monotonic() + pause_s * random.uniform(0.75, 1.25)
        return claimed, trimmed

    def wait_ms(self, at_most: int) -> int:
        """How long a read may block without delaying the next step of the sweep."""
        if self._cursor != START:
            return 1
        until_due_ms = int((self._due_at - time.monotonic()) * 1_000)
        # If it is overdue, the caller does not sweep.
        return min(at_most, until_due_ms) if until_due_ms > 0 else at_most
