"""What the health of a consumer is read from."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from redisflow_lab._internal.emitter import Emitter
from redisflow_lab._internal.in_flight import InFlight
from redisflow_lab.health import Health


class Pulse:
    """Written by the consumer's own thread, one assignment at a time; read by any thread."""

    def __init__(self, emitter: Emitter, in_flight: InFlight) -> None:
        self._emitter, self._in_flight = emitter, in_flight
        self._is_running = False
        self._polled_at: float | None = None
        self._outage: tuple[float, str] | None = None  # since when, and why

    @contextmanager
    def running(self) -> Iterator[None]:
        """While `run` runs."""
        self._is_running = True
        try:
            yield
        finally:
            self._is_running, self._outage = False, None
            self._emitter.report()

    def polled(self) -> None:
        """Note that the server has answered a request for new entries."""
        self._polled_at = monotonic()

    def outage(self, reason: str) -> None:
        """Note that an outage begins, or goes on; that it has ended, without a reason."""
        before = self._outage
        since = monotonic() if before is None else before[0]
        self._outage = (since, reason) if reason else None
        if before is None or not reason:
            self._emitter.outage(reason)

    @property
    def health(self) -> Health:
        """The health as of now."""
        now, outage, polled_at = monotonic(), self._outage, self._polled_at
        seen = self._in_flight.snapshot()
        return Health(
            is_running=self._is_running,
            outage_s=None if outage is None else now - outage[0],
            outage="" if outage is None else outage[1],
            polled_s=None if polled_at is None else now - polled_at,
            in_flight=seen.entries,
            oldest_s=None if seen.oldest_at is None else now - seen.oldest_at,
            handling_s=None if seen.handling_since is None else now - seen.handling_since,
            last_error=self._emitter.last_error,
        )
