"""Carries a function of the notebook, with what it uses, into another process."""

import io
import sys
from collections.abc import Callable
from types import NoneType
from typing import Any

import cloudpickle
from google.protobuf.message import Message as ProtobufMessage
from redis import ConnectionPool, Redis, RedisCluster
from redis.cluster import ClusterNode
from redis.sentinel import Sentinel, SentinelConnectionPool

from redisflow_lab.lab.schema.compiling import take_apart


def pack_call(function: Callable[..., object], *arguments: Any, culprit: str) -> bytes:
    """The function and its arguments as bytes, for `pickle.load` in another process.

    culprit: what the learner wrote, as the error names it: "the handler ...", for example

    Raises TypeError if something cannot be copied.
    """
    packed = io.BytesIO()
    try:
        _Pickler(packed).dump((function, arguments))
    except Exception as error:
        raise TypeError(
            f"{culprit} cannot be copied into another process: {error}. "
            "Use only functions, plain values, protobuf messages and Redis clients in it"
        ) from error
    return packed.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles functions with what they use.

    A Redis client is pickled as its configuration, and a protobuf class as its schema.
    The `retry` of a client is left out, so that its copy in the process does not retry.
    """

    def reducer_override(self, value: Any) -> Any:
        if type(value) is RedisCluster:
            nodes = value.nodes_manager
            return _reconnect_to_cluster, (
                [(node.host, node.port) for node in value.get_nodes()],
                nodes.address_remap,
                _plain(nodes.connection_kwargs),
            )
        if isinstance(value, Redis):
            pool = value.connection_pool
            settings = _plain(pool.connection_kwargs)
            if isinstance(pool, SentinelConnectionPool):
                return _reconnect_by_sentinel, (
                    pool.service_name, pool.sentinel_manager, pool.is_master, settings,
                )  # fmt: skip
            return _reconnect, (pool.connection_class, settings)
        if (
            isinstance(value, type)
            and issubclass(value, ProtobufMessage)
            and not _is_importable(value)
        ):
            return take_apart(value)
        return super().reducer_override(value)


def _is_importable(value: type) -> bool:
    module = sys.modules.get(value.__module__)
    return getattr(module, value.__name__, None) is value


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a connection that can be copied."""
    plain = (str, int, float, bool, NoneType)
    return {
        name: setting
        for name, setting in settings.items()
        if isinstance(setting, plain) and not name.startswith("orig_")
    }


def _reconnect(connection_class: type, settings: dict[str, Any]) -> Redis:
    return Redis.from_pool(ConnectionPool(connection_class=connection_class, **settings))


def _reconnect_by_sentinel(
    service: str, sentinels: Sentinel, is_master: bool, settings: dict[str, Any]
) -> Redis:
    return Redis.from_pool(
        SentinelConnectionPool(service, sentinels, is_master=is_master, **settings)
    )


def _reconnect_to_cluster(
    nodes: list[tuple[str, int]], address_remap: Any, settings: dict[str, Any]
) -> RedisCluster:
    return RedisCluster(
        startup_nodes=[ClusterNode(*node) for node in nodes],
        address_remap=address_remap,
        require_full_coverage=False,
        **settings,
    )
