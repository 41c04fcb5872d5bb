"""No process outlives the kernel: whether it is shut down, restarted or killed."""

import ast
import gc
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from consumers import Publish
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.lab import Lab
from redisflow_lab.lab.chapters import kernel_settings
from redisflow_lab.lab.process import Child
from redisflow_lab.lab.waiting import wait_until

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("process_server")]

CELL = """
import os, signal, psutil
from redisflow_lab.lab import Lab
lab = Lab('own')
runs, stopped = (lab.worker(name, print) for name in ("alice", "bob"))
lab.wait_until(lambda: lab.redis.exists("orders"), "the first worker made its group")
os.kill(stopped.pid, signal.SIGSTOP)
function = lab.process(signal.pause)
started = [lab.server.pid, psutil.Process(function.pid).ppid(), runs.pid, stopped.pid,
           function.pid]
if {is_template_stopped}:
    os.kill(started[1], signal.SIGSTOP)
print([os.getpid(), *started])
"""


def started_in(client: BlockingKernelClient, cell: str) -> list[int]:
    """Run the cell; the pids of the kernel, the server, the template and its processes."""
    printed: list[str] = []

    def collect(message: dict[str, dict[str, str]]) -> None:
        printed.append(message["content"].get("text", ""))

    reply = client.execute_interactive(cell, output_hook=collect, timeout=60)
    assert reply["content"]["status"] == "ok", reply["content"]
    pids: list[int] = ast.literal_eval("".join(printed).splitlines()[-1])
    return pids


@pytest.mark.parametrize("attempt", range(3))
@pytest.mark.parametrize(
    "ending", ["closed", "restarted", "killed", "killed, template stopped"]
)
def test_no_process_and_no_file_outlives_the_kernel(
    ending: str, attempt: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    manager = KernelManager(kernel_name="python3", **kernel_settings())
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        is_template_stopped = ending.endswith("stopped")
        pids = started_in(client, CELL.format(is_template_stopped=is_template_stopped))
        if ending.startswith("killed"):
            os.kill(pids[0], signal.SIGKILL)
        elif ending == "restarted":
            manager.restart_kernel(now=False)
        else:
            client.shutdown()
        wait_until(
            lambda: not any(alive(pid) for pid in pids[1:]),
            f"the server and the workers {pids[1:]} are gone",
        )
        wait_until(lambda: not list(tmp_path.glob("redisflow-*")), "the folder is gone")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a template")
def test_processes_end_with_a_template_that_is_killed_and_the_next_gets_another(
    own_lab: Lab, publish: Publish
) -> None:
    first = own_lab.worker("alice", print)
    template = psutil.Process(first.pid).ppid()
    os.kill(template, signal.SIGKILL)
    assert first.wait_end() == "SIGKILL"
    wait_until(lambda: not alive(first.pid), "the worker is gone")
    publish("1 x Dune")
    second = own_lab.worker("alice", print)
    second.wait_for("acked", 1)
    assert psutil.Process(second.pid).ppid() != template


def test_where_forking_is_not_safe_a_process_is_started_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("redisflow_lab.lab.workers.starters.sys.platform", "darwin")
    lab = Lab("own")
    RedisStreamProducer(lab.redis, "orders").publish(Message("web", "1 x Dune"))
    worker = lab.worker("alice", print, crash="before-ack")
    assert worker.wait_end() == "SIGKILL"
    with pytest.raises(RuntimeError, match=r"(?s)failed .exit 1.*ZeroDivisionError"):
        lab.process(lambda: 1 / 0).wait_end()
    left = lab.process(signal.pause)
    lab.close()
    assert not alive(left.pid)


def test_a_process_ends_with_its_handle(lab: Lab) -> None:
    pid = lab.process(signal.pause).pid
    lab._processes.clear()
    gc.collect()
    wait_until(lambda: not alive(pid), "the process is gone")


def test_a_child_process_ends_with_its_handle(tmp_path: Path) -> None:
    child = Child(["sleep", "60"], cwd=tmp_path, log=tmp_path / "log")
    pid = child.pid
    wait_until(lambda: psutil.Process(pid).name() == "sleep", "the program runs")
    del child
    wait_until(lambda: not alive(pid), "the program is gone")


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a template")
def test_a_template_that_was_stopped_is_killed_after_a_while(own_lab: Lab) -> None:
    first = own_lab.process(signal.pause)
    template = psutil.Process(first.pid).ppid()
    os.kill(template, signal.SIGSTOP)
    second = own_lab.process(signal.pause)
    assert second.kill() == "SIGKILL"
    assert first.wait_end() == "SIGKILL"
    wait_until(lambda: not alive(first.pid), "its other process is gone")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a template")
def test_why_a_template_cannot_start_is_told(
    own_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uuid.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.syspath_prepend(tmp_path)
    own_lab.process(signal.pause).kill()
    with pytest.raises(RuntimeError, match=r"(?s)no process can be started.*wrong module"):
        own_lab.process(signal.pause)
