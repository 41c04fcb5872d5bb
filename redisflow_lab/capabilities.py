"""What the connected server can do. The one place that knows; everything else asks it."""

from redis import Redis


def knows_command(redis: Redis, command: str) -> bool:
    """Whether the server has this command, such as "XCFGSET".

    Asked, and not derived from a version: Valkey calls itself Redis 7.2.4, and hosted
    servers leave commands out. https://redis.io/docs/latest/commands/command-list/ (7.0)
    """
    return bool(redis.command_list(pattern=command.lower()))
