"""Which commands and options the connected server supports."""

from collections.abc import Iterable
from typing import Any

from redis import Redis


def supports(redis: Redis, capability: str) -> bool:
    """Whether the server supports a command ("XACKDEL") or an option ("XREADGROUP CLAIM").

    Asks the server for its own description of the command. Its version number would mislead:
    Valkey reports itself as Redis 7.2.4, and hosted servers remove commands. Trying the
    command would mislead too: for an unknown option an old server answers "Invalid stream ID".
    https://redis.io/docs/latest/commands/command-docs/ (since Redis 7.0)
    """
    command, _, option = capability.partition(" ")
    described = redis.execute_command("COMMAND DOCS", command.lower())
    return bool(described) and (not option or option.encode() in _words(described))


def unsupported(redis: Redis, needs: Iterable[str]) -> list[str]:
    """The items of `needs` that the server does not support, each written as for `supports`."""
    return [need for need in needs if not supports(redis, need)]


def _words(described: Any) -> set[Any]:
    """Every word in a description, whose shape depends on the client."""
    if isinstance(described, dict):
        described = [*described, *described.values()]
    if isinstance(described, list | set):
        return set().union(*map(_words, described))
    return {described}
