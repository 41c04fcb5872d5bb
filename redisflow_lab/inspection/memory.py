"""How much memory the server uses, and how much it may."""

from collections.abc import Callable
from typing import Any, NamedTuple

from redis import Redis, RedisCluster
from redis.cluster import ClusterNode
from redis.exceptions import NoPermissionError


class Memory(NamedTuple):
    """In bytes.

    limit: `maxmemory`: beyond it the server evicts keys, or refuses writes; 0 for none
    """

    used: int
    limit: int


def memory_of(redis: Redis) -> Memory | None:
    """Ask the server. None if this user may not run INFO.

    https://redis.io/docs/latest/commands/info/
    """
    return _memory(lambda: redis.info("memory"))


def memory_of_node(cluster: RedisCluster, node: ClusterNode) -> Memory | None:
    """The same of a node of a cluster: each has its own limit."""
    return _memory(lambda: cluster.info("memory", target_nodes=node))


def _memory(ask: Callable[[], Any]) -> Memory | None:
    try:
        info: dict[str, Any] = ask()
    except NoPermissionError:
        return None
    return Memory(info["used_memory"], info["maxmemory"])
