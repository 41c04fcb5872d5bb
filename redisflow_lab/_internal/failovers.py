"""Notices that the server of a client was replaced by its replica."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from redis import Redis, RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.sentinel import SentinelConnectionPool

from redisflow_lab._internal.slot import Address, SlotPool


class FailedOverError(RedisConnectionError):
    """Raised once by the first connection to a replica that has replaced its primary."""


class Failovers:
    """Counts how often the server of a client was replaced.

    The replica may lack the effect of a message that was handled before, so the message must
    not be acknowledged there. A failover is recognised by the address of a new connection,
    which raises FailedOverError before it sends a command; the next one is as usual.

    connect:   prepares a connection that was opened
    primaries: asks a node of a cluster, by its connection, for the addresses of all primaries.
               If the former one is still among them, the slot has moved away from it and taken
               its data along, so that is no failover
    follow:    called after each failover
    """

    def __init__(
        self,
        connect: Callable[[Any], object] | None = None,
        primaries: Callable[[Any], set[Address]] = lambda _: set(),
        follow: Callable[[], object] = lambda: None,
    ) -> None:
        self._connect, self._primaries, self._follow = connect, primaries, follow
        self._last: Address | None = None
        self.count = 0

    def __call__(self, connection: Any) -> None:
        """Prepare a connection, and look where it goes: the `redis_connect_func` of a pool."""
        if self._connect is None:
            connection.on_connect()
        else:
            self._connect(connection)
        address = (connection.host, int(connection.port))
        former, self._last = self._last, address
        if former is None or former == address or former in self._primaries(connection):
            return
        self.count += 1
        self._follow()
        raise FailedOverError("{}:{} has replaced {}:{}".format(*address, *former))


def failovers_of(redis: Redis, given: Redis | RedisCluster) -> Failovers:
    """What counts the failovers of a client from now on; one for each client.

    redis: a client from `connection.stream_client`. If it uses neither Sentinel nor a cluster,
           its server keeps its address, so no failover is noticed
    given: the client that it was made from. Behind Sentinel, its idle connections are closed
           at a failover: a handler that uses it would go on writing its effects to the former
           primary. A node of a cluster soon refuses that by itself
    """
    pool = redis.connection_pool
    prepare = pool.connection_kwargs.get("redis_connect_func")
    if isinstance(prepare, Failovers):
        return prepare
    if isinstance(pool, SlotPool):
        failovers = Failovers(prepare, pool.owner.primaries)
    elif isinstance(pool, SentinelConnectionPool) and pool.is_master:
        its_pool = cast(Redis, given).connection_pool
        failovers = Failovers(
            prepare, follow=partial(its_pool.disconnect, inuse_connections=False)
        )
    else:
        return Failovers()
    pool.connection_kwargs["redis_connect_func"] = failovers
    return failovers
