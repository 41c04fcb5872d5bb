"""What the connected server can do. The one place that knows; everything else asks it."""

from collections.abc import Iterable
from typing import Any

from redis import Redis


def can(redis: Redis, capability: str) -> bool:
    """Whether the server has a command, "XACKDEL", or an option of one, "XREADGROUP CLAIM".

    Asked of the server's own description of its commands, and not derived from a version:
    Valkey calls itself Redis 7.2.4, and hosted servers leave commands out. Trying it out
    would be misleading: to an option it does not know, an old server says "Invalid stream
    ID". https://redis.io/docs/latest/commands/command-docs/ (7.0)
    """
    command, _, option = capability.partition(" ")
    described = redis.execute_command("COMMAND DOCS", command.lower())
    return bool(described) and (not option or option.encode() in _words(described))


def lacking(redis: Redis, needs: Iterable[str]) -> list[str]:
    """Those of the capabilities that the server does not have."""
    return [need for need in needs if not can(redis, need)]


def _words(described: Any) -> set[Any]:
    """All that is said anywhere in a description; its shape depends on the client."""
    if isinstance(described, dict):
        described = [*described, *described.values()]
    if isinstance(described, list | set):
        return set().union(*map(_words, described))
    return {described}
