"""The address of a lab's server, and a network between it and a client that loses answers."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from threading import Thread
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
    """A client of the lab's server behind such a proxy; see `losing_answers_to`."""
    address = address_of(lab)
    with losing_answers_to(
        command, address["host"], address["port"], times=times, instead=instead
    ) as port:
        yield Redis(**{**address, "port": port})


class losing_answers_to:  # noqa: N801 - reads as a phrase
    """A proxy that forwards everything, but hangs up instead of answering this command.

    times:   how often; None is always
    instead: what it says before it hangs up, such as an error of its own
    """

    def __init__(
        self,
        command: bytes,
        host: str,
        port: int,
        *,
        times: int | None = None,
        instead: bytes = b"",
    ) -> None:
        self._command, self._server, self._instead = command, (host, port), instead
        self._times = inf if times is None else times

    def __enter__(self) -> int:
        self._listener = socket.create_server(("127.0.0.1", 0))
        Thread(target=self._serve, daemon=True).start()
        return int(self._listener.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, socket.create_connection(self._server) as server:
                while asked := client.recv(65_536):
                    server.sendall(asked)
                    answer = server.recv(65_536)
                    if self._command in asked and self._times:
                        self._times -= 1
                        client.sendall(self._instead)
                        break
                    client.sendall(answer)
