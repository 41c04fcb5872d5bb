"""Error messages for a REDISFLOW_URL whose server the lab cannot use."""

from redis import Redis
from redis.exceptions import NoPermissionError

from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.server_errors import address_of, explain_server_error
from redisflow_lab.lab.server.interface import UnsupportedServerError


def explain_refusal(error: Exception, client: Redis) -> str:
    """Say why the server of `client` cannot be used and what to do; never with a password."""
    where = address_of(client)
    match error:
        case NoPermissionError():
            reply = printable(str(error)).rstrip(".")
            return (
                f"the user may not do enough on the server at {where}: {reply}. Ask an "
                "administrator for ACL SETUSER <user> ~redisflow:* +@all -@dangerous"
            )
        case UnsupportedServerError():
            return f"the server at {where} {error}"
    return explain_server_error(
        error, client, otherwise="; or unset REDISFLOW_URL to use a server of the lab's own"
    )
