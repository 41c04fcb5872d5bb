"""A process that the kernel forked does not keep the server, its folder or its keys alive."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("process_server")]

KERNEL = """
import multiprocessing, signal
from redisflow_lab.lab import Lab
lab = Lab({arguments})
lab.redis.set(lab.key("a"), 1)
worker = lab.worker("alice", print, stream=lab.key("orders"))
forked = multiprocessing.get_context("fork").Process(target=signal.pause)
forked.start()
print(getattr(lab.server, "pid", 0), worker.pid, forked.pid, flush=True)
input()
"""


@contextmanager
def kernel_with_a_fork(arguments: str, **environment: str) -> Iterator[list[int]]:
    """Kill a kernel with a living fork, and yield the pids of its server and of its worker."""
    kernel = subprocess.Popen(
        [sys.executable, "-c", KERNEL.format(arguments=arguments)],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with kernel:
        assert kernel.stdout is not None
        kernel.stdout.readline()
        server, worker, forked = map(int, kernel.stdout.readline().split())
        kernel.send_signal(signal.SIGKILL)
        kernel.wait()
        try:
            yield [server, worker]
            assert alive(forked)
        finally:
            os.kill(forked, signal.SIGKILL)


def test_the_server_and_its_files_go_with_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with kernel_with_a_fork("'own'") as pids:
        wait_until(lambda: not any(map(alive, pids)), "server and worker are gone")
        wait_until(lambda: not list(tmp_path.glob("redisflow-*")), "the folder is gone")


def test_the_data_folder_can_be_used_again(tmp_path: Path) -> None:
    with kernel_with_a_fork(f"'own', data_dir={str(tmp_path)!r}") as pids:
        wait_until(lambda: not any(map(alive, pids)), "server and worker are gone")
        lab = Lab("own", data_dir=tmp_path)
        assert lab.redis.get("a") == b"1"
        lab.close()


def test_the_keys_on_a_shared_server_go_with_the_kernel(own_lab: Lab) -> None:
    with kernel_with_a_fork("", REDISFLOW_URL=url_of(own_lab), REDISFLOW_SERVER="") as _:
        wait_until(lambda: own_lab.redis.keys() == [], "the keys are gone")


def url_of(lab: Lab) -> str:
    settings = lab.redis.connection_pool.connection_kwargs
    return f"redis://:{settings['password']}@127.0.0.1:{settings['port']}"


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
