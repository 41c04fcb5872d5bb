"""How much memory the server uses, and how much it may."""

from typing import Any, NamedTuple

from redis import Redis
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
    try:
        info: dict[str, Any] = redis.info("memory")
    except NoPermissionError:
        return None
    return Memory(info["used_memory"], info["maxmemory"])
