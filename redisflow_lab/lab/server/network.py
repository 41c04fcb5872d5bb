"""The connections between the lab's servers, which can be cut without being root.

Each node listens on a port of its own, and announces another one to its peers: that of a
proxy. And each node connects from an address of its own, 127.0.0.11, 127.0.0.12 and so on, so
that the proxy knows which two nodes a connection is between. Clients connect from 127.0.0.1:
they are never cut, and reach a node directly on its own port.
"""

import json
import socket
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path

from redisflow_lab.lab.lifeline import close_in_forks
from redisflow_lab.lab.process import Child
from redisflow_lab.lab.server import proxy
from redisflow_lab.lab.server.interface import ServerError

_BEFORE_FIRST = IPv4Address("127.0.0.10")
_ANSWER_S = 5.0


class Network:
    """The proxy process, and the nodes that it cuts from each other.

    names: of all nodes
    folder: for the log of the process

    It does not run before `start`. It ends with `close` or with this process.
    """

    def __init__(self, names: Iterable[str], folder: Path) -> None:
        self._addresses = {
            name: str(_BEFORE_FIRST + number) for number, name in enumerate(names, 1)
        }
        self._folder = folder
        self._doors: list[tuple[socket.socket, str, int]] = []
        self._isolated: set[str] = set()
        self._control: socket.socket | None = None
        self._child: Child | None = None
        self.can_cut = all(map(_can_connect_from, self._addresses.values()))

    def door(self, name: str, port: int) -> int:
        """A port at which the peers of a node reach its own `port`, once the proxy runs."""
        listener = socket.create_server((proxy.CLIENTS, 0))
        self._doors.append((listener, self._addresses[name], port))
        return int(listener.getsockname()[1])

    def settings(self, name: str) -> str:
        """Lines for the configuration of a node: it connects from an address of its own."""
        return f"bind-source-addr {self._addresses[name]}\n" if self.can_cut else ""

    def start(self) -> None:
        """Start the proxy. What connects before it is ready waits."""
        self._control, theirs = socket.socketpair()
        close_in_forks(self._control)
        self._control.settimeout(_ANSWER_S)
        self._child = Child(
            [sys.executable, "-I", "-S", proxy.__file__, str(theirs.fileno())],
            cwd=self._folder,
            log=self._folder / "network.log",
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        nodes = [(address, port) for _, address, port in self._doors]
        listeners = [listener for listener, _, _ in self._doors]
        fds = [listener.fileno() for listener in listeners]
        socket.send_fds(self._control, [json.dumps(nodes).encode()], fds)
        for listener in listeners:
            listener.close()

    def isolate(self, name: str) -> None:
        """Cut a node off from all others. Raises ServerError where that is not possible."""
        if not self.can_cut:
            raise ServerError(
                f"this system has no address {_BEFORE_FIRST + 1}, so that the connections of "
                f"{name} cannot be told from others and cut. Linux has it; kill or pause the "
                "node instead"
            )
        self._isolated.add(name)
        self._tell()

    def heal(self) -> None:
        """Let all nodes connect to each other again."""
        if self._isolated:
            self._isolated.clear()
            self._tell()

    @property
    def isolated(self) -> frozenset[str]:
        """The nodes that are cut off."""
        return frozenset(self._isolated)

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
        for opened in (self._control, *(listener for listener, _, _ in self._doors)):
            if opened is not None:
                opened.close()

    def _tell(self) -> None:
        """Tell the proxy what is cut, and wait until it is."""
        assert self._control is not None
        assert self._child is not None
        pairs = [
            (self._addresses[isolated], address)
            for isolated in self._isolated
            for name, address in self._addresses.items()
            if name != isolated
        ]
        try:
            self._control.sendall(json.dumps(pairs).encode() + b"\n")
            is_done = self._child.running and bool(self._control.recv(1))
        except OSError:
            is_done = False
        if not is_done:
            raise ServerError(
                "the process between the servers has ended, so that they no longer reach each "
                "other. Restart the kernel"
            )


def can_cut() -> bool:
    """Whether this system tells the connections of nodes apart, so that they can be cut."""
    return _can_connect_from(str(_BEFORE_FIRST + 1))


def _can_connect_from(address: str) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True
