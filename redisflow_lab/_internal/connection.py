"""Configures the Redis client of the producer and the consumer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from redis import ConnectionPool, Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from redisflow_lab._internal.checks import check_client
from redisflow_lab._internal.slot import ServerClient, SlotClient, SlotOwner, SlotPool
from redisflow_lab._internal.tls import with_tls_errors
from redisflow_lab._internal.wire import ReplyParser

REPLY_MARGIN_S = 5.0
"""How long a reply may take, in seconds, beyond the time a command blocks on the server."""

# Settings that redis-py's pool adds by itself. Maintenance notifications need RESP3.
_POOL_OWNED = ("himport_registry", "maint_notifications_", "orig_")
# Those that the client of a cluster adds for its nodes.
_CLUSTER_OWNED = ("host", "port", "redis_connect_func")


def stream_client(
    redis: Redis | RedisCluster,
    stream: str,
    *,
    block_ms: int = 0,
    reply_s: float = REPLY_MARGIN_S,
) -> Redis:
    """A new client for one stream, with the address and credentials of `redis`.

    It has its own connections. If `redis` asks Sentinel for its server, so does the new client.
    If `redis` is the client of a cluster, the new client talks to the node that owns the slot
    of `stream`, and serves only keys of that slot. A client that was made here is returned as
    it is, so that several consumers share it.

    However `redis` was configured, the new client

    - never retries a command. By default redis-py tries ten times, even for writes: an XADD
      whose reply was lost is written twice, and an XREADGROUP whose reply was lost leaves
      entries pending that no consumer has received.
    - waits longer for a reply (`block_ms` + `reply_s`) than the server blocks. The default of
      5 s turns a longer BLOCK into an error, or into silent retries.
    - returns bytes, in the reply shapes of RESP2. A protobuf is not text.
    - raises `tls.TlsError` when TLS cannot work and another try would not help.

    Raises TypeError if `redis` is not a synchronous client.
    """
    given = _a_pool_of(check_client(redis))
    if isinstance(redis, Redis) and given.connection_kwargs.get("parser_class") is ReplyParser:
        return redis
    settings = settings_of(given)
    settings.update(
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
        socket_timeout=block_ms / 1_000 + reply_s,
        decode_responses=False,
        parser_class=ReplyParser,
        protocol=2,
        legacy_responses=True,
    )
    connection_class = with_tls_errors(given.connection_class)
    if isinstance(redis, RedisCluster):
        for name in _CLUSTER_OWNED:
            settings.pop(name, None)
        if redis.user_on_connect_func is not None:
            settings["redis_connect_func"] = partial(_connect, redis.user_on_connect_func)
        pool = SlotPool(SlotOwner(redis, stream), connection_class, **settings)
        client: Redis = SlotClient.from_pool(pool)
    else:
        settings["connection_class"] = connection_class
        client = ServerClient.from_pool(_pool_like(given, settings))
    # redis-py would build a dict for each entry, and lose fields whose name occurs twice.
    client.set_response_callback("XRANGE", lambda reply, **_: reply)
    return client


def settings_of(pool: ConnectionPool) -> dict[str, Any]:
    """What a pool was given, to make another one."""
    return {
        name: value
        for name, value in pool.connection_kwargs.items()
        if not name.startswith(_POOL_OWNED)
    }


def slot_client(redis: Redis | RedisCluster, stream: str) -> Redis:
    """A client for the keys in a stream's slot: `redis` itself if it is not of a cluster.

    Of a cluster it is a new one, with a connection of its own: keep it. It waits for a reply
    as long as `redis` does.
    """
    if not isinstance(redis, RedisCluster):
        return redis
    reply_s = _a_pool_of(redis).connection_kwargs.get("socket_timeout")
    return stream_client(redis, stream, reply_s=reply_s or REPLY_MARGIN_S)


def with_bytes(redis: Redis | RedisCluster) -> Redis | RedisCluster:
    """`redis` itself, or a new client of the same server if `redis` decodes replies as text.

    Names of groups and ids are read as bytes. A `slot_client` of a cluster has them anyway.
    """
    if isinstance(redis, Redis) and settings_of(redis.connection_pool).get("decode_responses"):
        return stream_client(redis, "")
    return redis


@contextmanager
def on_slot(redis: Redis | RedisCluster, stream: str) -> Iterator[Redis]:
    """A `slot_client` for the moment, which returns bytes."""
    client = slot_client(with_bytes(redis), stream)
    try:
        yield client
    finally:
        if client is not redis:
            client.close()


def _connect(then: Callable[[Any], object], connection: Any) -> None:
    """Prepare a connection, and then do what the user's `redis_connect_func` does."""
    connection.on_connect()
    then(connection)


def _a_pool_of(redis: Redis | RedisCluster) -> ConnectionPool:
    """Its pool of connections; of a cluster that of any node."""
    if isinstance(redis, RedisCluster):
        return redis.get_redis_connection(redis.get_default_node()).connection_pool
    return redis.connection_pool


def _pool_like(given: ConnectionPool, settings: dict[str, Any]) -> ConnectionPool:
    """A pool with these settings, which asks Sentinel for its server if `given` does.

    A pool with Sentinel drops its other connections when it finds a new primary.
    """
    if not isinstance(given, SentinelConnectionPool):
        return ConnectionPool(**settings)
    del settings["connection_pool"]  # `given` itself, which it has added to its settings
    return type(given)(
        given.service_name,
        given.sentinel_manager,
        is_master=given.is_master,
        check_connection=given.check_connection,
        **settings,
    )
