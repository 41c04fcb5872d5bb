"""Which errors are transient, and what a backoff logs and raises."""

import logging
from threading import Event as StopEvent

import pytest
import redis

from redisflow_lab._internal.backoff import Backoff, transient_reason
from redisflow_lab._internal.tls import TlsError


@pytest.fixture
def stop() -> StopEvent:
    """Set already, so that a backoff does not wait."""
    stop = StopEvent()
    stop.set()
    return stop


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (redis.ConnectionError("gone"), "the connection is lost"),
        (redis.TimeoutError("slow"), "the server does not answer"),
        (redis.exceptions.BusyLoadingError("LOADING"), "the server is loading its data"),
        (redis.ReadOnlyError("READONLY"), "the server is a replica"),
        (redis.exceptions.OutOfMemoryError("OOM"), "the server is out of memory"),
        (redis.ResponseError("NOGROUP no such"), "the stream or its group has vanished"),
        (redis.ResponseError("UNBLOCKED the"), "the stream or its group has vanished"),
        (redis.ResponseError("BUSY Redis is busy running"), "a script keeps the server busy"),
        (redis.ResponseError("MISCONF Redis is"), "the server cannot write to its disk"),
        (redis.ResponseError("NOREPLICAS Not"), "the server has too few replicas"),
        (redis.exceptions.ClusterDownError("The cluster is down"), "the cluster is down"),
        (redis.exceptions.MasterDownError("Link with"), "the server has lost its primary"),
        (
            redis.ResponseError("Command # 1 (XADD x) of pipeline caused error: MISCONF Redis"),
            "the server cannot write to its disk",
        ),
        (
            redis.exceptions.ExecAbortError("Transaction discarded because of: MISCONF Redis"),
            "the server cannot write to its disk",
        ),
        (
            redis.exceptions.ExecAbortError("Transaction discarded because of: READONLY You"),
            "the server is a replica",
        ),
        (redis.InvalidResponse('Protocol error, got "H" as'), "the connection is broken"),
        (redis.InvalidResponse("Bad bulk string length"), "the connection is broken"),
        (redis.InvalidResponse('Protocol error, got "\\x15" as reply type byte'), None),
        (TlsError("no such file"), None),
        (redis.ResponseError("BUSYKEY Target key name already exists."), None),
        (redis.ResponseError("WRONGTYPE"), None),
        (redis.AuthenticationError("no"), None),
        (redis.exceptions.NoPermissionError("NOPERM"), None),
    ],
)
def test_transient_errors_have_a_reason_and_permanent_errors_have_none(
    error: redis.RedisError, reason: str | None
) -> None:
    assert transient_reason(error) == reason


def test_an_outage_is_logged_when_it_starts_changes_and_ends(
    caplog: pytest.LogCaptureFixture, stop: StopEvent
) -> None:
    backoff = Backoff(logging.getLogger("test"), "alice")
    for error in [redis.ConnectionError("gone")] * 3 + [redis.TimeoutError("slow")] * 3:
        backoff.wait_or_raise(error, stop)
    backoff.reset()
    backoff.reset()
    assert [record.getMessage() for record in caplog.records] == [
        "alice: the connection is lost, retrying: gone",
        "alice: the server does not answer, retrying: slow",
        "alice: recovered after 6 tries",
    ]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        backoff.wait_or_raise(redis.ResponseError("WRONGTYPE"), stop)


def test_an_outage_of_hours_is_retried_like_one_of_seconds(stop: StopEvent) -> None:
    backoff = Backoff(logging.getLogger("test"), "alice")
    for _ in range(2_000):
        backoff.wait_or_raise(redis.ConnectionError("gone"), stop)
