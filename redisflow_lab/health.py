"""The health of a running consumer, for the probes of a service.

    health = consumer.health
    ready = health.is_ready                     # can it be given work?
    stuck = (health.handling_s or 0) > 300      # would a restart help?

`examples/probes.py` serves both over HTTP.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """What a consumer is doing now. It costs no command, and any thread may ask.

    is_running: `run` was called and has not returned
    outage_s:   for how long the server cannot be used, seconds; None if it can
    outage:     why it cannot be used, in words; else empty
    polled_s:   seconds since the server last answered a request for new messages; None if it
                has not yet
    in_flight:  entries that were delivered to this consumer and are not finished
    oldest_s:   seconds since the oldest of them was delivered; None if there is none
    handling_s: seconds since the handler was called for the current message; None if it is not
                running. A handler that hangs shows here
    last_error: the last error of a handler or of the server, in words; empty if there was none
    """

    is_running: bool
    outage_s: float | None
    outage: str
    polled_s: float | None
    in_flight: int
    oldest_s: float | None
    handling_s: float | None
    last_error: str

    @property
    def is_ready(self) -> bool:
        """Whether `run` is running and the server can be used.

        An outage makes a consumer not ready, but a restart would not help: it goes on by
        itself.
        """
        return self.is_running and self.outage_s is None
