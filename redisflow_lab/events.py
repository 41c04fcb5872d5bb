"""Everything that happens to a message passes through one hook, as an `Event`.

Logs, a worker's report and the delivery timeline all come from it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

log = logging.getLogger(__name__)


class Kind(StrEnum):
    """What happened to an entry."""

    CLAIMED = "claimed"
    """Claimed: it was idle for `min_idle_ms` with its owner, and belongs to this consumer."""
    DELIVERED = "delivered"
    """Delivered to this consumer, and so pending; the handler has not been called yet."""
    HANDLED = "handled"
    """The handler returned; the entry is not acknowledged yet."""
    ACKED = "acked"
    """Acknowledged: it is no longer pending."""
    FAILED = "failed"
    """The handler raised; the entry stays pending."""
    DEAD_LETTERED = "dead-lettered"
    """Moved to the dead-letter stream, and no longer pending."""


_LEVELS = {Kind.FAILED: logging.ERROR, Kind.DEAD_LETTERED: logging.ERROR}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one entry.

    at:         monotonic seconds (`time.monotonic`), comparable within one machine
    deliveries: how often the entry was delivered so far, this time included; 0 if unknown,
                as for an entry that was just claimed
    error:      why it failed or was dead-lettered, else empty
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
    """Log an event: failures and dead letters as errors, everything else at debug level."""
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
