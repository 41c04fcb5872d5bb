"""A server that somebody else runs, named by a URL. We are guests there."""

from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

import redis
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from redisflow_lab.lab.prefix import new_prefix
from redisflow_lab.lab.server.guard import Guard
from redisflow_lab.lab.server.identity import Identity, identify
from redisflow_lab.lab.server.interface import ServerError, UnfitServerError
from redisflow_lab.lab.server.refusals import explained


class ForeignServer:
    """A server that somebody else runs: plain, with TLS (rediss://) or a socket (unix://).

    All our keys begin with `prefix`; they are deleted on closing, and by a guard when this
    process is gone, and nothing else is. A user who may only touch "redisflow:*" will do,
    without the commands that Redis calls dangerous.

    Raises ServerError when the URL is none, and when the server cannot be reached, refuses
    the password or the keys, is older than Redis 7.0, or cannot be written to.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.prefix = new_prefix()
        try:
            if "@" in url and "@" not in urlsplit(url).netloc:
                raise ValueError("a special character in the password ends the address")
            client = _connect(url)
        except ValueError:  # its text may quote the password
            raise ServerError(
                "REDISFLOW_URL is no Redis URL; write redis://user:password@host:port/0, "
                "with special characters percent-encoded"
            ) from None
        _check_options(client)
        with client:
            try:
                self.label = f"{_tried_out(client, self.prefix).name} (your URL)"
            except (redis.RedisError, UnfitServerError) as error:
                raise ServerError(explained(error, client)) from None
        self._guard = Guard(partial(_delete_keys, url, self.prefix))

    def __repr__(self) -> str:
        return f"<{self.label}, keys under {self.prefix}>"

    def connect(self) -> Redis:
        return _connect(self._url)

    def kill(self) -> None:
        raise ServerError(
            f"{self.label} is not ours to kill. Lab(server='own') starts one that is"
        )

    def start(self) -> None:
        raise ServerError(f"{self.label} is not ours to start; it runs")

    def close(self) -> None:
        """Delete our keys. Raises ServerError if it cannot; the guard tries it once more."""
        if not self._guard.dismissed:
            _delete_keys(self._url, self.prefix)
            self._guard.dismiss()


def _connect(url: str) -> Redis:
    return Redis.from_url(
        url, decode_responses=False, retry=Retry(NoBackoff(), 0), socket_timeout=5
    )


def _check_options(client: Redis) -> None:
    """Refuse what stands behind the ? of the URL and cannot act. Raises ServerError."""
    pool = client.connection_pool
    if pool.connection_kwargs["decode_responses"]:
        raise ServerError(
            "REDISFLOW_URL sets decode_responses, and the lab works with bytes. Leave it out"
        )
    try:
        pool.connection_class(**pool.connection_kwargs)  # does not connect yet
    except (TypeError, redis.RedisError) as error:
        raise ServerError(f"REDISFLOW_URL has a wrong option: {error}") from None


def _delete_keys(url: str, prefix: str) -> None:
    try:
        with _connect(url) as client:
            keys: Iterator[bytes] = client.scan_iter(match=f"{prefix}*", count=1_000)
            for key in keys:
                client.unlink(key)
    except redis.RedisError as error:
        raise ServerError(
            f"the keys that begin with {prefix} could not be deleted: {error}"
        ) from None


def _tried_out(client: Redis, prefix: str) -> Identity:
    """Ask what it is, and write, find and delete a key, as the lab will."""
    identity = identify(client)
    if identity.mode == "cluster":
        raise UnfitServerError(
            "is part of a Redis Cluster: it answers -MOVED for most keys, which live on other "
            "servers, and the lab speaks to one. Name a server that stands alone"
        )
    client.set(f"{prefix}probe", "", px=10_000)
    client.unlink(f"{prefix}probe")
    client.scan(match=f"{prefix}*", count=1)
    return identity
