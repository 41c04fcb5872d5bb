"""Events: one hook is called with everything that happens to a message.

Logs, a worker's report and the delivery timeline are all made from these events.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from redisflow_lab._internal.guarded_log import GuardedLog
from redisflow_lab._internal.printable import printable

log = GuardedLog(__name__)


class Kind(StrEnum):
    """What happened to an entry."""

    CLAIMED = "claimed"
    """Claimed by this consumer, after it was idle for `min_idle_ms` with its previous owner."""
    DELIVERED = "delivered"
    """Delivered to this consumer, so it is pending; the handler has not been called yet."""
    HANDLED = "handled"
    """The handler returned; the entry is not acknowledged yet."""
    ACKED = "acked"
    """Acknowledged: it is no longer pending."""
    FAILED = "failed"
    """The handler raised; the entry stays pending."""
    PAUSED = "paused"
    """The handler or the codec raised TransientError; it is called again after a pause."""
    DEAD_LETTERED = "dead-lettered"
    """Written to the dead-letter stream, and no longer pending."""


_LEVELS = {Kind.FAILED: logging.ERROR, Kind.DEAD_LETTERED: logging.ERROR}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one entry.

    at:         monotonic seconds (`time.monotonic`), comparable within one machine
    deliveries: how often the entry was delivered so far, this time included; 0 if unknown,
                as for an entry that was just claimed
    error:      why it failed, paused or was dead-lettered, else empty
    exception:  what the handler raised when it failed, else None
    """

    kind: Kind
    entry_id: str
    stream: str
    group: str
    consumer: str
    at: float
    deliveries: int
    error: str = ""
    exception: BaseException | None = field(default=None, compare=False, repr=False)


Hook = Callable[[Event], object]


def log_event(event: Event) -> None:
    """Log an event: failures and dead letters as errors, everything else at debug level.

    The record has the attributes `entry_id`, `stream`, `group` and `consumer`, and the
    handler's traceback if it failed. Control characters are escaped, long texts truncated.
    """
    level = _LEVELS.get(event.kind, logging.DEBUG)
    if not log.enabled_for(level):
        return
    names = (event.stream, event.group, event.consumer)
    stream, group, consumer = map(printable, names)
    extra = {"entry_id": event.entry_id, "stream": stream, "group": group, "consumer": consumer}
    error = f": {printable(event.error, 1_000)}" if event.error else ""
    log.record(
        level, "%s %s of %s for %s/%s, delivery %d%s",
        event.kind, event.entry_id, stream, group, consumer, event.deliveries, error,
        exception=event.exception, extra=extra,
    )  # fmt: skip
