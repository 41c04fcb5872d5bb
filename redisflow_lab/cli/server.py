"""The server that a command works on: its address, the password, and errors in a sentence."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import redis
import typer
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from redisflow_lab._internal.backoff import transient_reason
from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.server_errors import explain_server_error

Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="REDISFLOW_URL",
        help="The server: redis://user@host:port/0, or rediss:// for TLS. The password is read "
        "from REDISFLOW_PASSWORD, or asked for.",
    ),
]
HERE = "redis://localhost:6379/0"
"""The server of a command that is not told another one."""

_TIMEOUT_S = 5.0
_OF_THE_SERVER = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.NoPermissionError,
    redis.exceptions.ReadOnlyError,
)
"""Errors that say something about the server or the user, and not about the command."""


@contextmanager
def server_at(url: str, *, must_answer: bool = True) -> Iterator[Redis]:
    """A client of the server. An error of the server ends the command with a sentence.

    must_answer: whether a server that is down now is such an error
    """
    client = _client(url)
    try:
        try:
            _authenticate(client)
        except redis.RedisError as error:
            if must_answer or transient_reason(error) is None:
                raise
        yield client
    except _OF_THE_SERVER as error:
        fail(explain_server_error(error, client))
    except redis.RedisError as error:
        fail(printable(str(error), 1_000))
    finally:
        client.close()


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


def _authenticate(client: Redis) -> None:
    """Ask for the password if the server wants one and there is none."""
    try:
        client.ping()
    except redis.exceptions.NoPermissionError:
        pass  # this user may do other things
    except redis.AuthenticationError:
        options = client.connection_pool.connection_kwargs
        if options.get("password") or not sys.stdin.isatty():
            raise
        options["password"] = typer.prompt("Password", hide_input=True, err=True)
        client.connection_pool.reset()  # its connections know no password
        client.ping()
