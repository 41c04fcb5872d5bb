"""Name and version of a server, and whether the lab supports it."""

from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.server.interface import UnsupportedServerError

OLDEST = (7, 0)
"""Before Redis 7.0, XINFO GROUPS does not report the lag. Each Valkey is newer."""

_NEEDED = "the lab needs 7.0 or newer"


@dataclass(frozen=True)
class Identity:
    """name: with the version, such as "Redis 8.10.2"; mode: "standalone", "cluster", ..."""

    name: str
    mode: str


def identify(client: Redis) -> Identity:
    """Ask the server for its name, version and mode, with HELLO.

    INFO would tell as much, but users of a shared server often may not call it.
    https://redis.io/docs/latest/commands/hello/

    Raises UnsupportedServerError if the server is too old.
    """
    try:
        reply: Any = client.execute_command("HELLO")
    except ResponseError as error:
        if "unknown command" not in str(error):
            raise
        raise UnsupportedServerError(f"is older than Redis 6.0; {_NEEDED}") from None
    fields = (
        reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
    )
    name = check_version(fields[b"server"].decode(), fields[b"version"].decode())
    return Identity(name, fields[b"mode"].decode())


def check_version(kind: str, version: str) -> str:
    """The name to show, such as "Redis 8.10.2". Raises UnsupportedServerError if too old."""
    name = printable(f"{kind.capitalize()} {version}")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise UnsupportedServerError(f"is {name}; {_NEEDED}")
    return name
