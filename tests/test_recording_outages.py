"""A recording tells the truth while the server is silent, gone, refuses, or has another key."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from redisflow_lab import Message
from redisflow_lab.lab import Lab
from redisflow_lab.lab.recording.recorder import Recorder
from redisflow_lab.lab.recording.recording import Recording
from redisflow_lab.lab.views.history import History
from redisflow_lab.lab.views.shapes import Path, Text


@contextmanager
def silent(lab: Lab) -> Iterator[None]:
    """The server does not answer while the block runs, but its connections stay open."""
    pid = lab.server.pid  # type: ignore[attr-defined]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients wait 0.3 s for a reply instead of 5 s."""
    monkeypatch.setattr("redisflow_lab.lab.server.client.SOCKET_TIMEOUT_S", 0.3)


@pytest.fixture
def thread_errors(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What ended a thread."""
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: errors.append(args.exc_value))
    return errors


def add(lab: Lab, stream: str, *ids: str) -> None:
    for entry_id in ids:
        lab.redis.xadd(stream, Message("web", "a").to_fields(), id=entry_id)  # type: ignore[arg-type]


def lines(recording: Recording, what: str) -> list[Path]:
    """The lines of lag or pending, in entries: one for each stretch that is known."""
    history = History(recording, "billing", 0.0)
    frame = history.frame(len(recording.moments) - 1)
    return [
        shape
        for name, shape in frame.items()
        if isinstance(shape, Path)
        and name.startswith(f"{what} ")
        and name.split()[1].isdecimal()
    ]


@pytest.mark.usefixtures("process_server", "impatient")
def test_a_silent_server_is_a_gap_and_the_recording_goes_on(
    own_lab: Lab, thread_errors: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    own_lab.redis.xgroup_create("orders", "billing", id="0", mkstream=True)
    own_lab.record()
    with silent(own_lab):
        trouble = own_lab.recording().moments[-1].trouble
    assert trouble == "the server does not answer"
    own_lab.wait_until(
        lambda: own_lab.recording().moments[-1].state is not None, "the server is asked again"
    )
    recording = own_lab.recording()
    assert recording.samples["t_s"].is_monotonic_increasing
    assert len(lines(recording, "lag")) == len(lines(recording, "pending")) == 2
    assert thread_errors == []


def test_a_key_of_another_type_is_named(lab: Lab, stream: str) -> None:
    lab.redis.rpush(stream, "not a stream")
    lab.record(stream)
    recording = lab.recording(stream)
    assert "is a list and not a stream" in recording.moments[-1].trouble
    assert recording.samples.empty
    assert "is a list and not a stream" in repr(lab.replay(stream))


def test_a_refused_command_is_quoted(lab: Lab, stream: str) -> None:
    lab.redis.xgroup_create(stream, "billing", id="0", mkstream=True)
    stranger = lab.server.connect()
    stranger.connection_pool.connection_kwargs.update(username="default", password="a guess")
    recorder = Recorder(stranger, stream)
    try:
        said = recorder.recording.moments[-1].trouble
    finally:
        recorder.close()
    assert said not in ("the server is down", "the server does not answer")
    assert "WRONGPASS" in said or "invalid" in said


def test_a_lag_that_is_not_known_is_no_line(lab: Lab, stream: str) -> None:
    add(lab, stream, *(f"{number}-0" for number in range(1, 7)))
    lab.redis.xgroup_create(stream, "billing", id="3-0")
    lab.redis.xdel(stream, "5-0")
    lab.record(stream)
    recording = lab.recording(stream)
    assert recording.samples["lag"].isna().all()
    assert lines(recording, "lag") == []
    assert len(lines(recording, "pending")) == 1


@pytest.mark.parametrize("most", [0, 1, 3])
def test_the_axis_of_entries_ends_at_a_whole_number(lab: Lab, stream: str, most: int) -> None:
    lab.redis.xgroup_create(stream, "billing", id="0", mkstream=True)
    lab.record(stream)
    add(lab, stream, *(f"{number}-0" for number in range(1, most + 1)))
    frame = History(lab.recording(stream), "billing", 0.0).frame(0)
    top = frame["entries most"]
    assert isinstance(top, Text)
    assert top.text == str(max(most, 1))
