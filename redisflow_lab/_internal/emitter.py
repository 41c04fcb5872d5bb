"""The one hook through which everything that happens to an entry passes."""

import logging
import time

from redisflow_lab._internal.entry import Entry
from redisflow_lab.events import Event, Hook, Kind, log_event
from redisflow_lab.events import log as event_log


class Emitter:
    """Makes events of one consumer, logs them, and calls its hook.

    hook: what the user gave as `on_event`
    """

    def __init__(self, stream: str, group: str, consumer: str, hook: Hook | None) -> None:
        self._stream, self._group, self._consumer = stream, group, consumer
        self._hook = hook

    @property
    def enabled(self) -> bool:
        """Whether anything would see an event that is no error. Asked once for each batch."""
        return self._hook is not None or event_log.isEnabledFor(logging.DEBUG)

    def emit(self, kind: Kind, entry: Entry, error: str = "") -> None:
        """Log an event and pass it to the hook, in this thread."""
        event = Event(
            kind, entry.id.decode(), self._stream, self._group, self._consumer,
            time.monotonic(), entry.deliveries, error,
        )  # fmt: skip
        log_event(event)
        if self._hook is not None:
            self._hook(event)
