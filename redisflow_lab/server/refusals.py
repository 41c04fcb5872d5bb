"""Why a server that somebody named will not do, in words for people."""

import ssl

import redis
from redis import Redis

from redisflow_lab.server.interface import UnfitServerError


def explained(error: Exception, client: Redis) -> str:
    """What was wrong with the server of this client, and what to do. Names no password."""
    where = _where(client)
    said = str(error).rstrip(".")
    match error:
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
    if "closed by server" in said:
        return (
            f"the server at {where} hangs up. "
            "If it wants TLS, write rediss:// instead of redis://"
        )
    return (
        f"no server answers at {where}: {said}. "
        "Start it, or unset REDISFLOW_URL to get a server of your own"
    )


def _where(client: Redis) -> str:
    address = client.connection_pool.connection_kwargs
    return str(
        address.get("path")
        or f"{address.get('host') or 'localhost'}:{address.get('port', 6379)}"
    )
