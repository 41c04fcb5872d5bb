"""Labs with several servers: private, gone with the kernel, and refused in one sentence."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError
from redis.retry import Retry
from several import lab_of
from test_orphans import alive

from redisflow_lab.lab import Lab
from redisflow_lab.lab.server import ServerError
from redisflow_lab.lab.waiting import wait_until

pytestmark = pytest.mark.usefixtures("process_server")

SCRIPT = """
import psutil, sys
from redisflow_lab.lab import Lab
lab = Lab({layout})
if {is_paused}:
    lab.nodes["node-1"].pause()
print(*[child.pid for child in psutil.Process().children(recursive=True)], flush=True)
sys.stdin.read()
"""


@pytest.mark.once
@pytest.mark.parametrize(
    ("layout", "count", "is_paused"),
    [
        pytest.param("replicas=1, sentinels=3", 5, True, marks=pytest.mark.slow),
        ("cluster=3, replicas=3", 12, False),
    ],
)
def test_no_process_and_no_file_outlives_a_killed_kernel(
    layout: str, count: int, is_paused: bool, tmp_path: Path
) -> None:
    kernel = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(layout=layout, is_paused=is_paused)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert kernel.stdout is not None
    assert "The lab runs on" in kernel.stdout.readline()
    pids = [int(pid) for pid in kernel.stdout.readline().split()]
    servers = [pid for pid in pids if "server.conf" in " ".join(psutil.Process(pid).cmdline())]
    assert len(servers) >= count
    kernel.send_signal(signal.SIGKILL)
    kernel.communicate()
    wait_until(lambda: not any(map(alive, pids)), "all processes are gone")
    wait_until(lambda: not list(tmp_path.glob("redisflow-*")), "the folder is gone")


def test_each_server_is_private() -> None:
    with lab_of(replicas=1, sentinels=1) as lab:
        password = lab.url.split(":")[2].split("@")[0]
        shown = [repr(lab), repr(lab.server), lab.server.label, repr(lab.servers())]
        for node in lab.nodes.values():
            with pytest.raises(AuthenticationError):
                Redis(port=node.port, retry=Retry(NoBackoff(), 0)).ping()
            mine = [c for c in psutil.net_connections() if c.pid == node.pid]
            assert {c.laddr.ip for c in mine if c.status == "LISTEN"} == {"127.0.0.1"}
            assert stat.S_IMODE(node.folder.stat().st_mode) == 0o700
            assert stat.S_IMODE((node.folder / "server.conf").stat().st_mode) == 0o600
            shown += [repr(node), " ".join(psutil.Process(node.pid).cmdline())]
        network = lab.server.nodes.network._child  # type: ignore[attr-defined]
        shown.append(" ".join(psutil.Process(network.pid).cmdline()))
        assert not [text for text in shown if password in text]


def test_close_leaves_no_process_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lab = Lab(replicas=1)
    pids = [child.pid for child in psutil.Process().children(recursive=True)]
    lab.close()
    lab.close()
    own = [pid for pid in pids if alive(pid) and str(tmp_path) in psutil.Process(pid).cwd()]
    assert own == []
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_start_ends_the_others_and_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bin" / "redis-server"
    broken.parent.mkdir()
    broken.write_text(
        "#!/bin/sh\n[ $1 = --version ] && exec echo 'Redis server v=7.2.0'\n"
        "case $PWD in *node-2) echo no such luck; exit 1;; esac\nexec sleep 60\n"
    )
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("REDISFLOW_SERVER", "path")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("redisflow_lab.lab.server.private._START_S", 0.5)
    with pytest.raises(ServerError, match=r"node-1: |node-2: (?s:.*)no such luck"):
        Lab(replicas=1)
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ({"replicas": -1}, "replicas=-1 is less than 0"),
        ({"cluster": "3"}, "cluster='3' must be an int"),
        ({"replicas": True}, "replicas=True must be an int"),
        ({"sentinels": 3}, "sentinels=3 have no replica.*write replicas=1 as well"),
        ({"cluster": 3, "sentinels": 3}, "cluster=3 and sentinels=3 exclude each other"),
        ({"cluster": 2}, r"cluster=2 is too small.*Write cluster=3"),
        ({"server": "docker", "replicas": 1}, "several servers does not use Docker"),
        ({"port": 7000, "replicas": 1}, "port and data_dir configure one server"),
    ],
    ids=str,
)
def test_what_cannot_be_started_is_named(layout: dict[str, Any], said: str) -> None:
    with pytest.raises((ServerError, TypeError, ValueError), match=said):
        Lab(**layout)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REDISFLOW_URL", "redis://example.invalid"),
        ("REDISFLOW_SERVER", "docker:redis:8.10.2"),
    ],
)
def test_a_lab_of_several_servers_starts_its_own_whatever_the_environment_names(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    lab = Lab(replicas=1)
    try:
        lab.redis.set("a", 1)
        for misuse in (lab.server.kill, lab.server.start):
            with pytest.raises(ServerError, match="several servers: say which one"):
                misuse()
    finally:
        lab.close()


def test_a_lab_with_one_server_says_how_to_get_several(own_lab: Lab) -> None:
    for misuse in (lambda: own_lab.nodes, own_lab.failover, own_lab.servers, own_lab.heal):
        with pytest.raises(ServerError, match=r"this lab has one server. Lab\(replicas=1"):
            misuse()


def test_a_lab_with_one_server_imports_nothing_for_several() -> None:
    code = (
        "import sys; from redisflow_lab.lab import Lab; lab = Lab('own'); lab.close(); "
        "print([m for m in sys.modules if m.rpartition('.')[2] in ('topology', 'network')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_where_the_network_cannot_be_cut_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redisflow_lab.lab.server.network._can_connect_from", lambda _: False)
    with lab_of(replicas=1) as lab:
        with pytest.raises(ServerError, match=r"no address 127.0.0.11.*kill or pause"):
            lab.partition("node-1")
        lab.heal()
        assert [*lab.replication()["link"]] == ["up"]


def test_a_lab_whose_network_has_ended_says_so() -> None:
    with lab_of(replicas=1) as lab:
        network = lab.server.nodes.network  # type: ignore[attr-defined]
        os.kill(network._child.pid, signal.SIGKILL)
        wait_until(lambda: not alive(network._child.pid), "it is gone")
        with pytest.raises(ServerError, match="between the servers has ended"):
            lab.partition("node-1")
