"""A watch tells the truth while the server is silent, and never hides the learner's error."""

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from redisflow_lab.lab import Lab
from redisflow_lab.lab.views import live


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


@pytest.mark.usefixtures("process_server", "impatient")
def test_a_silent_server_leaves_a_gap_and_the_watch_goes_on(
    own_lab: Lab, thread_errors: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    own_lab.redis.xgroup_create("orders", "billing", id="0", mkstream=True)
    with own_lab.watch("orders") as watch:
        own_lab.wait_until(lambda: len(watch.samples) > 0, "a sample is taken")
        with silent(own_lab):
            own_lab.wait_until(lambda: watch.gaps, "a sample is missed")
            watch.mark("silent")
            assert "the server does not answer" in watch._html().data
        before = len(watch.samples)
        own_lab.wait_until(lambda: len(watch.samples) > before, "samples are taken again")
    assert len(watch.gaps) == 1
    assert watch.samples["t_s"].is_monotonic_increasing
    assert thread_errors == []


@pytest.mark.usefixtures("process_server")
def test_samples_can_be_read_while_the_server_is_silent(own_lab: Lab) -> None:
    own_lab.redis.xgroup_create("orders", "billing", id="0", mkstream=True)
    with own_lab.watch("orders") as watch:
        own_lab.wait_until(lambda: len(watch.samples) > 0, "a sample is taken")
        with silent(own_lab):
            own_lab.wait_until(lambda: watch._measuring.locked(), "a sample is asked for")
            read = threading.Thread(target=lambda: watch.samples)
            read.start()
            read.join(1.0)
            assert not read.is_alive()


def test_a_watch_of_another_type_says_so(lab: Lab, stream: str) -> None:
    lab.redis.rpush(stream, "not a stream")
    with lab.watch(stream) as watch:
        assert "is a list and not a stream" in watch._html().data
        watch.mark("looked")
    assert watch.samples.empty


def test_a_refused_command_is_quoted(lab: Lab, stream: str) -> None:
    lab.redis.xgroup_create(stream, "billing", id="0", mkstream=True)
    stranger = lab.server.connect()
    stranger.connection_pool.connection_kwargs.update(username="default", password="a guess")
    with live.watch_stream(stranger, stream) as watch:
        said = watch._html().data
    assert "the server is down" not in said
    assert "WRONGPASS" in said or "invalid" in said


class FullDisk(io.StringIO):
    """Where the view is printed outside Jupyter."""

    def write(self, _: str) -> int:
        raise OSError("No space left on device")


def test_an_error_in_the_block_is_raised_although_drawing_fails_too(
    lab: Lab, stream: str, monkeypatch: pytest.MonkeyPatch, thread_errors: list[object]
) -> None:
    def fail_while_drawing_fails() -> None:
        with lab.watch(stream):
            monkeypatch.setattr(sys, "stdout", FullDisk())
            raise KeyError("my own mistake")

    with pytest.raises(KeyError, match="my own mistake") as raised:
        fail_while_drawing_fails()
    assert "No space left" in " ".join(raised.value.__notes__)


def test_an_error_of_drawing_is_raised_if_the_block_had_none(
    lab: Lab, stream: str, monkeypatch: pytest.MonkeyPatch, thread_errors: list[object]
) -> None:
    with pytest.raises(OSError, match="No space left"), lab.watch(stream):
        monkeypatch.setattr(sys, "stdout", FullDisk())
