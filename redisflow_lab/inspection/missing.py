"""Explains that a stream or a group does not exist, where Redis says "no such key"."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis, RedisCluster
from redis.exceptions import ResponseError

from redisflow_lab._internal.printable import printable


class NoSuchStreamError(ResponseError):
    """No key has this name."""


class NotAStreamError(ResponseError):
    """The key of this name holds a value of another type."""


class NoSuchGroupError(ResponseError):
    """The stream exists, but has no group of this name."""


@contextmanager
def explaining_missing(
    redis: Redis | RedisCluster,
    stream: str,
    group: str | None = None,
    *,
    called: str | None = None,
) -> Iterator[None]:
    """Replace the error of a command that failed because the stream or group is missing.

    called: the name of the stream in the error (default: its key)

    Raises NoSuchStreamError, NotAStreamError and NoSuchGroupError. Asks the server instead of
    matching the text of the reply, which contains names as well.
    """
    try:
        yield
    except ResponseError:
        kind, name = _text(redis.type(stream)), printable(called or stream)
        if kind == "none":
            raise NoSuchStreamError(
                f"no stream '{name}': publish a message to it, or create a group on it, first"
            ) from None
        if kind != "stream":
            raise NotAStreamError(
                f"'{name}' is a {kind} and not a stream: check the name, or delete that key"
            ) from None
        if group is not None and group not in _groups(redis, stream):
            raise NoSuchGroupError(
                f"no group '{printable(group)}' on the stream '{name}': start a consumer of "
                "it, or create it with XGROUP CREATE, first"
            ) from None
        raise


def _groups(redis: Redis | RedisCluster, stream: str) -> list[str]:
    return [_text(found["name"]) for found in redis.xinfo_groups(stream)]


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode(errors="replace")
