"""A server that others use too: the lab touches its own keys only, and explains refusals."""

import gc
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest
from network import address_of
from tls import speaking_tls

from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.inspection.missing import NoSuchGroupError
from redisflow_lab.lab import Lab
from redisflow_lab.lab.process import Child
from redisflow_lab.lab.server import ServerError
from redisflow_lab.lab.server.ports import free_ports
from redisflow_lab.lab.waiting import wait_until
from tools.matrix.shared_server import all_keys, populate

PASSWORD = "not to be shown"
QUOTED = PASSWORD.replace(" ", "%20")


@pytest.fixture
def host() -> Iterator[Lab]:
    """A server that others use too, with keys of every type and a user for the lab."""
    host = Lab("own")
    populate(host.redis, PASSWORD)
    yield host
    host.close()


@pytest.fixture
def open_lab_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Opens a lab on the server at a URL."""
    guests: list[Lab] = []

    def open_lab_at(url: str) -> Lab:
        monkeypatch.setenv("REDISFLOW_URL", url)
        monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
        guests.append(Lab())
        return guests[-1]

    yield open_lab_at
    for guest in guests:
        guest.close()


def url_of(host: Lab, user: str = f"learner:{QUOTED}", scheme: str = "redis") -> str:
    return f"{scheme}://{user}@127.0.0.1:{address_of(host)['port']}/0"


def use(guest: Lab) -> None:
    """Write, consume in another process and look, as a chapter does."""
    orders = guest.key("orders")
    RedisStreamProducer(guest.redis, orders).publish(Message("web", "a"), key="1")
    worker = guest.worker("alice", lambda _: None, stream=orders)
    worker.wait_for("acked", 1)
    worker.stop()
    assert guest.groups(orders)["lag"].tolist() == [0]
    assert guest.groups(orders).caption == "groups of orders"


def test_the_lab_works_for_a_user_restricted_to_its_prefix_and_leaves_nothing_behind(
    host: Lab, open_lab_at
) -> None:
    before = all_keys(host.redis)
    guest = open_lab_at(url_of(host))
    use(guest)
    ours = set(all_keys(host.redis)) - set(before)
    assert ours
    assert all(key.startswith(guest.key("").encode()) for key in ours)
    guest.close()
    assert all_keys(host.redis) == before


def test_the_lab_takes_a_name_with_or_without_the_prefix(host: Lab, open_lab_at) -> None:
    guest = open_lab_at(url_of(host))
    orders = guest.key("orders")
    RedisStreamProducer(guest.redis, orders).publish_many([Message("web", "a")] * 3)
    with pytest.raises(NoSuchGroupError, match="on the stream 'orders'"):
        guest.consumers()
    guest.redis.xgroup_create(orders, "billing", id="0")
    guest.record()
    with guest.change():
        worker = guest.worker("alice", lambda _: None)
        worker.wait_for("acked", 3)
    assert guest.recording(orders).samples["pending"].iloc[-1] == 0
    again = guest.worker("alice", lambda _: None, stream=orders)  # it is the same stream
    assert worker.ended
    again.stop()
    assert guest.key(orders) == orders
    for look in (guest.stream, guest.groups, guest.consumers, guest.pending):
        by_default, short, whole = (
            table.drop(columns=["idle_ms", "inactive_ms"], errors="ignore")
            for table in (look(), look("orders"), look(orders))
        )
        assert by_default.equals(short)
        assert by_default.equals(whole)
    assert len(guest.dead_letters()) == 0
    assert guest.stream()["length"].tolist() == [3]


def test_each_lab_deletes_its_own_keys_only(host: Lab, open_lab_at) -> None:
    first, second = open_lab_at(url_of(host)), open_lab_at(url_of(host))
    for guest in (first, second):
        for number in range(1_500):  # more than one round of SCAN
            guest.redis.set(guest.key(f"key {number}"), 1)
    first.close()
    assert host.redis.keys(f"{first.key('')}*") == []
    assert len(host.redis.keys(f"{second.key('')}*")) == 1_500


def test_a_killed_lab_leaves_no_key(host: Lab) -> None:
    before = all_keys(host.redis)
    code = (
        "from redisflow_lab.lab import Lab; lab = Lab(); lab.redis.set(lab.key('a'), 1); "
        "print('written', flush=True); input()"
    )
    guest = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "REDISFLOW_URL": url_of(host), "REDISFLOW_SERVER": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with guest:
        assert guest.stdout is not None
        assert "your URL" in guest.stdout.readline()
        assert guest.stdout.readline() == "written\n"
        assert all_keys(host.redis) != before
        guest.send_signal(signal.SIGKILL)
    wait_until(lambda: all_keys(host.redis) == before, "its keys are gone")


def test_a_lab_that_is_garbage_collected_leaves_no_key(
    host: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = all_keys(host.redis)
    monkeypatch.setenv("REDISFLOW_URL", url_of(host))
    monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
    guest = Lab()
    guest.redis.set(guest.key("a"), 1)
    del guest
    gc.collect()
    wait_until(lambda: all_keys(host.redis) == before, "its keys are gone")


def test_a_shared_server_is_neither_started_nor_killed(host: Lab, open_lab_at) -> None:
    guest = open_lab_at(url_of(host))
    for refused in (guest.server.kill, guest.server.start):
        with pytest.raises(
            ServerError, match=r"the lab does not (kill|start) .* \(your URL\): "
        ):
            refused()
    assert host.redis.ping()


def test_an_own_server_can_be_asked_for_and_killed_instead(host: Lab, open_lab_at) -> None:
    open_lab_at(url_of(host))
    own = Lab("own")
    own.server.kill()
    own.close()
    assert host.redis.ping()


@pytest.mark.parametrize("setting", [{"appendonly": False}, {"port": 1}, {"data_dir": "x"}])
def test_settings_of_an_own_server_are_refused_and_not_ignored(
    host: Lab, monkeypatch: pytest.MonkeyPatch, setting: dict[str, object]
) -> None:
    monkeypatch.setenv("REDISFLOW_URL", url_of(host))
    monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
    with pytest.raises(ServerError, match=r"names a running one\. Write Lab\('own', "):
        Lab(**setting)  # type: ignore[arg-type]


def test_a_lab_works_over_tls(host: Lab, open_lab_at, tmp_path: Path) -> None:
    with speaking_tls(address_of(host)["port"], tmp_path) as (port, authority):
        guest = open_lab_at(
            f"rediss://learner:{QUOTED}@localhost:{port}/0?ssl_ca_certs={authority}"
        )
        use(guest)
        guest.close()


@pytest.mark.usefixtures("process_server")
def test_a_lab_works_over_a_unix_socket(host: Lab, open_lab_at, tmp_path: Path) -> None:
    with serving(host, tmp_path, "port 0", f"unixsocket {tmp_path}/redis.sock"):
        guest = open_lab_at(f"unix://{tmp_path}/redis.sock?db=0")
        use(guest)
        guest.close()


def refusal(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The error for the server at this URL. It never shows the password."""
    monkeypatch.setenv("REDISFLOW_URL", url)
    monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
    with pytest.raises(ServerError) as refused:
        Lab()
    assert PASSWORD not in str(refused.value)
    assert QUOTED not in str(refused.value)
    return str(refused.value)


def test_a_refused_password_is_explained(host: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(url_of(host, "learner:guess"), monkeypatch)
    assert re.search(
        r"at 127\.0\.0\.1:\d+ rejects the user or the password: .*WRONGPASS|invalid", said
    )
    assert "guess" not in said


def test_a_missing_password_is_explained(host: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "requires a password. Add it to" in refusal(url_of(host, ":"), monkeypatch)


def test_a_missing_certificate_file_is_explained(
    host: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{url_of(host, scheme='rediss')}?ssl_ca_certs=/nowhere/ca.pem"
    assert "REDISFLOW_URL names a file that does not exist" in refusal(url, monkeypatch)


def test_a_file_without_a_certificate_is_explained(
    host: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    url = f"{url_of(host, scheme='rediss')}?ssl_ca_certs={tmp_path}/ca.pem"
    assert "Check the options of REDISFLOW_URL that begin with ssl_" in refusal(
        url, monkeypatch
    )


def test_a_missing_socket_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal("unix:///nowhere/redis.sock", monkeypatch)
    assert "no server answers at /nowhere/redis.sock" in said


def test_a_user_without_access_to_the_prefix_is_told_the_acl(
    host: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.redis.acl_setuser("learner", enabled=True, reset_keys=True, keys=["shop:*"])
    said = refusal(url_of(host), monkeypatch)
    assert "the user may not do enough" in said
    assert "~redisflow:* +@all -@dangerous" in said


def test_an_address_without_a_server_is_explained(
    host: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.server.kill()
    assert re.search(
        "no server answers at .* unset REDISFLOW_URL", refusal(url_of(host), monkeypatch)
    )


def test_an_untrusted_certificate_is_explained(
    host: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with speaking_tls(address_of(host)["port"], tmp_path) as (port, _):
        said = refusal(f"rediss://learner:{QUOTED}@localhost:{port}/0", monkeypatch)
    assert re.search("TLS certificate .* not trusted: .*ssl_ca_certs=", said)


def test_tls_to_a_server_without_tls_is_explained(
    host: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{url_of(host, scheme='rediss')}?socket_timeout=0.5"
    said = refusal(url, monkeypatch)
    assert "If the server does not use TLS, write redis:// instead" in said


def test_plain_text_to_a_server_with_tls_is_explained(
    host: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with speaking_tls(address_of(host)["port"], tmp_path) as (port, _):
        said = refusal(f"redis://learner:{QUOTED}@localhost:{port}/0", monkeypatch)
    assert "check that it is running. If it uses TLS, write rediss:// instead" in said


@pytest.mark.usefixtures("process_server")
def test_a_server_of_a_cluster_is_refused(
    host: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with free_ports(2) as (port, bus):
        pass
    with serving(host, tmp_path, f"port {port}", "cluster-enabled yes", f"cluster-port {bus}"):
        said = refusal(f"redis://127.0.0.1:{port}", monkeypatch)
    assert "part of a Redis Cluster" in said
    assert "-MOVED" in said


def test_a_replica_is_refused(host: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    host.redis.replicaof("127.0.0.1", 1)  # type: ignore[no-untyped-call]
    said = refusal(url_of(host), monkeypatch)
    assert "is a read-only replica. Name its primary" in said


def test_a_malformed_url_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (
        "localhost:6379",
        f"http://:{QUOTED}@localhost",
        "redis://localhost:port",
        "redis://learner:1234#5@localhost",  # else a part of the password would be a port
    ):
        assert "is not a Redis URL" in refusal(wrong, monkeypatch)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("wings=yes", "does not accept: .*'wings'"),
        ("protocol=9", "does not accept: .*must be"),
        ("decode_responses=True", "sets decode_responses, .* Remove that option"),
    ],
)
def test_a_url_option_that_has_no_effect_is_refused(
    host: Lab, monkeypatch: pytest.MonkeyPatch, option: str, said: str
) -> None:
    assert re.search(said, refusal(f"{url_of(host)}?{option}", monkeypatch))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            "-ERR unknown command `HELLO`, with args",
            "is older than Redis 6.0; the lab needs 7.0",
        ),
        ("-LOADING Redis is loading the dataset", "is still loading its data. Try again"),
    ],
)
def test_an_old_and_a_loading_server_are_explained(
    monkeypatch: pytest.MonkeyPatch, answer: str, said: str
) -> None:
    """Neither can be started on demand, so a socket gives its answer."""

    class Answering(StreamRequestHandler):
        def handle(self) -> None:
            while self.connection.recv(65_536):
                self.wfile.write(f"{answer}\r\n".encode())

    with ThreadingTCPServer(("127.0.0.1", 0), Answering) as server:
        Thread(target=server.serve_forever).start()
        port = server.server_address[1]
        assert said in refusal(f"redis://127.0.0.1:{port}", monkeypatch)
        server.shutdown()


def test_keys_that_cannot_be_deleted_are_named(
    host: Lab, open_lab_at, capfd: pytest.CaptureFixture[str]
) -> None:
    guest = open_lab_at(url_of(host))
    guest.redis.set(guest.key("a"), 1)
    host.server.kill()
    said = f"the keys that begin with {guest.key('')} could not be deleted: "
    with pytest.raises(ServerError, match=said):
        guest.close()
    process = guest.server._guard._process  # type: ignore[attr-defined]
    process.stdin.close()  # as when the kernel ends
    process.wait()
    printed = capfd.readouterr().err
    assert said in printed
    assert "Traceback" not in printed


class serving:  # noqa: N801 - reads as a phrase
    """A server with settings that a lab never uses, from the same binary as the host."""

    def __init__(self, host: Lab, folder: Path, *settings: str) -> None:
        conf = folder / "special.conf"
        conf.write_text("\n".join([*settings, f"dir {folder}", 'save ""']))
        binary = host.server._binary  # type: ignore[attr-defined]
        self._log = folder / "special.log"
        self._child = Child([binary, conf], cwd=folder, log=self._log)

    def __enter__(self) -> None:
        wait_until(lambda: b"eady to accept" in self._log.read_bytes(), "it accepts")

    def __exit__(self, *_: object) -> None:
        self._child.kill()


@pytest.mark.parametrize(
    "url", ["localhost:6379", "redis://:s3cr3t/word@localhost:6379", "redis://localhost:abc"]
)
def test_a_malformed_url_is_refused_without_showing_its_password(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
    monkeypatch.setenv("REDISFLOW_URL", url)
    with pytest.raises(ServerError, match="REDISFLOW_URL") as refused:
        Lab()
    assert "s3cr3t" not in str(refused.value)
