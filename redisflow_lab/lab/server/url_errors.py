"""Error messages for a REDISFLOW_URL whose server the lab cannot use."""

import ssl

import redis
from redis import Redis

from redisflow_lab.lab.server.interface import UnsupportedServerError
from redisflow_lab.lab.text import printable


def explain_refusal(error: Exception, client: Redis) -> str:
    """Say why the server of `client` cannot be used and what to do; never with a password."""
    where = _address(client)
    reply = printable(str(error)).rstrip(".")
    match error:
        case redis.AuthenticationError() if not _password(client):
            return (
                f"the server at {where} requires a password. "
                "Add it to REDISFLOW_URL: redis://user:password@host:port"
            )
        case redis.AuthenticationError():
            return (
                f"the server at {where} rejects the user or the password: {reply}. "
                "Correct them in REDISFLOW_URL: redis://user:password@host:port"
            )
        case redis.exceptions.NoPermissionError():
            return (
                f"the user may not do enough on the server at {where}: {reply}. Ask an "
                "administrator for ACL SETUSER <user> ~redisflow:* +@all -@dangerous"
            )
        case redis.exceptions.ReadOnlyError():
            return (
                f"the server at {where} is a read-only replica. "
                "Name its primary in REDISFLOW_URL"
            )
        case UnsupportedServerError():
            return f"the server at {where} {error}"
        case redis.TimeoutError():
            return (
                f"the server at {where} did not answer in time. Check the address. If the "
                "server does not use TLS, write redis:// instead of rediss://"
            )
        case redis.exceptions.BusyLoadingError():
            return f"the server at {where} is still loading its data. Try again in a moment"
        case redis.ConnectionError():
            return _explain_no_connection(error, where)
        case redis.ResponseError() if reply.startswith("DENIED"):
            return (
                f"the server at {where} is in protected mode: it has no password, and so "
                "accepts connections from its own machine only. Set a password there, and add "
                "it to REDISFLOW_URL"
            )
    return f"the server at {where} cannot be used: {reply}"


def _explain_no_connection(error: redis.ConnectionError, where: str) -> str:
    reply = printable(str(error)).rstrip(".")
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"the TLS certificate of the server at {where} is not trusted: "
            f"{cause.verify_message}. Name the certificate of its authority: "
            "rediss://host:port?ssl_ca_certs=/path/to/ca.pem"
        )
    if isinstance(cause, FileNotFoundError) and ":" in where:  # a socket's path has no colon
        return (
            "REDISFLOW_URL names a file that does not exist. "
            "Check ssl_ca_certs, ssl_certfile and ssl_keyfile"
        )
    if "closed by server" in reply:
        return (
            f"the server at {where} closed the connection. "
            "If it uses TLS, write rediss:// instead of redis://"
        )
    return (
        f"no server answers at {where}: {reply}. Check the address, and that the server is "
        "running; or unset REDISFLOW_URL to use a server of the lab's own"
    )


def _password(client: Redis) -> object:
    return client.connection_pool.connection_kwargs.get("password")


def _address(client: Redis) -> str:
    options = client.connection_pool.connection_kwargs
    return str(
        options.get("path")
        or f"{options.get('host') or 'localhost'}:{options.get('port', 6379)}"
    )
