"""A server that you name with REDISFLOW_URL, and that may hold data of other users."""

import re
from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

import redis
from redis import Redis

from redisflow_lab.lab.prefix import new_prefix
from redisflow_lab.lab.server.client import connect
from redisflow_lab.lab.server.guard import Guard
from redisflow_lab.lab.server.identity import Identity, identify
from redisflow_lab.lab.server.interface import ServerError, UnsupportedServerError
from redisflow_lab.lab.server.url_errors import explain_refusal


class SharedServer:
    """A running server, reached by its URL: redis://, rediss:// (TLS) or unix:// (socket).

    Other users may keep data there, so the lab writes only keys that begin with `prefix`. It
    deletes those, and no others, when it is closed, or by a guard process once this process
    is gone. It never kills, starts or configures the server.

    An ACL user with access to "redisflow:*" and no command of the category @dangerous is
    enough: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/

    Raises ServerError if the URL is malformed, or if the server cannot be reached, refuses
    the user, is a replica or part of a cluster, or is older than Redis 7.0.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.prefix = new_prefix()
        try:
            _check_form(url)
            client = connect(url)
        except ValueError:  # not quoted, because its text may contain the password
            raise ServerError(
                "REDISFLOW_URL is not a Redis URL. Write redis://user:password@host:port/0, "
                "and percent-encode special characters of the password: %40 for @, %2F for /, "
                "%3F for ?, %23 for #"
            ) from None
        _check_options(client)
        with client:
            try:
                self.label = f"{_check_access(client, self.prefix).name} (your URL)"
            except (redis.RedisError, UnsupportedServerError) as error:
                raise ServerError(explain_refusal(error, client)) from None
        self._guard = Guard(partial(_delete_keys, url, self.prefix))

    def __repr__(self) -> str:
        return f"<{self.label}, keys under {self.prefix}>"

    @property
    def url(self) -> str:
        return self._url

    @property
    def port(self) -> int | None:
        options = connect(self._url).connection_pool.connection_kwargs
        return None if "path" in options else int(options.get("port", 6379))

    def connect(self) -> Redis:
        return connect(self._url)

    def kill(self) -> None:
        raise ServerError(
            f"the lab does not kill {self.label}: other users may need it. "
            "Lab('own') starts a server that you can kill"
        )

    def start(self) -> None:
        raise ServerError(
            f"the lab does not start {self.label}: it manages only its own servers. "
            "Lab('own') starts one"
        )

    def close(self) -> None:
        """Delete the lab's keys. Raises ServerError if that fails; the guard then retries."""
        if not self._guard.dismissed:
            _delete_keys(self._url, self.prefix)
            self._guard.dismiss()


def _check_form(url: str) -> None:
    """Raise ValueError if a part of the password may stand where another part belongs.

    A special character in the password ends the address too early. An error that names the
    address, the database or an option would then show the rest of the password.
    """
    parts = urlsplit(url)
    after = f"{parts.path}?{parts.query}#{parts.fragment}"
    if "@" in after or parts.fragment:
        raise ValueError("an @ or a # after the address")
    if parts.scheme == "unix" and parts.hostname:
        raise ValueError("a host before the path of a socket")
    if parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError("the database is not a number")


def _check_options(client: Redis) -> None:
    """Refuse options in the query of the URL that the lab cannot use. Raises ServerError."""
    pool = client.connection_pool
    if pool.connection_kwargs["decode_responses"]:
        raise ServerError(
            "REDISFLOW_URL sets decode_responses, but the lab needs replies as bytes. "
            "Remove that option"
        )
    try:
        pool.connection_class(**pool.connection_kwargs)  # does not connect yet
    except (TypeError, redis.RedisError) as error:
        raise ServerError(
            f"REDISFLOW_URL has an option that redis-py does not accept: {error}. Remove it"
        ) from None


def _check_access(client: Redis, prefix: str) -> Identity:
    """Identify the server, and write, scan and delete a key as the lab will do later."""
    identity = identify(client)
    if identity.mode == "cluster":
        raise UnsupportedServerError(
            "is part of a Redis Cluster: it answers -MOVED for keys that live on its other "
            "nodes, and the lab talks to one server only. Name a standalone server"
        )
    client.set(f"{prefix}probe", "", px=10_000)
    client.unlink(f"{prefix}probe")
    client.scan(match=f"{prefix}*", count=1)
    return identity


def _delete_keys(url: str, prefix: str) -> None:
    try:
        with connect(url) as client:
            keys: Iterator[bytes] = client.scan_iter(match=f"{prefix}*", count=1_000)
            for key in keys:
                client.unlink(key)
    except redis.RedisError as error:
        raise ServerError(
            f"the keys that begin with {prefix} could not be deleted: {error}. "
            f"Delete them with redis-cli --scan --pattern '{prefix}*' | xargs redis-cli unlink"
        ) from None
