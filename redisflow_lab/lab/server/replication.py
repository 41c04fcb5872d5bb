"""A primary and its replicas, and Sentinels that put a replica in its place."""

import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from redisflow_lab.lab.server.interface import ServerError
from redisflow_lab.lab.server.layout import Layout
from redisflow_lab.lab.server.node import Node
from redisflow_lab.lab.server.sentinel_client import SERVICE, connect_by_sentinels
from redisflow_lab.lab.server.topology import Topology
from redisflow_lab.lab.waiting import wait_until

_DOWN_AFTER_MS, _LATER_MS = 1_000, 250
"""When the first Sentinel takes a server for down, and how much later each of the others does.

If two of them noticed it at once, each would vote for itself, and both would try again after
six seconds.
"""
_FAILOVER_MS = 3_000
_CHOSEN, _NOT_CHOSEN = 1, 100
"""Values of replica-priority: the lowest wins, and 100 is the default."""

_READY_S = 10.0
_FAILOVER_S = 15.0

# In ms. By default a Sentinel sends a PING every 1,000 ms, so that it may miss a server that
# answers each, and a former primary goes on as a primary for ten seconds after its failover.
# Five times the period of PING must be longer than a second: then a Sentinel with a primary
# that is down asks the replicas, and a replica that it asked longer ago is not promoted.
_PACE = {"ping-period": 400, "info-period": 500, "publish-period": 500}


class SentinelNode(Node):
    """A Sentinel, which looks more often than by default."""

    arguments = ("--sentinel",)

    def wait_until_ready(self) -> None:
        super().wait_until_ready()
        pace = [word for setting in _PACE.items() for word in setting]
        self.connect().execute_command("SENTINEL", "DEBUG", *pace)


class Replication(Topology):
    """node-1 is the primary at first, and the other nodes are its replicas.

    layout: how many replicas and Sentinels

    `topology.Topology` describes the other arguments. With Sentinels, a primary that does not
    answer for a second is replaced.
    """

    def __init__(
        self, binary: Path, origin: str, folder: Path, layout: Layout, *, appendonly: bool
    ) -> None:
        self._servers = [f"node-{number}" for number in range(1, layout.replicas + 2)]
        self._sentinels = [f"sentinel-{number}" for number in range(1, layout.sentinels + 1)]
        names = [*self._servers, *self._sentinels]
        super().__init__(binary, origin, folder, names, appendonly=appendonly)

    @property
    def description(self) -> str:
        others = [_count(len(self._servers) - 1, "replica")]
        if self._sentinels:
            others.append(_count(len(self._sentinels), "Sentinel"))
        return f"a primary with {' and '.join(others)}"

    @property
    def primary(self) -> Node:
        """The one that most Sentinels name; without Sentinels, the one with most replicas."""
        named = self._named() if self._sentinels else self._followed()
        if not named:
            raise ServerError(
                "no server is a primary now. Start one, as in lab.nodes['node-1'].start()"
            )
        ((name, _),) = Counter(named).most_common(1)
        return self.nodes[name]

    def connect(self) -> Redis:
        """With Sentinels, a client of the primary that they name; else, a client of node-1."""
        if not self._sentinels:
            return self.nodes["node-1"].connect()
        ports = [self.nodes[name].port for name in self._sentinels]
        return connect_by_sentinels(ports, self.nodes.password, self.nodes.real_ports)

    def _start(self) -> None:
        for name in self._servers:
            self.nodes.add(
                name,
                f"masterauth {self.nodes.password}\n"
                "replica-announce-ip 127.0.0.1\n"
                f"replica-announce-port {self.nodes.announced[name]}\n"
                "repl-diskless-sync-delay 0\n",
            )
        ids = {name: secrets.token_hex(20) for name in self._sentinels}
        for name in self._sentinels:
            self.nodes.add(name, self._sentinel_settings(name, ids), SentinelNode)
        self.nodes.network.start()
        self.nodes.start(self._servers)
        for name in self._servers[1:]:
            self._follow(name, "node-1")
        wait_until(
            lambda: all(map(self._is_synchronized, self._servers[1:])),
            "the replicas have the data of node-1",
            timeout_s=_READY_S,
        )
        self.nodes.start(self._sentinels)
        wait_until(
            lambda: all(map(self._knows_all, self._sentinels)),
            "each Sentinel knows the others and the replicas",
            timeout_s=_READY_S,
        )

    def _sentinel_settings(self, name: str, ids: dict[str, str]) -> str:
        """Lines for sentinel.conf, with the other Sentinels: to discover them takes 2 s."""
        quorum = len(ids) // 2 + 1
        down_after_ms = _DOWN_AFTER_MS + _LATER_MS * list(ids).index(name)
        announced = self.nodes.announced
        return (
            f"sentinel myid {ids[name]}\n"
            "sentinel announce-ip 127.0.0.1\n"
            f"sentinel announce-port {announced[name]}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {announced['node-1']} {quorum}\n"
            f"sentinel auth-pass {SERVICE} {self.nodes.password}\n"
            f"sentinel down-after-milliseconds {SERVICE} {down_after_ms}\n"
            f"sentinel failover-timeout {SERVICE} {_FAILOVER_MS}\n"
            + "".join(
                f"sentinel known-sentinel {SERVICE} 127.0.0.1 {announced[other]} {ids[other]}\n"
                for other in ids
                if other != name
            )
        )

    def failover(self, name: str | None = None) -> str:
        primary = self.primary.name
        replicas = [
            other.name
            for other in self.nodes.running()
            if other.name in self._servers and other.name != primary
        ]
        if name is not None:
            self._check_replica(name, primary)
        elif not replicas:
            raise ServerError(
                f"no replica is running that could replace {primary}. Start one, as in "
                "lab.nodes['node-2'].start()"
            )
        candidates = [name] if name is not None else replicas
        wait_until(
            lambda: any(self.state(each).is_linked for each in candidates),
            f"{' or '.join(candidates)} is connected to {primary}",
            timeout_s=_FAILOVER_S,
        )
        if self._sentinels:
            return self._fail_over_by_sentinel(name, primary)
        return self._fail_over_by_hand(name or replicas[0], primary)

    def _check_replica(self, name: str, primary: str) -> None:
        """Raise ServerError if this node cannot replace the primary."""
        self._check_reachable(name)
        if name in self._sentinels:
            raise ServerError(f"{name} is a Sentinel, and holds no data: name a replica")
        if name == primary:
            raise ServerError(f"{name} is the primary already: name a replica")

    def _fail_over_by_sentinel(self, name: str | None, primary: str) -> str:
        """Let a Sentinel replace the primary, by the replica that is asked for."""
        isolated = self.nodes.network.isolated
        able = [
            node
            for node in self.nodes.running()
            if node.name in self._sentinels and node.name not in isolated
        ]
        if not able:
            raise ServerError(
                "no Sentinel is running that could replace the primary. Start one, as in "
                "lab.nodes['sentinel-1'].start()"
            )
        sentinel = able[0].connect()

        def is_replaced() -> bool:
            # A failover may end without a new primary, and is then begun again.
            if self._named_by(able[0].name) == primary:
                _begin_failover(sentinel)
            return self._agree_on_another(primary)

        with self._preferred(name, sentinel):
            wait_until(
                is_replaced,
                f"a replica takes the place of {primary}",
                timeout_s=_FAILOVER_S,
            )
        return self.primary.name

    @contextmanager
    def _preferred(self, name: str | None, sentinel: Redis) -> Iterator[None]:
        """Within the block Sentinel chooses this replica before the others."""
        if name is None:
            yield
            return
        client = self.nodes[name].connect()
        client.config_set("replica-priority", _CHOSEN)
        try:
            wait_until(
                lambda: self._priority(name, sentinel) == _CHOSEN,
                f"Sentinel knows the priority of {name}",
                timeout_s=_FAILOVER_S,
            )
            yield
        finally:
            client.config_set("replica-priority", _NOT_CHOSEN)
            client.config_rewrite()

    def _priority(self, name: str, sentinel: Redis) -> int:
        replicas: Any = sentinel.sentinel_slaves(SERVICE)
        port = self.nodes.announced[name]
        return next((int(r["slave-priority"]) for r in replicas if r["port"] == port), 0)

    def _agree_on_another(self, primary: str) -> bool:
        """Whether the Sentinels name the same new primary, which knows that it is one."""
        isolated = self.nodes.network.isolated
        named = {self._named_by(name) for name in self._answering() if name not in isolated}
        if len(named) != 1 or primary in named:
            return False
        return self.state(*named).role == "primary"

    def _fail_over_by_hand(self, name: str, primary: str) -> str:
        """What a person does without Sentinels: FAILOVER, then tell the other replicas."""
        self._check_reachable(primary)
        self._check_reachable(name)
        self.nodes[primary].connect().execute_command(
            "FAILOVER", "TO", "127.0.0.1", self.nodes.announced[name]
        )
        wait_until(
            lambda: self.state(name).role == "primary",
            f"{name} takes the place of {primary}",
            timeout_s=_FAILOVER_S,
        )
        self.nodes[name].connect().config_rewrite()
        for other in self.nodes.running():
            if other.name != name:
                self._follow(other.name, name)
        return name

    def _follow(self, name: str, primary: str) -> None:
        """Make a node the replica of another one, also after it was started again."""
        client = self.nodes[name].connect()
        client.replicaof("127.0.0.1", self.nodes.announced[primary])
        client.config_rewrite()

    def _is_synchronized(self, name: str) -> bool:
        info: Any = self.nodes[name].connect().info("replication")
        return bool(info.get("master_link_status") == "up")

    def _knows_all(self, name: str) -> bool:
        masters: Any = self.nodes[name].connect().sentinel_masters()
        state = masters[SERVICE]
        return bool(
            state["num-slaves"] == len(self._servers) - 1
            and state["num-other-sentinels"] == len(self._sentinels) - 1
            and state["flags"] == "master"
        )

    def _answering(self) -> list[str]:
        """The Sentinels that can answer."""
        return [name for name in self._sentinels if self.nodes[name].status == "running"]

    def _named_by(self, sentinel: str) -> str:
        """The primary that a Sentinel names."""
        client = self.nodes[sentinel].connect()
        address: Any = client.sentinel_get_master_addr_by_name(SERVICE)
        return self.nodes.name_at(int(address[1]))

    def _named(self) -> list[str]:
        return [self._named_by(name) for name in self._answering()]

    def _followed(self) -> list[str]:
        """Each node that is a primary, and once more for each of its replicas."""
        states = [self.state(name) for name in self._servers]
        primaries = [state.name for state in states if state.role == "primary"]
        return primaries + [s.primary for s in states if s.is_linked and s.primary in primaries]


def _begin_failover(sentinel: Redis) -> None:
    """Begin a failover, unless one is in progress, or Sentinel knows no good replica yet."""
    try:
        sentinel.execute_command("SENTINEL", "FAILOVER", SERVICE)
    except ResponseError as error:
        if not str(error).startswith(("NOGOODSLAVE", "INPROG")):
            raise


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
