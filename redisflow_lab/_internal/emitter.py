"""Sends an event to the log and the hook for everything that happens to an entry."""

import logging
import time

from redisflow_lab._internal.entry import Entry
from redisflow_lab._internal.guarded_log import GuardedLog
from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.user_code import ENDS_THE_PROCESS, check_finished
from redisflow_lab.events import Event, Hook, Kind, log_event
from redisflow_lab.events import log as event_log

log = GuardedLog("redisflow_lab.consumer")

HOOK_FAILED = "on_event failed, and is called again for the next event"


class Emitter:
    """Makes the events of one consumer, logs them, and calls its hook.

    hook: the consumer's `on_event`
    """

    def __init__(self, stream: str, group: str, consumer: str, hook: Hook | None) -> None:
        self._stream, self._group, self._consumer = stream, group, consumer
        self._hook = hook
        self._hook_is_failing = False  # only the first of several failures in a row is logged

    @property
    def who(self) -> str:
        """The consumer in words, for a log line."""
        name, group, stream = map(printable, (self._consumer, self._group, self._stream))
        return f"{name} of {group} on {stream}"

    @property
    def enabled(self) -> bool:
        """Whether the log or the hook takes events that are not errors. Asked once a batch."""
        return self._hook is not None or event_log.enabled_for(logging.DEBUG)

    def emit(
        self,
        kind: Kind,
        entry: Entry,
        error: str = "",
        exception: BaseException | None = None,
    ) -> None:
        """Log an event and pass it to the hook, in this thread."""
        event = Event(
            kind, entry.id.decode(), self._stream, self._group, self._consumer,
            time.monotonic(), entry.deliveries, error, exception,
        )  # fmt: skip
        log_event(event)
        if self._hook is not None:
            self._call(self._hook, event)

    def _call(self, hook: Hook, event: Event) -> None:
        """Call the hook. What it raises is logged, and has no effect on the message."""
        try:
            check_finished("on_event", hook(event))
        except ENDS_THE_PROCESS:
            raise
        except BaseException as error:
            if not self._hook_is_failing:
                log.record(logging.ERROR, HOOK_FAILED, exception=error)
            self._hook_is_failing = True
        else:
            self._hook_is_failing = False
