"""A function of the notebook in a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread
from time import monotonic

import psutil
import pytest
from consumers import all_at_once

from redisflow_lab import Delivery, Message, RedisStreamProducer
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until
from redisflow_lab.lab.workers.process import Process


def test_it_kills_itself_in_the_middle_and_what_it_did_before_is_there(
    lab: Lab, stream: str
) -> None:
    client = lab.redis

    def bill(*orders: str) -> None:
        for order in orders:
            if order == "Emma":
                os.kill(os.getpid(), signal.SIGKILL)
            client.rpush(stream, order)
            print(order)  # noqa: T201

    process = lab.process(bill, "Dune", "Emma")
    assert process.wait_end() == "SIGKILL"
    assert process.died
    assert process.output == "Dune\n"
    assert client.lrange(stream, 0, -1) == [b"Dune"]
    assert repr(process) == "<process bill: SIGKILL>"


def test_how_it_ended_is_told_with_its_output(lab: Lab) -> None:
    assert lab.process(print, "said").wait_end() == "exit 0"
    with pytest.raises(RuntimeError, match=r"(?s)len failed \(exit 1\).*TypeError"):
        lab.process(len, 1).wait_end()
    pause = lab.process(signal.pause)
    with pytest.raises(TimeoutError, match=r"pause ends\. It is still running"):
        pause.wait_end(timeout_s=0.01)
    assert pause.kill() == pause.kill() == "SIGKILL"


def test_what_cannot_be_copied_is_refused_by_name(lab: Lab) -> None:
    thread = Thread()

    def locked() -> None:
        thread.start()

    with pytest.raises(TypeError, match="the function locked cannot be copied"):
        lab.process(locked)


def test_several_threads_may_start_processes(lab: Lab) -> None:
    own = Lab("own")
    started: list[Process] = []
    all_at_once([lambda: started.append(own.process(signal.pause))] * 8)
    assert [process.state for process in started] == ["running"] * 8
    own.close()


def test_what_a_handler_has_forked_ends_with_its_process(lab: Lab, stream: str) -> None:
    client, noted = lab.redis, f"{stream}:pid"

    def fork(_: Delivery) -> None:
        if (pid := os.fork()) == 0:
            signal.pause()
        client.set(noted, pid)

    RedisStreamProducer(client, stream).publish(Message("web", "1 x Dune"))
    worker = lab.worker("alice", fork, stream=stream)
    worker.wait_for("acked")
    began = monotonic()
    assert worker.kill() == "SIGKILL"
    assert monotonic() - began < 5
    pid = int(client.get(noted) or 0)
    wait_until(lambda: not psutil.pid_exists(pid), "its fork is gone")


def test_a_signal_without_a_name_is_told_by_its_number(lab: Lab) -> None:
    assert lab.process(lambda: os.kill(os.getpid(), 40)).wait_end() == "signal 40"


def test_it_does_not_wait_for_what_the_template_does(lab: Lab) -> None:
    processes = [lab.process(signal.pause) for _ in range(20)]
    assert len({process.pid for process in processes}) == 20
    assert [process.kill() for process in processes] == ["SIGKILL"] * 20


def test_a_child_may_inherit_the_descriptor_that_its_guard_would_use(tmp_path: Path) -> None:
    script = (
        "import os; from pathlib import Path; from redisflow_lab.lab.process import Child; "
        "read, write = map(os.dup, os.pipe()); os.dup2(write, 3); "
        "child = Child(['sh', '-c', 'echo inherited >&3; sleep 9'], cwd=Path('/'), "
        f"log=Path({str(tmp_path / 'log')!r}), pass_fds=[3]); "
        "os.close(write), os.close(3), os.close(4), print(os.read(read, 9))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20
    )
    assert "inherited" in done.stdout, done.stderr
