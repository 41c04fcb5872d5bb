"""Everything that happens to a message passes through one hook, as an `Event`.

Logs, the worker's report, the timeline plot and metrics all come from it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

log = logging.getLogger(__name__)


class Kind(StrEnum):
    """What happened to an entry."""

    CLAIMED = "claimed"
    """Taken over: it was pending with any consumer for too long, and is ours from now on."""
    DELIVERED = "delivered"
    """The server gave it to this consumer, and it is pending; the handler is next."""
    HANDLED = "handled"
    """The handler returned; the entry is not acknowledged yet."""
    ACKED = "acked"
    """The server was told: it is pending no more, or was another consumer's already."""
    FAILED = "failed"
    """The handler raised; the entry stays pending."""
    DEAD_LETTERED = "dead-lettered"
    """Given up: it is in the dead-letter stream, and no longer pending."""


_LEVELS = {Kind.FAILED: logging.ERROR, Kind.DEAD_LETTERED: logging.ERROR}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one entry.

    at:         monotonic seconds (`time.monotonic`), comparable within one machine
    deliveries: how often the entry was delivered so far, this time included; 0 where the
                server no longer knows
    error:      why it failed or was given up, else empty
    """

    kind: Kind
    entry_id: str
    stream: str
    group: str
    consumer: str
    at: float
    deliveries: int
    error: str = ""


Hook = Callable[[Event], None]


def log_event(event: Event) -> None:
    """Write the event to the standard log: what went wrong as an error, the rest as debug."""
    log.log(
        _LEVELS.get(event.kind, logging.DEBUG),
        "%s %s of %s for %s/%s, delivery %d%s",
        event.kind,
        event.entry_id,
        event.stream,
        event.group,
        event.consumer,
        event.deliveries,
        f": {event.error}" if event.error else "",
    )
