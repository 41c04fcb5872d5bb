"""Transient errors: which ones they are, and how long to wait before the next try."""

import re
from collections.abc import Callable
from threading import Event as ThreadEvent
from time import monotonic
from typing import TypeVar

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
from redis.sentinel import MasterNotFoundError

from redisflow_lab._internal.failovers import FailedOverError
from redisflow_lab._internal.guarded_log import GuardedLog
from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.tls import TlsError, refuses_certificate

_FIRST_S, _LONGEST_S = 0.05, 2.0
# Enough to reach the longest wait. Without a limit, redis-py computes 2.0 to the power of
# the number of tries, which overflows after half an hour.
_MAX_DOUBLINGS = 10

# The first class that matches gives the reason: redis-py derives some of these from others.
_TRANSIENT: dict[type[Exception], str] = {
    BusyLoadingError: "the server is loading its data",
    ReadOnlyError: "the server is a replica",
    OutOfMemoryError: "the server is out of memory",
    MasterDownError: "the server has lost its primary",
    ClusterDownError: "the cluster is down",
    TryAgainError: "the cluster is moving the stream",
    AskError: "the cluster is moving the stream",
    MasterNotFoundError: "no Sentinel names a primary",
    FailedOverError: "the server has failed over",
    redis.TimeoutError: "the server does not answer",
    redis.ConnectionError: "the connection is lost",
    # The reply of a proxy whose server is down, such as HTTP 503. redis-py has closed the
    # connection by then, because it does not know where the next reply begins.
    InvalidResponse: "the connection is broken",
}
_TLS_ALERT = r'got "\x15"'  # the first byte that a server sends if it expects TLS
_VANISHED = "the stream or its group has vanished"
# Replies for which redis-py has no exception class.
_TRANSIENT_REPLIES = {
    "NOGROUP": _VANISHED,
    "UNBLOCKED": _VANISHED,  # sent by some servers to a reader that is blocked
    "BUSY": "a script keeps the server busy",
    "MISCONF": "the server cannot write to its disk",
    "NOREPLICAS": "the server has too few replicas",
    # redis-py has exception classes for these, but not if they discard a transaction.
    "LOADING": _TRANSIENT[BusyLoadingError],
    "READONLY": _TRANSIENT[ReadOnlyError],
    "OOM": _TRANSIENT[OutOfMemoryError],
    "MASTERDOWN": _TRANSIENT[MasterDownError],
    "CLUSTERDOWN": _TRANSIENT[ClusterDownError],
    "TRYAGAIN": _TRANSIENT[TryAgainError],
}


def transient_reason(error: Exception) -> str | None:
    """Why an error is transient, in words; None if it is permanent."""
    if isinstance(error, (AuthenticationError, AuthorizationError, TlsError)):
        return None
    if refuses_certificate(error) or (
        isinstance(error, InvalidResponse) and _TLS_ALERT in str(error)
    ):
        return None
    # redis-py's pipeline, and a refused EXEC, put text before the server's reply.
    reply = re.search(r"(?:^|error: |because of: )([A-Z]+) ", str(error))
    if reply and reply[1] in _TRANSIENT_REPLIES:
        return _TRANSIENT_REPLIES[reply[1]]
    return next((why for kind, why in _TRANSIENT.items() if isinstance(error, kind)), None)


T = TypeVar("T")


class Backoff:
    """Waits between the tries of one loop: exponential, with jitter, at most 2 s.

    Logs when an outage starts, when its reason changes and when it ends, but not each try.

    log: the logger to write to
    who: the beginning of each line, such as "alice of billing on orders"
    on_outage: called with the reason before each wait, and with "" when a try has succeeded
         after it
    """

    def __init__(
        self, log: GuardedLog, who: str, on_outage: Callable[[str], None] | None = None
    ) -> None:
        self._log, self._who = log, who
        self._on_outage = on_outage or (lambda _: None)
        self._backoff = ExponentialWithJitterBackoff(cap=_LONGEST_S, base=_FIRST_S)
        self._tries = 0
        self._reason = ""  # of the current outage; empty if there is none

    def wait_or_raise(self, error: redis.RedisError, stop: ThreadEvent) -> None:
        """Wait before the next try, or until `stop` is set. Raises a permanent error."""
        reason = transient_reason(error)
        if reason is None:
            raise error
        stop.wait(self.next_wait_s(reason, error))

    def next_wait_s(self, reason: str, error: object) -> float:
        """How long to wait before the next try, in seconds."""
        if reason != self._reason:
            text = printable(str(error), 1_000)
            self._log.warning("%s: %s, retrying: %s", self._who, reason, text)
        self._reason = reason
        self._on_outage(reason)
        wait_s = self._backoff.compute(min(self._tries, _MAX_DOUBLINGS))
        self._tries += 1
        return float(wait_s)

    def reset(self) -> None:
        """Note that a try succeeded. The next error starts with the shortest wait."""
        if self._reason:
            tries = "1 try" if self._tries == 1 else f"{self._tries} tries"
            self._log.warning("%s: recovered after %s", self._who, tries)
            self._reason, self._tries = "", 0
            self._on_outage("")


def retried(attempt: Callable[[], T], for_s: float, backoff: Backoff, client: redis.Redis) -> T:
    """Make an attempt until it succeeds. Raises a permanent error.

    for_s:  the last attempt begins at most so many seconds after the first, and raises a
            transient error, too
    client: of the attempt. Its connections are closed in between: a server that refuses writes
            may be a former primary, and a new connection asks Sentinel, the cluster or DNS for
            the current one
    """
    until = monotonic() + for_s
    while True:
        try:
            result = attempt()
        except redis.RedisError as error:
            reason, left_s = transient_reason(error), until - monotonic()
            if reason is None or left_s <= 0:
                raise
            client.connection_pool.disconnect(inuse_connections=False)
            ThreadEvent().wait(min(left_s, backoff.next_wait_s(reason, error)))
        else:
            backoff.reset()
            return result
