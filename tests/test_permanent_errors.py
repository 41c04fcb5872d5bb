"""`run` raises what waiting does not cure, and waits for what it does."""

import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis
import trustme
from consumers import running
from handlers import decline
from network import address_of
from redis import Redis
from tls import speaking_tls

from redisflow_lab import Message, RedisStreamConsumer, RedisStreamProducer
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until

LIMIT_S = 20


def run_for_a_while(client: Redis) -> None:
    """`run`, stopped if it still retries after 20 s."""
    stop = threading.Event()
    give_up = threading.Timer(LIMIT_S, stop.set)
    give_up.start()
    try:
        RedisStreamConsumer(client, "orders", "billing", "alice").run(decline, stop=stop)
    finally:
        give_up.cancel()


def refused(client: Redis, says: str) -> None:
    """Consumer and keyed publish raise this at once, and do not retry it."""
    with pytest.raises(redis.ConnectionError, match=says):
        run_for_a_while(client)
    with pytest.raises(redis.ConnectionError, match=says):
        RedisStreamProducer(client, "orders").publish(Message("web", "a"), key="1")


@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_certfile"])
@pytest.mark.parametrize("path", ["/nowhere/ca.pem", "/"], ids=["missing", "a folder"])
def test_a_certificate_file_that_cannot_be_read(
    lab: Lab, name: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = Redis(**address_of(lab), ssl=True, **{name: path})
    refused(client, f"{name}='{path}'")
    assert "retrying" not in caplog.text


def test_a_file_without_a_certificate(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    refused(
        Redis(**address_of(lab), ssl=True, ssl_ca_certs=str(tmp_path / "ca.pem")),
        "cannot start: .*Check the TLS settings",
    )


@pytest.mark.slow
def test_tls_to_a_port_without_tls(lab: Lab) -> None:
    refused(Redis(**address_of(lab), ssl=True), "does not speak TLS .*redis:// instead of")


def test_a_certificate_that_does_not_verify(lab: Lab, tmp_path: Path) -> None:
    with speaking_tls(address_of(lab)["port"], tmp_path) as (port, _):
        refused(Redis(**{**address_of(lab), "port": port}, ssl=True), "Name the certificate of")


def test_a_certificate_for_another_host_name(lab: Lab, tmp_path: Path) -> None:
    with speaking_tls(address_of(lab)["port"], tmp_path) as (port, authority):
        # A short form of 127.0.0.1, for which it is.
        settings = {**address_of(lab), "host": "127.1", "port": port}
        client = Redis(**settings, ssl=True, ssl_ca_certs=str(authority))
        refused(client, "not valid for .*host name that the certificate is for")


@contextmanager
def wanting_a_certificate(folder: Path) -> Iterator[tuple[int, Path]]:
    """The port of a server that closes the connection of a client without a certificate."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with context.wrap_socket(
                client, server_side=True, do_handshake_on_connect=False
            ) as tls:
                with suppress(ssl.SSLError):  # which it has told the client
                    tls.do_handshake()
                # Closed with something unread, the connection is reset, and the alert lost.
                socket.socket.shutdown(tls, socket.SHUT_WR)
                while socket.socket.recv(tls, 4_096):
                    pass

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield int(listener.getsockname()[1]), folder / "ca.pem"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_a_server_that_wants_a_certificate_of_the_client(tmp_path: Path) -> None:
    with wanting_a_certificate(tmp_path) as (port, authority):
        refused(
            Redis(host="127.0.0.1", port=port, ssl=True, ssl_ca_certs=str(authority)),
            "certificate required",
        )


def test_plain_text_to_a_server_that_answers_with_a_tls_alert() -> None:
    alert = b"\x15\x03\x03\x00\x02\x02\x46"
    with answering(alert) as port, pytest.raises(redis.InvalidResponse):
        run_for_a_while(Redis(port=port))


@contextmanager
def answering(reply: bytes | None) -> Iterator[int]:
    """The port of a server that answers each connection with these bytes; None is silence."""
    listener = socket.create_server(("127.0.0.1", 0))
    silent: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            if reply is None:
                silent.append(client)
                continue
            with client:
                client.recv(4_096)
                client.sendall(reply)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for client in silent:
            client.close()


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"", id="end of file"),
        pytest.param(None, id="silence", marks=pytest.mark.slow),
    ],
)
def test_a_tls_handshake_that_gets_no_answer_is_retried(
    reply: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A TLS server that restarts, or is overloaded, does just that."""
    with answering(reply) as port:
        client = Redis(port=port, ssl=True)
        alice = RedisStreamConsumer(client, "orders", "billing", "alice", block_ms=20)
        with caplog.at_level(logging.WARNING), running(alice, handler=decline):
            wait_until(lambda: "retrying" in caplog.text, "it has noticed", timeout_s=LIMIT_S)


@pytest.mark.parametrize("settings", [{"host": "nosuch.invalid"}, {"port": 1}], ids=str)
def test_a_server_that_is_not_there_yet_is_retried(
    settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    alice = RedisStreamConsumer(Redis(ssl=True, **settings), "orders", "billing", "alice")  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING), running(alice, handler=decline):
        wait_until(lambda: "retrying" in caplog.text, "it has noticed", timeout_s=LIMIT_S)


def test_over_tls_a_consumer_outlives_its_server(
    own_lab: Lab, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with speaking_tls(address_of(own_lab)["port"], tmp_path) as (port, authority):
        settings = {**address_of(own_lab), "port": port}
        client = Redis(**settings, ssl=True, ssl_ca_certs=str(authority))
        alice = RedisStreamConsumer(client, "orders", "billing", "alice", block_ms=20)
        handled: list[str] = []
        with running(alice, handler=lambda each: handled.append(each.message.content)):
            wait_until(lambda: own_lab.redis.exists("orders"), "the consumer reads")
            own_lab.server.kill()
            wait_until(lambda: "is lost" in caplog.text, "it has noticed")
            own_lab.server.start()
            RedisStreamProducer(client, "orders").publish(Message("web", "a"), key="1")
            wait_until(lambda: handled == ["a"], "a is handled")
