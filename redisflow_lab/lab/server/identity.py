"""Which server this is: its name, its version, and whether that is recent enough."""

from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from redisflow_lab.lab.server.interface import UnfitServerError

OLDEST = (7, 0)
"""Before Redis 7.0, XINFO GROUPS has no lag. Every Valkey is newer."""


@dataclass(frozen=True)
class Identity:
    """name: with the version, such as "Redis 8.10.2"; mode: "standalone", "cluster", ..."""

    name: str
    mode: str


def identify(client: Redis) -> Identity:
    """What the server says of itself. Raises UnfitServerError if it is too old.

    From HELLO, which every user may ask; INFO is often forbidden to guests:
    https://redis.io/docs/latest/commands/hello/
    """
    try:
        reply: Any = client.execute_command("HELLO")
    except ResponseError as error:
        if "unknown command" not in str(error):
            raise
        raise UnfitServerError(
            "is older than Redis 6.0; 7.0 is the oldest that will do"
        ) from None
    said = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
    name = recent(said[b"server"].decode(), said[b"version"].decode())
    return Identity(name, said[b"mode"].decode())


def recent(kind: str, version: str) -> str:
    """The name and version to show. Raises UnfitServerError if it is too old."""
    name = f"{kind.capitalize()} {version}"
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise UnfitServerError(f"is {name}; 7.0 is the oldest that will do")
    return name
