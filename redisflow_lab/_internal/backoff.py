"""Trouble that passes by itself: how to tell it from the rest, and how to sit it out."""

import logging
import re
from threading import Event as ThreadEvent

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)

_FIRST_S, _LONGEST_S = 0.05, 2.0
_DOUBLINGS = 10  # more than enough from the first to the longest

# What a server answers, or fails to, until somebody repairs, restarts or promotes one.
# The first that fits names the trouble.
_PASSING: dict[type[Exception], str] = {
    BusyLoadingError: "the server is loading its data",
    ReadOnlyError: "the server is a replica",
    OutOfMemoryError: "the server is out of memory",
    MasterDownError: "the server has lost its primary",
    ClusterDownError: "the cluster is down",
    TryAgainError: "the cluster is moving the stream",
    redis.TimeoutError: "the server does not answer",
    redis.ConnectionError: "the connection is lost",
}
_VANISHED = "the stream or its group has vanished"
# Those that redis-py has no exception for.
_PASSING_ANSWERS = {
    "NOGROUP": _VANISHED,
    "UNBLOCKED": _VANISHED,  # what a reader that blocks is told, by some
    "BUSY": "a script keeps the server busy",
    "MISCONF": "the server cannot write to its disk",
    "NOREPLICAS": "the server has too few replicas",
}


def passing_trouble(error: redis.RedisError) -> str | None:
    """What is wrong, if it passes by itself; None for what would fail again and again."""
    if isinstance(error, (AuthenticationError, AuthorizationError)):
        return None
    # A pipeline of redis-py puts words before what the server answers, a refused EXEC too.
    answer = re.search(r"(?:^|error: |because of: )([A-Z]+) ", str(error))
    if answer and answer[1] in _PASSING_ANSWERS:
        return _PASSING_ANSWERS[answer[1]]
    return next((said for kind, said in _PASSING.items() if isinstance(error, kind)), None)


class Trouble:
    """The trouble that one loop is in. Logs when it begins, changes and ends, not each try.

    log: where to
    who: the words that begin each line, such as "alice of billing on orders"
    """

    def __init__(self, log: logging.Logger, who: str) -> None:
        self._log, self._who = log, who
        self._backoff = ExponentialWithJitterBackoff(cap=_LONGEST_S, base=_FIRST_S)
        self._tries = 0
        self._now: str | None = None

    def sit_out(self, error: redis.RedisError, stop: ThreadEvent) -> None:
        """Wait a little longer each time, at most 2 s, and not at all once `stop` is set.

        Raises `error` itself if waiting does not help.
        """
        trouble = passing_trouble(error)
        if trouble is None:
            raise error
        if trouble != self._now:
            self._log.warning("%s: %s, trying again: %s", self._who, trouble, error)
        self._now = trouble
        # Without a limit, redis-py computes 2.0 to the power of an hour's tries: an overflow.
        stop.wait(self._backoff.compute(min(self._tries, _DOUBLINGS)))
        self._tries += 1

    def over(self) -> None:
        """Say that it works again."""
        if self._now is not None:
            self._log.warning("%s: works again after %d tries", self._who, self._tries)
            self._now, self._tries = None, 0
