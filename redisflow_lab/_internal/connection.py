"""The client configuration that the producer and the consumer use."""

from typing import Any

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from redisflow_lab._internal.checks import check_client
from redisflow_lab._internal.tls import with_tls_errors
from redisflow_lab._internal.wire import ReplyParser

REPLY_MARGIN_S = 5.0
"""How long a reply may take, beyond the time a command blocks on the server; seconds."""

# Settings that redis-py's pool has added for itself. Maintenance notifications need RESP3.
_POOL_OWNED = ("himport_registry", "maint_notifications_", "orig_")


def stream_client(redis: Redis, *, block_ms: int = 0) -> Redis:
    """A new client with the address and credentials of `redis`, and its own connections.

    A client that asks Sentinel for its server yields one that does so too.

    However `redis` was configured, the new client

    - never retries a command. redis-py tries ten times by default, writes too: an XADD
      whose reply was lost is written twice, and an XREADGROUP whose reply was lost leaves
      entries pending that nobody saw.
    - waits longer for a reply (`block_ms` + 5 s) than the server blocks. The default of
      5 s turns a longer BLOCK into an error, or into silent retries.
    - returns bytes, in the reply shapes of RESP2. A protobuf is not text.
    - raises `tls.TlsError` when TLS cannot work, whatever the time.

    Raises TypeError if `redis` is not a synchronous client of one server.
    """
    given = check_client(redis).connection_pool
    settings: dict[str, Any] = {
        name: value
        for name, value in given.connection_kwargs.items()
        if not name.startswith(_POOL_OWNED)
    }
    settings.update(
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
        socket_timeout=block_ms / 1_000 + REPLY_MARGIN_S,
        decode_responses=False,
        parser_class=ReplyParser,
        protocol=2,
        legacy_responses=True,
    )
    settings["connection_class"] = with_tls_errors(given.connection_class)
    client = Redis.from_pool(_pool_like(given, settings))
    # redis-py would build a dict for every entry, in which a field that is there twice is lost.
    client.set_response_callback("XRANGE", lambda reply, **_: reply)
    return client


def _pool_like(given: ConnectionPool, settings: dict[str, Any]) -> ConnectionPool:
    """A pool with these settings; one that asks Sentinel for its server if `given` does.

    Such a pool drops its other connections when it finds a new primary.
    """
    if not isinstance(given, SentinelConnectionPool):
        return ConnectionPool(**settings)
    del settings["connection_pool"]  # that of `given`, which it has added for itself
    return type(given)(
        given.service_name,
        given.sentinel_manager,
        is_master=given.is_master,
        check_connection=given.check_connection,
        **settings,
    )
