"""Trims a producer's stream from time to time."""

from time import monotonic

from redis import Redis
from redis.exceptions import RedisError

from redisflow_lab._internal.guarded_log import GuardedLog
from redisflow_lab._internal.printable import printable
from redisflow_lab.retention import Retention, trim

log = GuardedLog("redisflow_lab.producer")


class Trimmer:
    """Applies a retention, at most once in each `every_s`.

    What has just been published is written, whatever becomes of the trim: so an error is
    logged, once for each reason, and the next trim is tried in its turn.
    """

    def __init__(self, redis: Redis, stream: str, retention: Retention) -> None:
        self._redis, self._stream, self._retention = redis, stream, retention
        self._due_at = monotonic()
        self._refusal = ""

    def trim_if_due(self) -> None:
        """Trim, if it is time for it."""
        if monotonic() < self._due_at:
            return
        kept = self._retention
        try:
            done = trim(
                self._redis, self._stream,
                older_than_s=kept.older_than_s, acknowledged=kept.acknowledged,
            )  # fmt: skip
        except RedisError as error:
            if str(error) != self._refusal:
                names = map(printable, (self._stream, str(error)))
                log.warning("%s is not trimmed, and it is tried again: %s", *names)
            self._refusal = str(error)
        else:
            self._refusal = ""
            log.debug("removed %d entries of %s", done.removed, printable(self._stream))
        self._due_at = monotonic() + kept.every_s
