"""Why a server that somebody named will not do, in words for people."""

import ssl

import redis
from redis import Redis

from redisflow_lab.lab.server.interface import UnfitServerError


def explained(error: Exception, client: Redis) -> str:
    """What was wrong with the server of this client, and what to do. Names no password."""
    where = _where(client)
    said = str(error).rstrip(".")
    match error:
        case redis.AuthenticationError() if not _password(client):
            return (
                f"the server at {where} asks for a password. "
                "Write it into REDISFLOW_URL: redis://user:password@host:port"
            )
        case redis.AuthenticationError():
            return (
                f"the server at {where} refuses the user or password: {said}. "
                "Write them into REDISFLOW_URL: redis://user:password@host:port"
            )
        case redis.exceptions.NoPermissionError():
            return (
                f"the server at {where} allows this user too little: {said}. The lab needs "
                "ACL SETUSER <user> ~redisflow:* +@all -@dangerous"
            )
        case redis.exceptions.ReadOnlyError():
            return (
                f"the server at {where} is a replica and takes no writes. "
                "Name its primary in REDISFLOW_URL"
            )
        case UnfitServerError():
            return f"the server at {where} {error}"
        case redis.TimeoutError():
            return (
                f"no answer from {where} in time. Is the address right? A server without TLS "
                "is silent to rediss://, so write redis:// for one"
            )
        case redis.exceptions.BusyLoadingError():
            return f"the server at {where} is still loading its data. Try again in a moment"
        case redis.ConnectionError():
            return _unreachable(error, where)
        case redis.ResponseError() if said.startswith("DENIED"):
            return (
                f"the server at {where} is in protected mode: without a password it answers "
                "only its own machine. Give it one, and write it into REDISFLOW_URL"
            )
    return f"the server at {where} cannot be used: {said}"


def _unreachable(error: redis.ConnectionError, where: str) -> str:
    said = str(error).rstrip(".")
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"the TLS certificate of the server at {where} is not trusted: "
            f"{cause.verify_message}. Name who signed it: "
            "rediss://host:port?ssl_ca_certs=/path/to/ca.pem"
        )
    if isinstance(cause, FileNotFoundError) and ":" in where:  # not the socket itself
        return (
            "a file that REDISFLOW_URL names is not there. Look at ssl_ca_certs, "
            "ssl_certfile and ssl_keyfile in it"
        )
    if "closed by server" in said:
        return (
            f"the server at {where} hangs up. "
            "If it wants TLS, write rediss:// instead of redis://"
        )
    return (
        f"no server answers at {where}: {said}. Is the address right, and does it run? "
        "Unset REDISFLOW_URL to get a server of your own"
    )


def _password(client: Redis) -> object:
    return client.connection_pool.connection_kwargs.get("password")


def _where(client: Redis) -> str:
    address = client.connection_pool.connection_kwargs
    return str(
        address.get("path")
        or f"{address.get('host') or 'localhost'}:{address.get('port', 6379)}"
    )
