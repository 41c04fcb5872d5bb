"""Events: one hook is called with everything that happens to a message.

Logs, a worker's report and the delivery timeline are made from single events; metrics are made
from the same events in batches, which cost a small part of that.
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
    OUTAGE_BEGAN = "outage-began"
    """The server cannot be used: the consumer retries, with backoff, until it can."""
    OUTAGE_ENDED = "outage-ended"
    """The server can be used again."""


_LEVELS = {Kind.FAILED: logging.ERROR, Kind.DEAD_LETTERED: logging.ERROR}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one entry, or an outage, which has no entry.

    entry_id:   such as "1730671200000-0"; empty for an outage
    at:         monotonic seconds (`time.monotonic`), comparable within one machine
    deliveries: how often the entry was delivered so far, this time included; 0 if unknown,
                as for an entry that was just claimed
    error:      why it failed, paused or was dead-lettered, or why the server cannot be used;
                else empty
    began_at:   when the handler was called that has returned or raised now, in the same
                seconds as `at`: after the delivery by as long as the messages before it in
                the batch took. None for events of another kind
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
    began_at: float | None = None
    exception: BaseException | None = field(default=None, compare=False, repr=False)


@dataclass(slots=True)
class Batch:
    """What happened to the messages of one consumer since its previous batch, counted.

    counts:        how many events of each kind
    redelivered:   how many of the delivered entries had been delivered before
    handled_s:     how long each call of the handler took that returned, seconds
    failed_s:      the same for the calls that raised, by the class of the exception; those
                   that raised TransientError are not in it, but counted as `Kind.PAUSED`
    dead_lettered: how many entries were dead-lettered, by reason
    acks_s:        how long each XACK took that was waited for, seconds. One that was sent
                   along with a read has no duration of its own
    """

    stream: str
    group: str
    consumer: str
    counts: dict[Kind, int] = field(default_factory=dict)
    redelivered: int = 0
    handled_s: list[float] = field(default_factory=list)
    failed_s: dict[str, list[float]] = field(default_factory=dict)
    dead_lettered: dict[str, int] = field(default_factory=dict)
    acks_s: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Published:
    """One attempt of a producer to write messages: one message, or a batch of `publish_many`.

    messages:   how many were sent
    duration_s: from the request to the reply, seconds
    error:      what the server or the connection answered instead of their ids, else None.
                Then the messages may have been written or not
    """

    stream: str
    messages: int
    duration_s: float
    error: BaseException | None = None


Hook = Callable[[Event], object]
BatchHook = Callable[[Batch], object]
PublishHook = Callable[[Published], object]


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
