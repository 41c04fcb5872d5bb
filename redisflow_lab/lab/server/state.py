"""What a node says of itself: its role, how far it is in the replication, what it holds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis

from redisflow_lab.lab.server.node import Node

_NO_HISTORY = "0" * 40


@dataclass(frozen=True)
class NodeState:
    """What a node said when it was asked; None for what it did not say.

    role:      "primary", "replica" or "sentinel"; "paused" or "down" if it cannot answer
    primary:   the name of a replica's primary; else empty
    is_linked: whether a replica is connected to its primary
    offset:    the bytes of the history of writes that it has
    histories: the ids of the history of writes, and of the one that it continues
    keys:      how many it holds
    slots:     those that it serves in a cluster, such as "0-5460"
    serves:    whether it takes commands for them: a minority of a cluster does not
    """

    name: str
    role: str
    primary: str = ""
    is_linked: bool | None = None
    offset: int | None = None
    histories: frozenset[str] = frozenset()
    keys: int | None = None
    slots: str | None = None
    serves: bool | None = None


def ask_state(node: Node, name_at: Callable[[int], str]) -> NodeState:
    """Ask a node for its state, as it sees it.

    name_at: the name of the node that announces a port
    """
    for attempt in range(2):
        if node.status != "running":
            break
        try:
            return _ask(node, name_at)
        except redis.ConnectionError:
            # It has just died, or a Sentinel closed all connections to change its role.
            if attempt:
                raise
    return NodeState(node.name, role=node.status)


def _ask(node: Node, name_at: Callable[[int], str]) -> NodeState:
    with node.connect() as client:
        info: Any = client.info()
        if "sentinel_masters" in info:
            return NodeState(node.name, role="sentinel", keys=0)
        is_replica = info["role"] == "slave"
        state = NodeState(
            node.name,
            role="replica" if is_replica else "primary",
            primary=name_at(info["master_port"]) if is_replica else "",
            is_linked=info["master_link_status"] == "up" if is_replica else None,
            offset=info["slave_repl_offset" if is_replica else "master_repl_offset"],
            histories=frozenset((info["master_replid"], info["master_replid2"]))
            - {_NO_HISTORY},
            keys=info.get("db0", {}).get("keys", 0),
        )
        if not info["cluster_enabled"]:
            return state
        members: Any = client.cluster("NODES")
        cluster: Any = client.cluster("INFO")
        (myself,) = (member for member in members.values() if "myself" in member["flags"])
        return NodeState(
            **{
                **vars(state),
                "slots": ", ".join(
                    dict.fromkeys("-".join(dict.fromkeys(run)) for run in myself["slots"])
                ),
                "serves": cluster["cluster_state"] == "ok",
            }
        )
