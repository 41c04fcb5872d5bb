"""No process outlives the kernel: whether it is shut down, restarted or killed."""

import ast
import os
import signal
from pathlib import Path

import psutil
import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

from redisflow_lab.lab.process import Child
from redisflow_lab.lab.waiting import wait_until

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("process_server")]

CELL = """
import os, signal
from redisflow_lab.lab import Lab
lab = Lab('own')
runs, stopped = (lab.worker(name, print) for name in ("alice", "bob"))
lab.wait_until(lambda: lab.redis.exists("orders"), "the first worker made its group")
os.kill(stopped.pid, signal.SIGSTOP)
print([os.getpid(), lab.server.pid, runs.pid, stopped.pid])
"""


def started_in(client: BlockingKernelClient) -> list[int]:
    """Run the cell; the pids of the kernel, the server and the workers."""
    printed: list[str] = []

    def collect(message: dict[str, dict[str, str]]) -> None:
        printed.append(message["content"].get("text", ""))

    reply = client.execute_interactive(CELL, output_hook=collect, timeout=60)
    assert reply["content"]["status"] == "ok", reply["content"]
    pids: list[int] = ast.literal_eval("".join(printed).splitlines()[-1])
    return pids


@pytest.mark.parametrize("attempt", range(3))
@pytest.mark.parametrize("ending", ["closed", "restarted", "killed"])
def test_no_process_and_no_file_outlives_the_kernel(
    ending: str, attempt: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        pids = started_in(client)
        if ending == "killed":
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
