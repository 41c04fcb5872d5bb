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

    DELIVERED = "delivered"
    """The server gave it to this consumer; it is pending from now on."""
    HANDLED = "handled"
    """The handler returned; the entry is not acknowledged yet."""
    ACKED = "acked"
    """The server was told, and forgot that it was pending."""
    FAILED = "failed"
    """The handler raised, or there was no message to handle; the entry stays pending."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one entry.

    at:         monotonic seconds (`time.monotonic`), comparable within one machine
    deliveries: how often the entry was delivered so far, this time included
    error:      why it failed, else empty
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
    """Write the event to the standard log: a failure as an error, the rest for debugging."""
    level = logging.ERROR if event.kind is Kind.FAILED else logging.DEBUG
    log.log(
        level,
        "%s %s of %s for %s/%s, delivery %d%s",
        event.kind,
        event.entry_id,
        event.stream,
        event.group,
        event.consumer,
        event.deliveries,
        f": {event.error}" if event.error else "",
    )
