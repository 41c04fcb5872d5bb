"""Every server tells its address, and an address that cannot be used is refused safely."""

import multiprocessing
import signal
import socket

import pytest
import redis
from network import address_of
from redis import Redis

from redisflow_lab.lab import Lab
from redisflow_lab.lab.server import ServerError


def test_an_own_server_tells_the_address_that_another_client_needs(own_lab: Lab) -> None:
    settings = address_of(own_lab)
    assert own_lab.url == own_lab.server.url
    assert own_lab.url == (
        f"redis://default:{settings['password']}@127.0.0.1:{settings['port']}"
    )
    assert own_lab.server.port == settings["port"]
    assert Redis.from_url(own_lab.url).ping()
    assert settings["password"] not in f"{own_lab!r} {own_lab.server!r} {own_lab.server.label}"


def test_a_shared_server_tells_its_url_and_its_port(
    own_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDISFLOW_URL", own_lab.url)
    monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
    guest = Lab()
    assert guest.url == own_lab.url
    assert guest.server.port == own_lab.server.port
    assert guest.url not in repr(guest)
    guest.close()


@pytest.mark.parametrize(
    "url",
    [
        "redis://:p@ss/w:rd@localhost:6379",
        "redis://user:p@ss/w:rd@localhost:6379/0",
        "redis://:p@ss/w:rd",
        "redis://:p@ss?w:rd@localhost:6379",
        "redis://:p@ss?w=rd@localhost:6379",
        "redis://:p@ss#w:rd@localhost:6379",
        "rediss://:p@ss/w:rd@localhost:6379",
        "unix://:p@ss/w:rd@/nowhere/redis.sock",
        "redis://:ss/w:rd@localhost",
        "redis://:ss[w:rd@localhost",
        "redis://localhost:6379/w:rd",
    ],
)
def test_a_password_that_is_not_encoded_is_explained_and_not_shown(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDISFLOW_URL", url)
    monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
    with pytest.raises(ServerError, match="percent-encode") as refused:
        Lab()
    shown = str(refused.value).replace("password", "").replace("address", "")
    for part in ("ss", "w:rd", "rd@", "p@"):
        assert part not in shown.replace("rediss://", "").replace("password@", "")


def test_an_encoded_password_is_accepted(own_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    own_lab.redis.config_set("requirepass", "p@ss/w:rd?#")
    port = own_lab.server.port
    monkeypatch.setenv("REDISFLOW_URL", f"redis://:p%40ss%2Fw%3Ard%3F%23@127.0.0.1:{port}/0")
    monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
    Lab().close()


@pytest.mark.parametrize("server", ["s3cr3t@x@localhost:6379", "s3cr3t@localhost"])
def test_an_address_without_a_scheme_is_not_shown(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDISFLOW_SERVER", server)
    with pytest.raises(ServerError, match="set REDISFLOW_URL") as refused:
        Lab()
    assert server.split("@")[0] not in str(refused.value)


@pytest.mark.usefixtures("process_server")
@pytest.mark.parametrize("reuse", [0, 1])
def test_no_other_process_gets_the_port_of_a_killed_server(reuse: int) -> None:
    """It would receive the password of every client that connects again."""
    lab = Lab("own")
    lab.server.kill()
    lab.server.kill()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        with pytest.raises(OSError, match="in use"):
            bind_and_listen(other, lab)
    with pytest.raises(redis.ConnectionError, match="refused"):
        lab.redis.ping()
    lab.server.start()
    assert lab.redis.ping()
    lab.server.kill()
    lab.close()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bind_and_listen(other, lab)


def bind_and_listen(other: socket.socket, lab: Lab) -> None:
    other.bind(("127.0.0.1", lab.server.port))
    other.listen()


@pytest.mark.usefixtures("process_server")
def test_a_fork_does_not_keep_the_port_of_a_killed_server(own_lab: Lab) -> None:
    own_lab.server.kill()
    fork = multiprocessing.get_context("fork").Process(target=signal.pause)
    fork.start()
    own_lab.server.start()
    assert own_lab.redis.ping()
    fork.kill()
    fork.join()
