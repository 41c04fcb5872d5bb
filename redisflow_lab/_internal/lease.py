"""Renews the lease, so that no other consumer claims what this one is working on."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import RedisError

from redisflow_lab._internal.acks import Acks
from redisflow_lab._internal.failovers import FailedOverError
from redisflow_lab._internal.group import Group
from redisflow_lab._internal.in_flight import InFlight
from redisflow_lab._internal.outbox import Outbox
from redisflow_lab._internal.prefetch import Prefetch


class Lease:
    """Renews the lease on everything in flight by resetting its idle time to 0."""

    def __init__(
        self,
        group: Group,
        acks: Acks,
        prefetch: Prefetch,
        in_flight: InFlight,
        outbox: Outbox,
    ) -> None:
        self._group, self._acks = group, acks
        self._prefetch, self._in_flight, self._outbox = prefetch, in_flight, outbox
        self._together: Sequence[Lease] = [self]
        self.is_owner: Callable[[], bool] = lambda: True
        """Whether this process may work on the stream at all; asked at each heartbeat."""
        self.broken: RedisError | None = None
        """The error of a heartbeat on the consumer's connection, until it is raised."""

    def renew_with(self, leases: Sequence["Lease"]) -> None:
        """Renew all these whenever this one is renewed; this one is among them.

        What a consumer has delivered of other streams waits while this one's entry is handled.
        """
        self._together = leases

    def renew(self) -> None:
        """Renew the lease, and find out what other consumers have claimed meanwhile.

        Completed entries are acknowledged first, so that no other consumer redelivers them.
        """
        for lease in self._together:
            lease._renew()

    def keep(self) -> None:
        """Renew the lease if it is due."""
        if time.monotonic() > self._in_flight.renew_at:
            self.renew()

    def _renew(self) -> None:
        self._acks.flush()
        self._prefetch.collect()
        now = time.monotonic()
        waiting = self._outbox.pending_ids
        ids = self._in_flight.unfinished_ids() + waiting
        renewed, trimmed = self._group.renew(ids, 0) if ids else ([], [])
        kept = {*renewed, *trimmed}
        self._in_flight.renewed(kept, now)
        self._outbox.drop({*waiting} - kept)

    def heartbeat(self) -> bool:
        """`Delivery.heartbeat`: renew, and return whether the entry is still ours."""
        entry = self._in_flight.current
        if entry is None:
            return False  # called after the handler returned
        if isinstance(self.broken, FailedOverError):
            raise self.broken  # until it has reached `run`: this entry must be redelivered
        try:
            if self.is_owner():
                self.renew()
            else:
                self._in_flight.lost.add(entry.id)
        except RedisError as error:
            self.broken = error
            raise
        return entry.id not in self._in_flight.lost

    def raise_if_broken(self) -> None:
        """Raise the connection error of a heartbeat, even if the handler has caught it."""
        if self.broken is not None:
            broken, self.broken = self.broken, None
            raise broken

    def raise_if_caused(self, error: BaseException | None) -> None:
        """Raise it if it made the handler fail, so that the handler is not blamed for it."""
        seen: set[int] = set()  # `raise error from error` is its own cause
        while error is not None and id(error) not in seen:
            if error is self.broken:
                self.raise_if_broken()
            seen.add(id(error))
            cause = _cause_of(error)
            error = _context_of(error) if cause is None else cause


# Python's own slots, in case a user's class overrides the attributes.
_slots: Any = vars(BaseException)
_cause_of, _context_of = (_slots[name].__get__ for name in ("__cause__", "__context__"))
