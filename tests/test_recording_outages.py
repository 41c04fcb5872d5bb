"""A recording tells the truth while the server is silent, gone, refuses, or has another key."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations

import pytest

from redisflow_lab import Message
from redisflow_lab.inspection.state import Consumer, Group, Owned, State
from redisflow_lab.lab import Lab
from redisflow_lab.lab.recording.moment import Happening, Moment
from redisflow_lab.lab.recording.recorder import Recorder
from redisflow_lab.lab.recording.recording import Recording
from redisflow_lab.lab.views.history import History
from redisflow_lab.lab.views.layout import WIDTH
from redisflow_lab.lab.views.shapes import Path, Rect, Text


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


DOWN = Moment(2.0, None, "the server is down")


def pending_since_the_start() -> Recording:
    """An entry is pending with alice, and in between the server is down."""
    billing = Group("1-0", 0, 1, {"1-0": Owned("alice", 1, 0)}, {"alice": Consumer(1, 0)})
    state = State(1, 1, "1-0", ("1-0",), {"billing": billing}, 0, ())
    times = [Moment(0.0, state), Moment(1.0, state), DOWN, replace(DOWN, t_s=6.0)]
    return Recording("orders", [*times, Moment(8.0, state), Moment(10.0, state)], [])


def test_seconds_have_a_gap_while_the_server_is_down_and_go_on_after_it() -> None:
    frame = History(pending_since_the_start(), "billing", 0.0).frame(0)
    before, after = (frame[f"pending-line s {number}"] for number in range(2))
    assert isinstance(before, Path)
    assert isinstance(after, Path)
    x = [128.0 + 74.2 * second for second in (0, 2, 8, 10)]
    ends = [before.points[0][0], before.points[-1][0], after.points[0][0], after.points[-1][0]]
    assert ends == pytest.approx(x, abs=0.1)
    heights = [190 - after.points[number][1] for number in (0, -1)]
    assert heights[0] / heights[1] == pytest.approx(8 / 10, abs=0.02)  # 8 s and 10 s


def test_labels_of_marks_neither_overlap_nor_cover_a_plot() -> None:
    """Ten processes start at once, ten in a row, and ten right at the end."""
    times = [*[0.0] * 10, *(float(number) for number in range(10)), *[10.0] * 10]
    started = [
        Happening(t_s, "started", "", "billing", f"consumer-{number}")
        for number, t_s in enumerate(times)
    ]
    recording = replace(pending_since_the_start(), happenings=started)
    frame = History(recording, "billing", 0.0).frame(0)
    plates = [shape for shape in frame.values() if isinstance(shape, Rect)]
    assert len(plates) >= 6
    for one, other in combinations(plates, 2):
        assert (
            one.x + one.width <= other.x or other.x + other.width <= one.x or one.y != other.y
        )
    axis = frame["entries axis"]
    assert isinstance(axis, Path)
    assert all(of.x >= 0 and of.x + of.width <= WIDTH for of in plates)
    assert all(of.y > 15 and of.y + of.height < axis.points[0][1] for of in plates)
