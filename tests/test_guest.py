"""Manners on a server that somebody else runs, and what is said when it will not do."""

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
from redisflow_lab.lab import Lab
from redisflow_lab.lab.process import Child
from redisflow_lab.lab.server import ServerError
from redisflow_lab.lab.server.ports import pick_port
from redisflow_lab.lab.waiting import wait_until
from tools.matrix.guest import everything, furnish

PASSWORD = "not to be shown"
QUOTED = PASSWORD.replace(" ", "%20")


@pytest.fixture
def host() -> Iterator[Lab]:
    """Somebody's server, with keys of every type and a user for us."""
    host = Lab("own")
    furnish(host.redis, PASSWORD)
    yield host
    host.close()


@pytest.fixture
def be_guest_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A function that opens a lab on the server of a URL."""
    guests: list[Lab] = []

    def be_guest_of(url: str) -> Lab:
        monkeypatch.setenv("REDISFLOW_URL", url)
        monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
        guests.append(Lab())
        return guests[-1]

    yield be_guest_of
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


def test_a_user_who_may_only_touch_our_keys_will_do(host: Lab, be_guest_of) -> None:
    before = everything(host.redis)
    guest = be_guest_of(url_of(host))
    use(guest)
    ours = set(everything(host.redis)) - set(before)
    assert ours
    assert all(key.startswith(guest.key("").encode()) for key in ours)
    guest.close()
    assert everything(host.redis) == before


def test_two_guests_delete_their_own_keys_only(host: Lab, be_guest_of) -> None:
    first, second = be_guest_of(url_of(host)), be_guest_of(url_of(host))
    for guest in (first, second):
        for number in range(1_500):  # more than one round of SCAN
            guest.redis.set(guest.key(f"key {number}"), 1)
    first.close()
    assert host.redis.keys(f"{first.key('')}*") == []
    assert len(host.redis.keys(f"{second.key('')}*")) == 1_500


def test_a_guest_that_is_killed_leaves_no_key(host: Lab) -> None:
    before = everything(host.redis)
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
        assert everything(host.redis) != before
        guest.send_signal(signal.SIGKILL)
    wait_until(lambda: everything(host.redis) == before, "its keys are gone")


def test_a_guest_that_is_forgotten_leaves_no_key(
    host: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(host.redis)
    monkeypatch.setenv("REDISFLOW_URL", url_of(host))
    monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
    guest = Lab()
    guest.redis.set(guest.key("a"), 1)
    del guest
    gc.collect()
    wait_until(lambda: everything(host.redis) == before, "its keys are gone")


def test_a_guest_neither_starts_nor_kills(host: Lab, be_guest_of) -> None:
    guest = be_guest_of(url_of(host))
    for refused in (guest.server.kill, guest.server.start):
        with pytest.raises(
            ServerError, match=r"the lab does not (kill|start) .* \(your URL\): "
        ):
            refused()
    assert host.redis.ping()


def test_a_chapter_that_kills_gets_a_server_of_its_own(host: Lab, be_guest_of) -> None:
    be_guest_of(url_of(host))
    own = Lab("own")
    own.server.kill()
    own.close()
    assert host.redis.ping()


@pytest.mark.parametrize("setting", [{"appendonly": False}, {"port": 1}, {"data_dir": "x"}])
def test_settings_of_an_own_server_are_not_ignored(
    host: Lab, monkeypatch: pytest.MonkeyPatch, setting: dict[str, object]
) -> None:
    monkeypatch.setenv("REDISFLOW_URL", url_of(host))
    monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
    with pytest.raises(ServerError, match=r"names a running one\. Write Lab\('own', "):
        Lab(**setting)  # type: ignore[arg-type]


def test_tls_works(host: Lab, be_guest_of, tmp_path: Path) -> None:
    with speaking_tls(address_of(host)["port"], tmp_path) as (port, authority):
        guest = be_guest_of(
            f"rediss://learner:{QUOTED}@localhost:{port}/0?ssl_ca_certs={authority}"
        )
        use(guest)
        guest.close()


@pytest.mark.usefixtures("process_server")
def test_a_unix_socket_works(host: Lab, be_guest_of, tmp_path: Path) -> None:
    with serving(host, tmp_path, "port 0", f"unixsocket {tmp_path}/redis.sock"):
        guest = be_guest_of(f"unix://{tmp_path}/redis.sock?db=0")
        use(guest)
        guest.close()


def refusal(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said of the server at this URL. Never the password."""
    monkeypatch.setenv("REDISFLOW_URL", url)
    monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
    with pytest.raises(ServerError) as refused:
        Lab()
    assert PASSWORD not in str(refused.value)
    assert QUOTED not in str(refused.value)
    return str(refused.value)


def test_a_refused_password(host: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(url_of(host, "learner:guess"), monkeypatch)
    assert re.search(
        r"at 127\.0\.0\.1:\d+ rejects the user or the password: .*WRONGPASS|invalid", said
    )
    assert "guess" not in said


def test_a_missing_password(host: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "requires a password. Add it to" in refusal(url_of(host, ":"), monkeypatch)


def test_a_certificate_that_is_not_there(host: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{url_of(host, scheme='rediss')}?ssl_ca_certs=/nowhere/ca.pem"
    assert "REDISFLOW_URL names a file that does not exist" in refusal(url, monkeypatch)


def test_a_socket_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal("unix:///nowhere/redis.sock", monkeypatch)
    assert "no server answers at /nowhere/redis.sock" in said


def test_a_user_without_our_keys(host: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    host.redis.acl_setuser("learner", enabled=True, reset_keys=True, keys=["shop:*"])
    said = refusal(url_of(host), monkeypatch)
    assert "the user may not do enough" in said
    assert "~redisflow:* +@all -@dangerous" in said


def test_a_silent_address(host: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    host.server.kill()
    assert re.search(
        "no server answers at .* unset REDISFLOW_URL", refusal(url_of(host), monkeypatch)
    )


def test_a_certificate_that_nobody_vouches_for(
    host: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with speaking_tls(address_of(host)["port"], tmp_path) as (port, _):
        said = refusal(f"rediss://learner:{QUOTED}@localhost:{port}/0", monkeypatch)
    assert re.search("TLS certificate .* not trusted: .*ssl_ca_certs=", said)


def test_tls_where_there_is_none(host: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(url_of(host, scheme="rediss"), monkeypatch)
    assert "If the server does not use TLS, write redis:// instead" in said


def test_no_tls_where_it_is_wanted(
    host: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with speaking_tls(address_of(host)["port"], tmp_path) as (port, _):
        said = refusal(f"redis://learner:{QUOTED}@localhost:{port}/0", monkeypatch)
    assert "If it uses TLS, write rediss:// instead" in said


@pytest.mark.usefixtures("process_server")
def test_a_server_of_a_cluster(
    host: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = pick_port(None)
    with serving(host, tmp_path, f"port {port}", "cluster-enabled yes"):
        said = refusal(f"redis://127.0.0.1:{port}", monkeypatch)
    assert "part of a Redis Cluster" in said
    assert "-MOVED" in said


def test_a_replica(host: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    host.redis.replicaof("127.0.0.1", 1)  # type: ignore[no-untyped-call]
    said = refusal(url_of(host), monkeypatch)
    assert "is a read-only replica. Name its primary" in said


def test_what_is_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_an_option_that_cannot_act_is_refused(
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
def test_what_an_old_or_a_starting_server_answers(
    monkeypatch: pytest.MonkeyPatch, answer: str, said: str
) -> None:
    """Neither can be had when it is wanted, so only their answer is here."""

    class Answering(StreamRequestHandler):
        def handle(self) -> None:
            while self.connection.recv(65_536):
                self.wfile.write(f"{answer}\r\n".encode())

    with ThreadingTCPServer(("127.0.0.1", 0), Answering) as server:
        Thread(target=server.serve_forever).start()
        port = server.server_address[1]
        assert said in refusal(f"redis://127.0.0.1:{port}", monkeypatch)
        server.shutdown()


def test_a_server_that_is_gone_keeps_the_keys_and_it_is_said(
    host: Lab, be_guest_of, capfd: pytest.CaptureFixture[str]
) -> None:
    guest = be_guest_of(url_of(host))
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
    """A server with settings that a lab's never has, of the same make as the host's."""

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
