"""The server that a command works on: its address, the password, and errors in a sentence."""

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Annotated, Any, NoReturn

import redis
import typer
from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.connection import SSLConnection
from redis.exceptions import (
    ClusterDownError,
    RedisClusterException,
    RedisError,
    SlotNotCoveredError,
)
from redis.retry import Retry

from redisflow_lab._internal.backoff import transient_reason
from redisflow_lab._internal.connection import settings_of, stream_client
from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.server_errors import explain_server_error
from redisflow_lab._internal.slot import DifferentSlotsError
from redisflow_lab.inspection.missing import NoSuchStreamError
from redisflow_lab.partitions.counting import PartitionCountError, stored_count

Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="REDISFLOW_URL",
        help="The server, or any node of a cluster: redis://user@host:port/0, or rediss:// "
        "for TLS. The password is read from REDISFLOW_PASSWORD, or asked for.",
    ),
]
HERE = "redis://localhost:6379/0"
"""The server of a command that is not told another one."""

_TIMEOUT_S = 5.0
_OTHER_NODES = 3
"""How many nodes to ask for the server's commands, as redis-py does first, if some are down."""
_OF_THE_SERVER = (
    redis.ConnectionError,
    redis.TimeoutError,
    ClusterDownError,
    SlotNotCoveredError,
    redis.exceptions.NoPermissionError,
    redis.exceptions.ReadOnlyError,
)
"""Errors that say something about the server or the user, and not about the command."""


@contextmanager
def server_at(url: str, *, must_answer: bool = True) -> Iterator[Redis | RedisCluster]:
    """A client of the server, or of the cluster that it is a node of.

    An error of the server ends the command with a sentence.

    must_answer: whether a server that is down now is such an error
    """
    first = _client(url)
    client: Redis | RedisCluster = first
    try:
        try:
            client = _authenticated(first)
        except redis.RedisError as error:
            if must_answer or transient_reason(error) is None:
                raise
        yield client
    except _OF_THE_SERVER as error:
        fail(explain_server_error(error, client))
    except (redis.RedisError, RedisClusterException, DifferentSlotsError) as error:
        fail(printable(str(error), 1_000))
    finally:
        client.close()


@contextmanager
def stream_at(url: str, stream: str) -> Iterator[Redis]:
    """A client for a stream on that server, or on any node of that cluster."""
    with server_at(url) as redis, closing(stream_client(redis, stream)) as client:
        try:
            yield client
        except NoSuchStreamError:
            if count := _partitions_of(redis, stream):
                fail(
                    f"{printable(stream)} has {count} partitions, each of which is a stream: "
                    f"name one, such as '{{{printable(stream)}:0}}'. redisflow partitions "
                    f"{printable(stream)} shows them all"
                )
            raise


def _partitions_of(redis: Redis | RedisCluster, stream: str) -> int | None:
    with suppress(RedisError, PartitionCountError):  # then it is a stream that is missing
        return stored_count(redis, stream)
    return None


def with_its_cluster(client: Redis | RedisCluster) -> Redis | RedisCluster:
    """A client of the cluster that a server is a node of; `client` itself without a cluster.

    Raises redis.RedisError and RedisClusterException.
    """
    if isinstance(client, RedisCluster) or _mode(client) != "cluster":
        return client
    settings = settings_of(client.connection_pool)
    for name in ("db", "retry"):
        settings.pop(name, None)
    cluster = RedisCluster(
        ssl=issubclass(client.connection_pool.connection_class, SSLConnection),
        require_full_coverage=False,  # what is left of a broken cluster can be looked at
        retry=Retry(NoBackoff(), _OTHER_NODES),
        **settings,
    )
    cluster.set_retry(Retry(NoBackoff(), 0))
    client.close()
    return cluster


def fail(problem: str) -> NoReturn:
    """End the command with exit status 1 and this sentence."""
    typer.echo(f"redisflow: {problem}", err=True)
    raise typer.Exit(1)


def _client(url: str) -> Redis:
    try:
        client = Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
        )
    except ValueError:  # its text may contain the password
        raise typer.BadParameter(
            "this is not the URL of a server. Write redis://user@host:port/0, with special "
            "characters percent-encoded: %40 for @, %2F for /",
            param_hint="--url",
        ) from None
    if password := os.environ.get("REDISFLOW_PASSWORD"):
        client.connection_pool.connection_kwargs["password"] = password
    return client


def _authenticated(client: Redis) -> Redis | RedisCluster:
    """The same, after asking for the password if the server wants one and there is none."""
    try:
        return with_its_cluster(client)
    except redis.AuthenticationError:
        options = client.connection_pool.connection_kwargs
        if options.get("password") or not sys.stdin.isatty():
            raise
        options["password"] = typer.prompt("Password", hide_input=True, err=True)
        client.connection_pool.reset()  # its connections know no password
        return with_its_cluster(client)


def _mode(client: Redis) -> str:
    """What the server says of itself: "cluster" for a node of one. Every user may ask.

    https://redis.io/docs/latest/commands/hello/
    """
    try:
        reply: Any = client.execute_command("HELLO")
    except redis.ResponseError:  # a proxy may not know it
        return ""
    if not isinstance(reply, dict):  # RESP2 has no maps
        reply = dict(zip(reply[::2], reply[1::2], strict=True))
    return bytes(reply.get(b"mode", b"")).decode()
