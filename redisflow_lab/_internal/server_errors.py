"""Error messages for a server, or a cluster, that cannot be used."""

import redis
from redis import Redis, RedisCluster
from redis.connection import SSLConnection

from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.tls import TlsProblem, refuses_certificate, tls_problem


def explain_server_error(
    error: Exception, client: Redis | RedisCluster, *, otherwise: str = ""
) -> str:
    """Say why the server of `client` cannot be used and what to do; never with a password.

    otherwise: what else one can do if no server answers
    """
    if isinstance(client, RedisCluster):
        node = client.get_redis_connection(client.get_default_node())
        return _of_a_node(error, address_of(node)) or explain_server_error(error, node)
    where = address_of(client)
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
                f"the user may not do this on the server at {where}: {reply}. Ask an "
                "administrator to allow it"
            )
        case redis.exceptions.ReadOnlyError():
            return (
                f"the server at {where} is a read-only replica. "
                "Name its primary in REDISFLOW_URL"
            )
        case redis.TimeoutError():
            return (
                f"the server at {where} did not answer in time. Check the address. If the "
                "server does not use TLS, write redis:// instead of rediss://"
            )
        case redis.exceptions.BusyLoadingError():
            return f"the server at {where} is still loading its data. Try again in a moment"
        case redis.ConnectionError():
            return _explain_no_connection(error, client, where, otherwise)
        case redis.ResponseError() if reply.startswith("DENIED"):
            return (
                f"the server at {where} is in protected mode: it has no password, and so "
                "accepts connections from its own machine only. Set a password there, and add "
                "it to REDISFLOW_URL"
            )
    return f"the server at {where} cannot be used: {reply}"


def _of_a_node(error: Exception, where: str) -> str | None:
    """Of a cluster, of which `where` is a node; None if it is as with a single server."""
    reply = printable(str(error)).rstrip(".")
    match error:
        case redis.exceptions.ClusterDownError() | redis.exceptions.SlotNotCoveredError():
            return (
                f"the cluster of {where} is down, or a part of it: {reply}. redis-cli cluster "
                "nodes shows which primary is missing: start it, or let its replica take over"
            )
        case redis.AuthenticationError():
            return (
                f"a node of the cluster of {where} rejects the user or the password: {reply}. "
                "Set the same users and passwords on all nodes"
            )
        case redis.exceptions.BusyLoadingError():
            return f"a node of the cluster of {where} is still loading its data. Try again"
        case redis.ConnectionError() | redis.TimeoutError() if not refuses_certificate(error):
            return (
                f"a node of the cluster of {where} does not answer: {reply}. Start it, or "
                "try again when its replica has taken over"
            )
    return None


def _explain_no_connection(
    error: redis.ConnectionError, client: Redis, where: str, otherwise: str
) -> str:
    reply = printable(str(error)).rstrip(".")
    cause = error.__cause__ or error.__context__
    match tls_problem(cause) if _uses_tls(client) else None:
        case TlsProblem.UNTRUSTED:
            why = getattr(cause, "verify_message", cause)
            return (
                f"the TLS certificate of the server at {where} is not trusted: {why}. "
                "Name the certificate of its authority: "
                "rediss://host:port?ssl_ca_certs=/path/to/ca.pem"
            )
        case TlsProblem.FILE:
            return (
                "REDISFLOW_URL names a file that does not exist, or that you may not read. "
                "Check ssl_ca_certs, ssl_certfile and ssl_keyfile"
            )
        case TlsProblem.NO_TLS:
            return (
                f"the server at {where} does not speak TLS. "
                "Write redis:// instead of rediss:// in REDISFLOW_URL"
            )
        case TlsProblem.REFUSED:
            return (
                f"TLS with the server at {where} cannot start: {cause}. "
                "Check the options of REDISFLOW_URL that begin with ssl_"
            )
    if refuses_certificate(error):
        return (
            f"the server at {where} wants a certificate of its client: {reply}. Name yours: "
            "rediss://host:port?ssl_certfile=/path/to/cert.pem&ssl_keyfile=/path/to/key.pem"
        )
    if "closed by server" in reply:
        return (
            f"the server at {where} closed the connection. It may be down behind a proxy, as "
            "in a container: check that it is running. If it uses TLS, write rediss:// instead "
            "of redis://"
        )
    return (
        f"no server answers at {where}: {reply}. Check the address, and that the server is "
        f"running{otherwise}"
    )


def _uses_tls(client: Redis) -> bool:
    return issubclass(client.connection_pool.connection_class, SSLConnection)


def _password(client: Redis) -> object:
    return client.connection_pool.connection_kwargs.get("password")


def address_of(client: Redis) -> str:
    """Host and port, or the path of the socket."""
    options = client.connection_pool.connection_kwargs
    return str(
        options.get("path")
        or f"{options.get('host') or 'localhost'}:{options.get('port', 6379)}"
    )
