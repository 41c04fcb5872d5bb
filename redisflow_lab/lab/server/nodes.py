"""The servers of a lab that has several: by name, on one network, started together."""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from redisflow_lab.lab.server.interface import NoSuchNodeError, ServerError
from redisflow_lab.lab.server.network import Network
from redisflow_lab.lab.server.node import Node
from redisflow_lab.lab.server.ports import free_ports
from redisflow_lab.lab.server.private import render_config


class Nodes(Mapping[str, Node]):
    """The servers by their name: node-1, node-2, ... and sentinel-1, ...

    The names say nothing about roles, because these change.

    binary:     the redis-server or valkey-server to run
    folder:     a private one, for the folders of the nodes
    names:      of all nodes that will be added
    appendonly: whether each keeps an append-only file

    password:   of them all
    bus_ports:  at which each node of a cluster listens to the others
    announced:  the port at which its peers reach each node
    """

    def __init__(
        self, binary: Path, folder: Path, names: Sequence[str], *, appendonly: bool
    ) -> None:
        folder.mkdir(mode=0o700)
        self._binary = binary
        self._folder = folder
        self._appendonly = appendonly
        self._nodes: dict[str, Node] = {}
        self.password = secrets.token_urlsafe(16)
        self.network = Network(names, folder)
        with free_ports(2 * len(names)) as ports:
            self._ports = dict(zip(names, ports, strict=False))
            self.bus_ports = dict(zip(names, ports[len(names) :], strict=True))
            self.announced = {
                name: self.network.door(name, port) for name, port in self._ports.items()
            }

    def __repr__(self) -> str:
        return ", ".join(f"{name}: {node.status}" for name, node in self.items())

    def __getitem__(self, name: str) -> Node:
        """The node. Raises NoSuchNodeError."""
        node = self._nodes.get(name)
        if node is None:
            raise NoSuchNodeError(
                f"there is no node {name!r}. The lab has {', '.join(self._nodes)}"
            )
        return node

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def real_ports(self) -> dict[int, int]:
        """The port of each node, by the port that it announces."""
        return {self.announced[name]: port for name, port in self._ports.items()}

    def name_at(self, announced: int) -> str:
        """The name of the node that announces this port."""
        return next(name for name, port in self.announced.items() if port == announced)

    def add(self, name: str, settings: str, kind: type[Node] = Node) -> None:
        """Make a node, and do not start it yet.

        settings: lines for its configuration, which is that of any server of the lab's own
        """
        folder = self._folder / name
        folder.mkdir(mode=0o700)
        port = self._ports[name]
        config = render_config(
            port, self.password, str(folder), appendonly=self._appendonly, bind="127.0.0.1"
        )
        self._nodes[name] = kind(
            name,
            self._binary,
            folder,
            port=port,
            password=self.password,
            config=config + self.network.settings(name) + settings,
        )

    def start(self, names: Iterable[str]) -> None:
        """Start these together. Raises ServerError if one does not start."""
        nodes = [self[name] for name in names]
        for node in nodes:
            node.launch()
        for node in nodes:
            try:
                node.wait_until_ready()
            except ServerError as error:
                raise ServerError(f"{node.name}: {error}") from None

    def running(self) -> list[Node]:
        """Those that can answer: neither down nor paused."""
        return [node for node in self.values() if node.status == "running"]

    def close(self) -> None:
        for node in self.values():
            node.close()
        self.network.close()
