"""The address of a lab's server, and a network that loses, delays and cuts."""

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from random import Random
from threading import Event, Thread
from typing import Any

from redis import Redis

from redisflow_lab.lab import Lab


def address_of(lab: Lab) -> dict[str, Any]:
    settings = lab.redis.connection_pool.connection_kwargs
    named = ("host", "port", "username", "password")
    return {name: settings[name] for name in named if name in settings}


@dataclass(frozen=True)
class Fault:
    """What happens to a request or to its answer.

    delay_s:    how late the answer is; None is never, and the connection is closed instead
    instead:    what is said before it is closed, such as an error of the proxy's own
    is_ignored: whether the connection is closed before the server gets the request
    """

    delay_s: float | None = None
    instead: bytes = b""
    is_ignored: bool = False


Plan = Callable[[bytes], Fault | None]
"""Which fault happens to a request; None for none."""


def at(command: bytes, fault: Fault, times: int | None = None) -> Plan:
    """The fault happens to requests with these bytes, so often; None is always."""
    left = inf if times is None else times

    def fault_of(request: bytes) -> Fault | None:
        nonlocal left
        if command not in request or left <= 0:
            return None
        left -= 1
        return fault

    return fault_of


def at_random(seed: int, share: float) -> Plan:
    """This share of the requests is lost, or its answer is, or is up to 0.5 s late."""
    rng = Random(seed)

    def fault_of(_: bytes) -> Fault | None:
        if rng.random() > share:
            return None
        late = Fault(delay_s=rng.uniform(0, 0.5))
        return rng.choice([Fault(), Fault(is_ignored=True), late])

    return fault_of


@contextmanager
def client_losing_answers_to(
    command: bytes, lab: Lab, *, times: int | None = None, instead: bytes = b""
) -> Iterator[Redis]:
    """A client of the lab's server behind a `Proxy` that loses the answers to this command."""
    with Proxy(lab, at(command, Fault(instead=instead), times)) as proxy:
        yield proxy.client


class Proxy:
    """Forwards everything between clients and the lab's server, with the faults of a plan.

    port:   where it listens, on 127.0.0.1
    client: a client of the lab's server, through this proxy
    faults: how many have happened
    """

    def __init__(self, lab: Lab, plan: Plan) -> None:
        address = address_of(lab)
        self._plan, self._server = plan, (address["host"], address["port"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.client = Redis(**{**address, "port": self.port})
        self.faults = 0

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
        with client, suppress(OSError), socket.create_connection(self._server) as server:
            fault = None
            while True:
                ready, _, _ = select.select([client, server], [], [])
                if client in ready:
                    request = client.recv(65_536)
                    fault = fault or self._plan(request)
                    if not request or (fault and fault.is_ignored):
                        self.faults += bool(request)
                        return
                    server.sendall(request)
                if server in ready:
                    answer = server.recv(65_536)
                    if fault:
                        self.faults += 1
                        if fault.delay_s is None:
                            client.sendall(fault.instead)
                            return
                        Event().wait(fault.delay_s)
                    fault = None
                    client.sendall(answer)
                    if not answer:
                        return
