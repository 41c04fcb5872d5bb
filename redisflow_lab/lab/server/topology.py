"""What a primary with replicas and a cluster have in common: several servers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from redis import Redis

from redisflow_lab.lab.server.binary import check_binary
from redisflow_lab.lab.server.identity import identify
from redisflow_lab.lab.server.interface import ServerError
from redisflow_lab.lab.server.node import Node
from redisflow_lab.lab.server.nodes import Nodes
from redisflow_lab.lab.server.state import NodeState, ask_state


class Topology(ABC):
    """Several servers of the lab's own. It is a `Server` to the lab.

    binary: the redis-server or valkey-server to run
    origin: where it was found; shown in `label`
    folder: where they keep their data; it does not exist yet
    names:  of the nodes
    appendonly: whether each keeps an append-only file

    nodes:  the servers, by name
    """

    prefix = ""

    def __init__(
        self,
        binary: Path,
        origin: str,
        folder: Path,
        names: Sequence[str],
        *,
        appendonly: bool,
    ) -> None:
        check_binary(binary)
        self.nodes = Nodes(binary, folder, names, appendonly=appendonly)
        try:
            self._start()
            first = next(iter(self.nodes.values()))
            self.label = f"{identify(first.connect()).name} ({origin}), {self.description}"
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<{self.label}: {self.nodes!r}>"

    @property
    @abstractmethod
    def description(self) -> str:
        """What the servers are together, such as "a cluster of 3 primaries"."""

    @property
    @abstractmethod
    def primary(self) -> Node:
        """A node that takes writes now. Raises ServerError if there is none."""

    @property
    def url(self) -> str:
        return self.primary.url

    @property
    def port(self) -> int:
        return self.primary.port

    @abstractmethod
    def connect(self) -> Redis:
        """A new client, which finds the primary by itself where the servers help it."""

    def kill(self) -> None:
        raise ServerError(
            "the lab has several servers: say which one to kill, as in "
            "lab.nodes['node-1'].kill()"
        )

    def start(self) -> None:
        raise ServerError(
            "the lab has several servers: say which one to start, as in "
            "lab.nodes['node-1'].start()"
        )

    def partition(self, name: str) -> None:
        """Cut a node off from all other nodes, in both directions; clients still reach it."""
        self.nodes.network.isolate(self.nodes[name].name)

    def heal(self) -> None:
        """Let all nodes reach each other again."""
        self.nodes.network.heal()

    @abstractmethod
    def failover(self, name: str | None = None) -> str:
        """Make a replica the primary, as planned, and return its name when it serves.

        name: the replica; None for any one

        Raises ServerError if it cannot be one.
        """

    def slot_owner(self, key_or_slot: str | bytes | int) -> str:
        """The name of the primary that serves a slot of a cluster, or the slot of a key."""
        raise _no_cluster()

    def migrating_slot(
        self, key_or_slot: str | bytes | int, to: str
    ) -> AbstractContextManager[None]:
        """Within the block a slot is on its way to the primary `to`, which serves it after."""
        raise _no_cluster()

    def states(self) -> list[NodeState]:
        """What each node says of itself."""
        return [self.state(name) for name in self.nodes]

    def state(self, name: str) -> NodeState:
        """What a node says of itself."""
        return ask_state(self.nodes[name], self.nodes.name_at)

    def _check_reachable(self, name: str) -> None:
        """Raise ServerError if a node could not do what its peers ask of it."""
        status = self.nodes[name].status
        if status != "running":
            way_out = "start" if status == "down" else "resume"
            raise ServerError(
                f"{name} is {status}: call lab.nodes[{name!r}].{way_out}() before"
            )
        if name in self.nodes.network.isolated:
            raise ServerError(f"{name} is cut off from the other nodes: call lab.heal() before")

    def close(self) -> None:
        self.nodes.close()

    @abstractmethod
    def _start(self) -> None:
        """Add the nodes, start them, and return when they are ready to serve."""


def _no_cluster() -> ServerError:
    return ServerError(
        "a primary with replicas is no cluster, and has no slots: Lab(cluster=3) starts one"
    )
