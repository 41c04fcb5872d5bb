"""The handle of a worker process: what it refuses, and what it says when things go wrong."""

from threading import Lock

import pytest

from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.lab import Lab


def test_bad_arguments_are_refused_before_a_process_starts(lab: Lab, stream: str) -> None:
    with pytest.raises(ValueError, match="crash='at noon' is unknown; one of after-delivery"):
        lab.worker("alice", print, stream=stream, crash="at noon")
    with pytest.raises(TypeError, match="handler must be callable, not str: 'bill'"):
        lab.worker("alice", "bill", stream=stream)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="after must be at least 1, not 0"):
        lab.worker("alice", print, stream=stream, crash="before-ack", after=0)
    with pytest.raises(ValueError, match="name is blank"):
        lab.worker(" ", print, stream=stream)
    assert not lab.redis.exists(stream)


def test_a_handler_that_cannot_travel_is_refused_by_name(lab: Lab, stream: str) -> None:
    lock = Lock()

    def locked(_: object) -> None:
        with lock:
            pass

    with pytest.raises(TypeError, match=r"locked.*cannot be carried"):
        lab.worker("alice", locked, stream=stream)


def test_a_worker_that_fails_is_quoted(lab: Lab, stream: str) -> None:
    lab.redis.set(stream, "not a stream")
    worker = lab.worker("alice", print, stream=stream)
    with pytest.raises(RuntimeError, match=r"(?s)alice failed \(exit 1\).*WRONGTYPE"):
        worker.wait_end()


def test_waiting_has_a_limit_and_says_for_what(lab: Lab, stream: str) -> None:
    worker = lab.worker("alice", print, stream=stream)
    with pytest.raises(TimeoutError, match=r"0\.1 s, but not: alice reports 1 acked"):
        worker.wait_for("acked", 1, timeout_s=0.1)
    worker.kill()
    with pytest.raises(RuntimeError, match=r"alice ended \(SIGKILL\) after 0 of 1 acked"):
        worker.wait_for("acked", 1)


def test_events_are_one_row_each(lab: Lab, stream: str) -> None:
    entry_id = RedisStreamProducer(lab.redis, stream).publish(Message("web", "a"))
    worker = lab.worker("alice", lambda _: None, stream=stream)
    worker.wait_for("acked", 1)
    worker.stop()
    events = worker.events
    assert list(events["kind"]) == ["delivered", "handled", "acked"]
    assert set(events["entry_id"]) == {entry_id}
    assert list(events.columns) == [
        "kind", "entry_id", "consumer", "at", "deliveries", "error",
    ]  # fmt: skip
