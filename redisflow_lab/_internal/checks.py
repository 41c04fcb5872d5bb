"""Argument checks. Each error message names the value and says what to do."""

import re
from typing import TypeVar

from redis import Redis, RedisCluster
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio import RedisCluster as AsyncRedisCluster

_MAX_INT = 2**31 - 1
"""The largest count or time: 24 days in ms, 68 years in s. Servers and sockets refuse more."""
_MAKE_A_CLIENT = "Make a client with redis.Redis.from_url(...)"
_USE_A_THREAD = (
    f"{_MAKE_A_CLIENT}. An asynchronous program calls what blocks in a thread: "
    "await asyncio.to_thread(producer.publish, message)"
)


Client = TypeVar("Client", bound=Redis | RedisCluster)


def check_client(redis: Client) -> Client:
    """Return `redis` if it is a synchronous client, else raise TypeError."""
    if isinstance(redis, Redis | RedisCluster):
        return redis
    way_out = _MAKE_A_CLIENT
    if isinstance(redis, AsyncRedis | AsyncRedisCluster):
        way_out = _USE_A_THREAD
    raise TypeError(
        # Do not show the value: if it is a URL, it may have a password.
        "redis must be a redis.Redis or redis.RedisCluster client, not "
        f"{_full_name(type(redis))}. {way_out}"
    )


def check_name(what: str, value: str) -> str:
    """Return `value` if it can name a stream, group or consumer: a str that is not blank."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}: {value!r}")
    if not value.strip():
        raise ValueError(f"{what} is blank: {value!r}; give it a name")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} has no UTF-8 form at character {error.start}") from None
    return str.__str__(value)  # else a member of a str Enum is formatted as its name


def name_part(part: str) -> str:
    """`part` with its colons escaped, so that two names joined with colons never collide."""
    return part.replace("%", "%25").replace(":", "%3A")


def check_entry_id(what: str, value: str) -> str:
    """Return `value` if it is a complete entry id. To Redis, "5" means all of millisecond 5."""
    if not isinstance(value, str) or not re.fullmatch(r"\d+-\d+", value):
        raise ValueError(f"{what} must be an entry id like '1730671200000-0', not {value!r}")
    return value


def check_int(what: str, value: int) -> int:
    """Return `value` if it is an int, and not a bool."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{what} must be an int, not {type(value).__name__}: {value!r}")
    return value


def check_positive(what: str, value: int) -> int:
    """Return `value` if it is an int of at least 1."""
    check_int(what, value)
    if value < 1:
        raise ValueError(f"{what} must be at least 1, not {value}")
    if value > _MAX_INT:
        raise ValueError(f"{what} must be at most {_MAX_INT:,}, not {value}")
    return value


def check_seconds(what: str, value: float) -> float:
    """Return `value` if it is a number of seconds, 0 or more."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{what} must be a number, not {type(value).__name__}: {value!r}")
    if not value >= 0:  # also what is not a number
        raise ValueError(f"{what} must be at least 0, not {value}")
    return value


def lease_s(min_idle_ms: int, max_handler_ms: int | None) -> float:
    """How long after a delivery its handler may start without a lease renewal, in seconds."""
    if max_handler_ms is None:
        max_handler_ms = min_idle_ms // 2
    elif check_positive("max_handler_ms", max_handler_ms) >= min_idle_ms:
        raise ValueError(
            f"max_handler_ms is {max_handler_ms}, not below min_idle_ms, {min_idle_ms}: other "
            "consumers would claim messages that are still being handled"
        )
    return (min_idle_ms - max_handler_ms) / 1_000


def _full_name(kind: type) -> str:
    """The name of a class with its module; the bare name of a built-in."""
    builtin = kind.__module__ == "builtins"
    return kind.__qualname__ if builtin else f"{kind.__module__}.{kind.__qualname__}"
