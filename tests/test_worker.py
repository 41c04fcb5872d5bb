"""Worker processes: what a handle refuses and reports, and where a process is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Lock

import pytest
from network import address_of
from redis import Redis

from redisflow_lab import Delivery, Message, RedisStreamProducer
from redisflow_lab.lab import Lab
from redisflow_lab.lab.schema import compile_proto


def test_bad_arguments_are_refused_before_a_process_starts(lab: Lab, stream: str) -> None:
    with pytest.raises(
        ValueError, match="crash='at noon' is not a crash point; use one of after-claim"
    ):
        lab.worker("alice", print, stream=stream, crash="at noon")
    with pytest.raises(TypeError, match="handler must be callable, not str: 'bill'"):
        lab.worker("alice", "bill", stream=stream)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="after must be at least 1, not 0"):
        lab.worker("alice", print, stream=stream, crash="before-ack", after=0)
    with pytest.raises(ValueError, match="name is blank"):
        lab.worker(" ", print, stream=stream)
    assert not lab.redis.exists(stream)


def test_a_handler_that_cannot_be_pickled_is_refused_by_name(lab: Lab, stream: str) -> None:
    lock = Lock()

    def locked(_: object) -> None:
        with lock:
            pass

    with pytest.raises(TypeError, match=r"locked.*cannot be copied"):
        lab.worker("alice", locked, stream=stream)


def test_a_handler_may_use_a_message_of_a_compiled_schema(lab: Lab, stream: str) -> None:
    redis = lab.redis
    order_class = compile_proto(
        'syntax = "proto3"; import "google/protobuf/timestamp.proto"; message Order {'
        "string producer = 1; google.protobuf.Timestamp at = 3; optional int32 cents = 4; }"
    )
    sent = order_class(producer="web", at={"seconds": 1}, cents=450)
    lab.redis.xadd(stream, {"data": sent.SerializeToString()})

    def bill(delivery: Delivery) -> None:
        order = order_class.FromString(delivery.message.to_bytes())
        assert order == sent
        redis.rpush(f"{stream}:cents", order.cents)  # type: ignore[attr-defined]

    lab.worker("alice", bill, stream=stream).wait_for("acked", 1)
    assert lab.redis.lrange(f"{stream}:cents", 0, -1) == [b"450"]


def test_the_output_of_a_worker_that_failed_is_quoted(lab: Lab, stream: str) -> None:
    lab.redis.set(stream, "not a stream")
    worker = lab.worker("alice", print, stream=stream)
    with pytest.raises(RuntimeError, match=r"(?s)alice failed \(exit 1\).*WRONGTYPE"):
        worker.wait_end()


def test_waiting_has_a_limit_and_the_error_names_the_state(lab: Lab, stream: str) -> None:
    worker = lab.worker("alice", print, stream=stream)
    with pytest.raises(TimeoutError, match=r"0\.1 s: alice reports 1 x acked. .*no event"):
        worker.wait_for("acked", 1, timeout_s=0.1)
    worker.kill()
    with pytest.raises(RuntimeError, match=r"alice ended \(SIGKILL\) after 0 of 1 x acked"):
        worker.wait_for("acked", 1)


def test_a_timeout_says_once_what_the_handler_raised(lab: Lab, stream: str) -> None:
    """The five tracebacks and the advice to restart the kernel would hide the mistake."""
    RedisStreamProducer(lab.redis, stream).publish_many([Message("web", "a")] * 5)
    worker = lab.worker("alice", lambda delivery: delivery.id, stream=stream)
    worker.wait_for("failed", 5)
    with pytest.raises(TimeoutError) as caught:
        worker.wait_for("acked", 1, timeout_s=0.1)
    said = "raised AttributeError: 'Delivery' object has no attribute 'id' in 5 of 5 deliveries"
    assert said in str(caught.value)
    assert str(caught.value).count("AttributeError") == 1
    assert "restart" not in str(caught.value)
    assert "Traceback" in worker.output


def test_events_are_a_table_with_one_row_each(lab: Lab, stream: str) -> None:
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


@pytest.mark.parametrize(
    ("crash", "kinds", "done", "pending"),
    [
        ("after-delivery", ["delivered"] * 3, 0, 3),
        ("before-ack", ["delivered"] * 3 + ["handled", "acked", "handled"], 2, 2),
        ("after-ack", ["delivered"] * 3 + ["handled", "acked"] * 2, 2, 1),
    ],
)
def test_a_worker_is_killed_the_second_time_it_reaches_the_crash_point(
    lab: Lab, stream: str, crash: str, kinds: list[str], done: int, pending: int
) -> None:
    """In after-delivery that is the second of three entries, which one read delivered."""
    RedisStreamProducer(lab.redis, stream).publish_many(Message("web", c) for c in "abc")
    client = lab.redis

    def count(_: Delivery) -> None:
        client.incr(f"{stream}:done")

    worker = lab.worker("alice", count, stream=stream, crash=crash, after=2)
    assert worker.wait_end() == "SIGKILL"
    assert worker.died
    assert list(worker.events["kind"]) == kinds[: 2 if crash == "after-delivery" else None]
    assert int(client.get(f"{stream}:done") or 0) == done
    assert len(lab.pending(stream)) == pending


def test_sigterm_finishes_the_current_message_only(lab: Lab, stream: str) -> None:
    RedisStreamProducer(lab.redis, stream).publish_many(Message("web", c) for c in "abcd")
    client = Redis(**address_of(lab), socket_timeout=30)
    gate = f"{stream}:gate"

    def wait_at_the_gate(_: Delivery) -> None:
        client.incr(f"{gate}:reached")
        client.blpop([gate], timeout=20)

    worker = lab.worker("alice", wait_at_the_gate, stream=stream, batch=3)
    worker.wait_for("delivered", 3)
    lab.wait_until(
        lambda: client.exists(f"{gate}:reached"), "the first message is being handled"
    )
    os.kill(worker.pid, signal.SIGTERM)
    client.rpush(gate, "a", "b", "c")
    assert worker.wait_end() == "exit 0"
    assert not worker.died
    assert [worker.count(kind) for kind in ("acked", "failed")] == [1, 0]
    assert lab.groups(stream)[["pending", "lag"]].values.tolist() == [[2, 1]]


def test_a_handler_may_use_a_client_of_any_configuration(lab: Lab, stream: str) -> None:
    text = Redis(**address_of(lab), decode_responses=True)
    text.set(f"{stream}:price", "9 €")
    RedisStreamProducer(lab.redis, stream).publish(Message("web", "a"))

    def bill(delivery: Delivery) -> None:
        text.set(f"{stream}:bill", delivery.message.content + str(text.get(f"{stream}:price")))

    worker = lab.worker("alice", bill, stream=stream)
    worker.wait_for("acked", 1)
    worker.stop()
    assert text.get(f"{stream}:bill") == "a9 €"


def test_a_failing_handler_is_reported_and_the_worker_goes_on(lab: Lab, stream: str) -> None:
    ids = RedisStreamProducer(lab.redis, stream).publish_many(Message("web", c) for c in "ab")

    def decline(delivery: Delivery) -> None:
        if delivery.message.content == "a":
            raise ValueError("card declined")

    worker = lab.worker("alice", decline, stream=stream)
    worker.wait_for("acked", 1)
    assert worker.stop() == "exit 0"
    failed = worker.events.query("kind == 'failed'")
    assert failed[["entry_id", "error"]].values.tolist() == [
        [ids[0], "ValueError: card declined"]
    ]
    assert list(lab.pending(stream)["entry_id"]) == ids[:1]


def test_a_worker_without_a_name_takes_a_random_one(lab: Lab, stream: str) -> None:
    names = set()
    for content in "ab":
        RedisStreamProducer(lab.redis, stream).publish(Message("web", content))
        worker = lab.worker(None, lambda _: None, stream=stream, crash="before-ack")
        worker.wait_end()
        names |= set(worker.events["consumer"])
    assert len(names) == 2
    assert set(lab.pending(stream)["consumer"]) == names


def test_a_suspended_process_can_be_killed(lab: Lab, stream: str) -> None:
    worker = lab.worker("alice", print, stream=stream)
    lab.wait_until(lambda: lab.redis.exists(stream), "the worker has created its group")
    os.kill(worker.pid, signal.SIGSTOP)
    assert worker.kill() == "SIGKILL"
    assert worker.kill() == "SIGKILL"
    assert repr(worker) == "<worker alice: SIGKILL, 0 acked>"


def test_the_repr_of_a_worker_shows_its_state_and_acknowledgements(
    lab: Lab, stream: str
) -> None:
    RedisStreamProducer(lab.redis, stream).publish(Message("web", "a"))
    worker = lab.worker("alice", lambda _: None, stream=stream)
    worker.wait_for("acked", 1)
    assert repr(worker) == "<worker alice: running, 1 acked>"
    worker.stop()
    assert repr(worker) == "<worker alice: exit 0, 1 acked>"
    with pytest.raises(RuntimeError, match=r"alice ended \(exit 0\) after 1 of 2 x acked"):
        worker.wait_for("acked", 2)


def test_an_unknown_kind_of_event_is_refused(lab: Lab, stream: str) -> None:
    worker = lab.worker("alice", print, stream=stream)
    with pytest.raises(ValueError, match="'eaten' is not a valid Kind"):
        worker.wait_for("eaten")
    worker.kill()


@pytest.mark.once
def test_a_worker_process_does_not_import_what_only_notebooks_need() -> None:
    code = (
        "import sys; from redisflow_lab.lab.workers import worker_process; "
        "print(*{'pandas', 'matplotlib', 'IPython'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize("bad", [{"batch": 0}, {"stream": " "}, {"group": ""}], ids=str)
def test_a_worker_with_bad_arguments_is_refused_before_it_starts(
    lab: Lab, bad: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        lab.worker("alice", print, **bad)  # type: ignore[arg-type]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts in /proc")
def test_a_refused_handler_leaves_no_file_descriptor_open(lab: Lab, stream: str) -> None:
    unpicklable = (number for number in range(3))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(TypeError, match="cannot be copied"):
            lab.worker("alice", lambda _: next(unpicklable), stream=stream)
    assert len(os.listdir("/proc/self/fd")) <= before
