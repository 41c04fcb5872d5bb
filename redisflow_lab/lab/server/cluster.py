"""A Redis Cluster: primaries that share the slots, each with its replicas."""

import secrets
from pathlib import Path
from typing import Any, cast

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.crc import REDIS_CLUSTER_HASH_SLOTS as SLOTS
from redis.retry import Retry

from redisflow_lab.lab.server.client import SOCKET_TIMEOUT_S
from redisflow_lab.lab.server.interface import ServerError
from redisflow_lab.lab.server.layout import Layout
from redisflow_lab.lab.server.node import Node
from redisflow_lab.lab.server.ports import pick_ports
from redisflow_lab.lab.server.topology import Topology
from redisflow_lab.lab.waiting import wait_until

_NODE_TIMEOUT_MS = 1_500
_READY_S = 10.0


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
        replicas = self._layout.replicas
        each = f", each with {replicas} replica{'s' * (replicas > 1)}" if replicas else ""
        return f"a cluster of {self._layout.cluster} primaries{each}"

    @property
    def primary(self) -> Node:
        """The first node that is a primary and serves its slots."""
        for node in self.nodes.running():
            client = node.connect()
            replication, cluster = client.info("replication"), client.cluster("INFO")
            if replication["role"] == "master" and cluster["cluster_state"] == "ok":
                return node
        raise ServerError(
            "no primary of the cluster serves its slots now: the majority of the primaries is "
            "down. Start one, as in lab.nodes['node-1'].start()"
        )

    def connect(self) -> Redis:
        """A client of the whole cluster, which reaches each node on its own port.

        It offers the commands of a `Redis`, and is configured as `client.connect` does.
        """
        real_ports = self.nodes.real_ports
        client = RedisCluster(
            startup_nodes=[
                ClusterNode("127.0.0.1", node.port) for node in self.nodes.running()
            ],
            address_remap=lambda address: (address[0], real_ports.get(address[1], address[1])),
            password=self.nodes.password,
            socket_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            require_full_coverage=False,
        )
        return cast(Redis, client)

    def _start(self) -> None:
        names = list(self.nodes.announced)
        bus_ports = dict(zip(names, pick_ports(len(names)), strict=True))
        announced_bus = {
            name: self.nodes.network.door(name, port) for name, port in bus_ports.items()
        }
        members = self._members(names, announced_bus)
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
                line.format(myself="myself," * (name == n)) for n, line in members.items()
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

    def _members(self, names: list[str], bus: dict[str, int]) -> dict[str, str]:
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
