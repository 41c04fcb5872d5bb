"""Keeping other consumers from claiming what this one is working on."""

import time

from redisflow_lab._internal.acks import Acks
from redisflow_lab._internal.group import Group
from redisflow_lab._internal.in_flight import InFlight
from redisflow_lab._internal.prefetch import Prefetch


class Lease:
    """Renews the lease on everything in flight, by setting its idle time."""

    def __init__(
        self, group: Group, acks: Acks, prefetch: Prefetch, in_flight: InFlight
    ) -> None:
        self._group, self._acks = group, acks
        self._prefetch, self._in_flight = prefetch, in_flight

    def renew(self, idle_ms: int = 0) -> set[bytes]:
        """Set the idle time, and find out what other consumers have claimed meanwhile.

        Completed entries are acknowledged first, so that no other consumer redelivers them.
        Returns the ids of entries that were trimmed, whose idle time cannot be set.
        """
        self._acks.flush()
        self._prefetch.collect()
        now = time.monotonic()
        ids = self._in_flight.unfinished_ids()
        renewed, trimmed = self._group.renew(ids, idle_ms) if ids else ([], [])
        self._in_flight.renewed({*renewed, *trimmed}, now)
        return set(trimmed)

    def heartbeat(self) -> bool:
        """What `Delivery.heartbeat` calls: renew, and say whether the entry is still ours."""
        entry = self._in_flight.current
        if entry is None:
            return False  # called after the handler returned
        self.renew()
        return entry.id not in self._in_flight.lost
