"""A Redis Cluster: primaries that share the slots, each with its replicas."""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.crc import REDIS_CLUSTER_HASH_SLOTS as SLOTS
from redis.crc import key_slot
from redis.exceptions import ResponseError
from redis.retry import Retry

from redisflow_lab.lab.server.client import SOCKET_TIMEOUT_S
from redisflow_lab.lab.server.interface import ServerError
from redisflow_lab.lab.server.layout import Layout
from redisflow_lab.lab.server.node import Node
from redisflow_lab.lab.server.topology import Topology
from redisflow_lab.lab.waiting import wait_until

_NODE_TIMEOUT_MS = 1_500
_KEYS_AT_ONCE = 100
_READY_S = 10.0
_FAILOVER_S, _RETRY_S = 15.0, 1.0


class DirectCluster(RedisCluster):
    """A client that reaches each node on its own port, also after a redirection.

    redis-py maps the ports that the nodes announce when it asks for the nodes, but not those
    in the errors ASK and MOVED. So MOVED makes it ask again.
    """

    def __init__(self, ports: Sequence[int], real_ports: dict[int, int], password: str) -> None:
        self._given = (ports, real_ports, password)
        self._real_ports = real_ports
        super().__init__(
            startup_nodes=[ClusterNode("127.0.0.1", port) for port in ports],
            address_remap=lambda address: (address[0], self._real_port(address[1])),
            password=password,
            socket_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            reinitialize_steps=1,
            require_full_coverage=False,
        )

    def __reduce__(self) -> tuple[Any, ...]:  # to copy it into another process
        return DirectCluster, self._given

    def get_node(
        self, host: str | None = None, port: int | None = None, node_name: str | None = None
    ) -> ClusterNode | None:
        if node_name is not None:
            host, _, announced = node_name.rpartition(":")
            port = int(announced)
        assert port is not None
        found: ClusterNode | None = self.nodes_manager.get_node(host, self._real_port(port))
        return found

    def _real_port(self, announced: int) -> int:
        return self._real_ports.get(announced, announced)


class Cluster(Topology):
    """node-1, node-2, ... are primaries at first; the nodes after them are their replicas.

    layout: how many primaries, and how many replicas of each

    `topology.Topology` describes the other arguments. A primary that is silent for 1.5 s is
    replaced by one of its replicas.
    """

    def __init__(
        self, binary: Path, origin: str, folder: Path, layout: Layout, *, appendonly: bool
    ) -> None:
        self._layout = layout
        count = layout.cluster * (1 + layout.replicas)
        names = [f"node-{number}" for number in range(1, count + 1)]
        super().__init__(binary, origin, folder, names, appendonly=appendonly)

    @property
    def description(self) -> str:
        primaries = self._layout.cluster
        copies = primaries * self._layout.replicas
        followed = f", {copies} replica{'s' * (copies > 1)}" if copies else ""
        return f"a cluster: {primaries} primar{'ies' if primaries > 1 else 'y'}{followed}"

    @property
    def primary(self) -> Node:
        """The first node that is a primary and answers."""
        for name, member in self._members().items():
            if _is_primary(member) and self.nodes[name].status == "running":
                return self.nodes[name]
        raise ServerError(
            "no primary of the cluster is running. Start one, as in lab.nodes['node-1'].start()"
        )

    def connect(self) -> Redis:
        """A client of the whole cluster, which reaches each node on its own port.

        It offers the commands of a `Redis`, and is configured as `client.connect` does.
        """
        ports = [node.port for node in self.nodes.running()]
        client = DirectCluster(ports, self.nodes.real_ports, self.nodes.password)
        return cast(Redis, client)

    def failover(self, name: str | None = None) -> str:
        if name is None:
            replicas = (state.name for state in self.states() if state.role == "replica")
            name = next(replicas, None)
        if name is None:
            raise ServerError(
                "no replica of the cluster is running that could replace its primary: "
                "Lab(cluster=3, replicas=1) starts replicas"
            )
        self._check_reachable(name)
        state = self.state(name)
        if state.role == "primary":
            raise ServerError(f"{name} is a primary already: name a replica")
        self._check_reachable(state.primary)
        self._promote(name, state.primary)
        return name

    def _promote(self, name: str, former: str) -> None:
        """Send CLUSTER FAILOVER until all nodes see the replica as the primary.

        Once may not be enough: it fails while the replica synchronizes, and for twice the node
        timeout after an earlier failover the primaries refuse to vote in a next one.
        """
        client = self.nodes[name].connect()
        next_try_at = 0.0

        def is_promoted() -> bool:
            nonlocal next_try_at
            state = self.state(name)
            if state.role == "primary":
                return self._all_see(
                    lambda members: (
                        _is_primary(members[name]) and not _is_primary(members[former])
                    )
                )
            if state.is_linked and time.monotonic() >= next_try_at:
                with suppress(ResponseError):  # it has not heard yet that its primary is back
                    client.execute_command("CLUSTER", "FAILOVER")
                next_try_at = time.monotonic() + _RETRY_S
            return False

        wait_until(is_promoted, f"{name} takes the place of {former}", timeout_s=_FAILOVER_S)

    def slot_owner(self, key_or_slot: str | bytes | int) -> str:
        slot = _slot_of(key_or_slot)
        owner = _owner(slot, self._members())
        if owner is None:
            raise ServerError(f"no primary of the cluster serves slot {slot}")
        return owner

    @contextmanager
    def migrating_slot(self, key_or_slot: str | bytes | int, to: str) -> Iterator[None]:
        slot, source = _slot_of(key_or_slot), self.slot_owner(key_or_slot)
        self._check_reachable(to)
        members = self._members()
        if self.state(to).role != "primary":
            raise ServerError(f"{to} is a replica, and serves no slots: name a primary")
        if source == to:
            raise ServerError(f"slot {slot} is on {to} already: name another primary")
        self._check_reachable(source)
        old, new = self.nodes[source].connect(), self.nodes[to].connect()
        _set_slot(new, slot, "IMPORTING", members[source]["node_id"])
        _set_slot(old, slot, "MIGRATING", members[to]["node_id"])
        try:
            self._move_keys(slot, old, to)
            yield
        finally:
            self._move_keys(slot, old, to)  # what was written in the meantime
            # The new owner first: else no primary might serve the slot for a moment.
            for name in (to, source, *(members.keys() - {to, source})):
                if _is_primary(members[name]) and self.nodes[name].status == "running":
                    _set_slot(self.nodes[name].connect(), slot, "NODE", members[to]["node_id"])
            wait_until(
                lambda: self._all_see(lambda members: _owner(slot, members) == to),
                f"all nodes know that {to} serves slot {slot}",
                timeout_s=_FAILOVER_S,
            )

    def _move_keys(self, slot: int, source: Redis, to: str) -> None:
        while keys := source.cluster("GETKEYSINSLOT", slot, _KEYS_AT_ONCE):
            # Straight to the node: MIGRATE connects from an address that no proxy knows.
            source.migrate(
                "127.0.0.1",
                self.nodes[to].port,
                keys,
                0,
                int(SOCKET_TIMEOUT_S * 1_000),
                auth=self.nodes.password,
            )

    def _members(self) -> dict[str, dict[str, Any]]:
        """CLUSTER NODES, by name, of a node that knows the newest state of the cluster."""
        views = []
        for node in self.nodes.running():
            info: Any = node.connect().cluster("INFO")
            is_served = info["cluster_state"] == "ok"
            views.append((is_served, int(info["cluster_current_epoch"]), node.name))
        if not views:
            raise ServerError(
                "no node of the cluster is running. Start one, as in "
                "lab.nodes['node-1'].start()"
            )
        _, _, name = max(views)
        return self._seen_by(name)

    def _seen_by(self, name: str) -> dict[str, dict[str, Any]]:
        """CLUSTER NODES of this node, by name."""
        members: Any = self.nodes[name].connect().cluster("NODES")
        by_name = {
            self.nodes.name_at(int(address.rpartition(":")[2])): member
            for address, member in members.items()
        }
        return {name: by_name[name] for name in self.nodes}

    def _all_see(self, what: Callable[[dict[str, dict[str, Any]]], bool]) -> bool:
        """Whether it is true for each node that the others can tell, as that node sees it."""
        isolated = self.nodes.network.isolated
        return all(
            what(self._seen_by(node.name))
            for node in self.nodes.running()
            if node.name not in isolated
        )

    def _start(self) -> None:
        names = list(self.nodes.announced)
        bus_ports = self.nodes.bus_ports
        announced_bus = {
            name: self.nodes.network.door(name, port) for name, port in bus_ports.items()
        }
        all_lines = self._lines(names, announced_bus)
        for name in names:
            self.nodes.add(
                name,
                f"masterauth {self.nodes.password}\n"
                "repl-diskless-sync-delay 0\n"
                "cluster-enabled yes\n"
                f"cluster-port {bus_ports[name]}\n"
                "cluster-announce-ip 127.0.0.1\n"
                f"cluster-announce-port {self.nodes.announced[name]}\n"
                f"cluster-announce-bus-port {announced_bus[name]}\n"
                f"cluster-node-timeout {_NODE_TIMEOUT_MS}\n"
                "cluster-replica-validity-factor 0\n"  # a replica may always be elected
                "cluster-require-full-coverage no\n"  # the other primaries go on
                "cluster-allow-replica-migration no\n",
            )
            # Written, not negotiated with CLUSTER MEET: gossip would take seconds longer.
            myself = (
                line.format(myself="myself," * (name == n)) for n, line in all_lines.items()
            )
            (self.nodes[name].folder / "nodes.conf").write_text(
                "".join(myself) + f"vars currentEpoch {self._layout.cluster} lastVoteEpoch 0\n"
            )
        self.nodes.network.start()
        self.nodes.start(names)
        wait_until(
            lambda: all(map(self._is_ready, names)),
            "each node of the cluster knows the others",
            timeout_s=_READY_S,
        )

    def _lines(self, names: list[str], bus: dict[str, int]) -> dict[str, str]:
        """A line of nodes.conf for each node, with a place for "myself,"."""
        primaries = self._layout.cluster
        ids = {name: secrets.token_hex(20) for name in names}
        lines = {}
        for number, name in enumerate(names):
            place = number % primaries
            primary = names[place]
            slots = f"{SLOTS * place // primaries}-{SLOTS * (place + 1) // primaries - 1}"
            address = f"{ids[name]} 127.0.0.1:{self.nodes.announced[name]}@{bus[name]}"
            role = "master -" if name == primary else f"slave {ids[primary]}"
            epoch = place + 1
            served = f" {slots}" if name == primary else ""
            lines[name] = f"{address} {{myself}}{role} 0 0 {epoch} connected{served}\n"
        return lines

    def _is_ready(self, name: str) -> bool:
        client = self.nodes[name].connect()
        cluster: Any = client.cluster("INFO")
        replication: Any = client.info("replication")
        return bool(
            cluster["cluster_state"] == "ok"
            and cluster["cluster_known_nodes"] == str(len(self.nodes))
            and replication.get("master_link_status", "up") == "up"
        )


def _slot_of(key_or_slot: str | bytes | int) -> int:
    """The slot itself, or that of a key. Raises TypeError or ValueError."""
    if isinstance(key_or_slot, str):
        key_or_slot = key_or_slot.encode()
    if isinstance(key_or_slot, bytes):
        return int(key_slot(key_or_slot))
    if not isinstance(key_or_slot, int) or isinstance(key_or_slot, bool):
        raise TypeError(
            f"{key_or_slot!r} is neither a key nor the number of a slot: give a str or an int"
        )
    if not 0 <= key_or_slot < SLOTS:
        raise ValueError(
            f"there is no slot {key_or_slot}: a cluster has slots 0 to {SLOTS - 1:,}"
        )
    return key_or_slot


def _is_primary(member: dict[str, Any]) -> bool:
    return "master" in member["flags"]


def _owner(slot: int, members: dict[str, dict[str, Any]]) -> str | None:
    for name, member in members.items():
        if any(int(run[0]) <= slot <= int(run[-1]) for run in member["slots"]):
            return name
    return None


def _set_slot(client: Redis, slot: int, *state: str) -> None:
    client.execute_command("CLUSTER", "SETSLOT", slot, *state)
