"""The address of a lab's server, and a network that loses or delays its answers."""

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf
from threading import Event, Thread
from typing import Any

from redis import Redis

from redisflow_lab.lab import Lab


def address_of(lab: Lab) -> dict[str, Any]:
    settings = lab.redis.connection_pool.connection_kwargs
    named = ("host", "port", "username", "password")
    return {name: settings[name] for name in named if name in settings}


@contextmanager
def client_losing_answers_to(
    command: bytes, lab: Lab, *, times: int | None = None, instead: bytes = b""
) -> Iterator[Redis]:
    """A client of the lab's server behind a `Proxy` that loses the answers to this command."""
    with Proxy(command, lab, times=times, instead=instead) as proxy:
        yield proxy.client


class Proxy:
    """Forwards everything, but loses or delays the answers to one command.

    command: bytes that stand in the request
    times:   how often; None is always
    delay_s: how late an answer is; None is never, and the connection is closed instead
    instead: what is said before it is closed, such as an error of the proxy's own
    client:  a client of the lab's server, through this proxy
    """

    def __init__(
        self,
        command: bytes,
        lab: Lab,
        *,
        times: int | None = None,
        delay_s: float | None = None,
        instead: bytes = b"",
    ) -> None:
        address = address_of(lab)
        self._command, self._server = command, (address["host"], address["port"])
        self._times = inf if times is None else times
        self._delay_s, self._instead = delay_s, instead
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.client = Redis(**{**address, "port": self._listener.getsockname()[1]})

    def __enter__(self) -> "Proxy":
        Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server, suppress(OSError):
            is_asked = False
            while True:
                ready, _, _ = select.select([client, server], [], [])
                if client in ready:
                    request = client.recv(65_536)
                    is_asked = is_asked or self._command in request
                    server.sendall(request)
                    if not request:
                        return
                if server in ready:
                    answer = server.recv(65_536)
                    if is_asked and self._times > 0:
                        self._times -= 1
                        if self._delay_s is None:
                            client.sendall(self._instead)
                            return
                        Event().wait(self._delay_s)
                    is_asked = False
                    client.sendall(answer)
                    if not answer:
                        return
