"""Streams of a Redis Cluster are looked at, and operated, as those of one server."""

from collections.abc import Iterator

import pytest
from consumers import numbered
from redis import RedisCluster
from redis.client import Pipeline
from redis.crc import key_slot
from redis.exceptions import ResponseError

from redisflow_lab import Delivery, Message, RedisStreamProducer
from redisflow_lab._internal.connection import slot_client
from redisflow_lab.idempotency import handle_once
from redisflow_lab.inspection.groups import look_at
from redisflow_lab.inspection.missing import NoSuchStreamError
from redisflow_lab.inspection.state import Reader
from redisflow_lab.lab import Lab
from redisflow_lab.retention import trim


@pytest.fixture(scope="module")
def cluster() -> Iterator[Lab]:
    """Three primaries with a replica each, for all tests of this file."""
    lab = Lab(cluster=3, replicas=1)
    yield lab
    lab.close()


@pytest.fixture
def redis(cluster: Lab) -> RedisCluster:
    """A client of the cluster."""
    assert isinstance(cluster.redis, RedisCluster)
    return cluster.redis


@pytest.fixture
def orders(request: pytest.FixtureRequest) -> str:
    """A stream that no other test uses; its dead-letter stream is in its slot."""
    return f"{{orders-{request.node.name}}}"


def publish(redis: RedisCluster, stream: str, *contents: str) -> list[str]:
    messages = (Message("web", content) for content in contents)
    return RedisStreamProducer(redis, stream).publish_many(messages)


def a_group_that_has_read(redis: RedisCluster, stream: str, count: int) -> None:
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "alice", {stream: ">"}, count=count)


def other_slot_than(key: str) -> str:
    """A key in another slot, whose slot is on another node."""
    slot = key_slot(key.encode())
    return next(
        other
        for other in map("{{stock-{}}}".format, range(1_000))
        if abs(key_slot(other.encode()) - slot) > 16_384 // 3 + 1
    )


def test_a_stream_on_any_node_is_looked_at(redis: RedisCluster, orders: str) -> None:
    for stream in (f"{orders}:a", f"{other_slot_than(orders)}:a"):
        publish(redis, stream, *numbered(5))
        a_group_that_has_read(redis, stream, 2)
        look = look_at(redis, stream)
        assert (look.length, look.dead) == (5, 0)
        assert [(group.lag, group.pending) for group in look.groups] == [(3, 2)]
        reader = Reader(redis, stream)
        state = reader.read()
        assert len(state.entries) == 5
        assert [len(group.owned) for group in state.groups.values()] == [2]
        publish(redis, stream, "more")
        assert reader.read().length == 6
    with pytest.raises(NoSuchStreamError, match="no stream"):
        look_at(redis, f"{orders}:missing")


def test_dead_letters_in_another_slot_are_not_counted_as_none(
    redis: RedisCluster, orders: str
) -> None:
    name = orders.strip("{}")
    publish(redis, name, "a")
    assert look_at(redis, name).dead is None
    with pytest.raises(ValueError, match="Give them one hash tag"):
        Reader(redis, name)


def test_a_stream_is_trimmed_where_it_is(redis: RedisCluster, orders: str) -> None:
    publish(redis, orders, *numbered(5))
    a_group_that_has_read(redis, orders, 5)
    assert trim(redis, orders, maxlen=1).held_by == "billing"
    assert trim(redis, orders, maxlen=1, even_pending=True).removed == 4


def move_slot(cluster: Lab, key: str) -> Iterator[None]:
    """Move the slot of a key to another node: first its beginning, then its end."""
    redis = cluster.redis
    assert isinstance(redis, RedisCluster)
    slot = key_slot(key.encode())
    source = redis.get_node_from_key(key)
    assert source is not None
    target = next(node for node in redis.get_primaries() if node != source)
    clients = {node: redis.get_redis_connection(node) for node in (source, target)}
    ids = {node: client.execute_command("CLUSTER MYID") for node, client in clients.items()}
    clients[target].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
    clients[source].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
    password = clients[source].connection_pool.connection_kwargs["password"]
    yield  # the slot is on its way
    for one in clients[source].execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
        clients[source].execute_command(
            "MIGRATE", target.host, target.port, one, 0, 5_000, "AUTH", password
        )
    yield  # all keys have arrived
    for client in (clients[target], clients[source]):
        client.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target])
    yield


def test_a_look_follows_a_slot_that_moves(
    cluster: Lab, redis: RedisCluster, orders: str
) -> None:
    publish(redis, orders, "a", "b")
    a_group_that_has_read(redis, orders, 1)
    kept = slot_client(redis, orders)
    reader = Reader(redis, orders)
    for _ in move_slot(cluster, orders):
        look = look_at(kept, orders)
        assert (look.length, look.dead, look.groups[0].pending) == (2, 0, 1)
        assert reader.read().length == 2
    assert look_at(kept, orders).length == 2


def test_an_effect_happens_once_also_where_its_slot_moves(
    cluster: Lab, redis: RedisCluster, orders: str
) -> None:
    def sell(pipeline: Pipeline, delivery: Delivery) -> None:
        pipeline.incr(f"{orders}:sold")

    def delivery(number: int) -> Delivery:
        return Delivery(f"{number}-0", Message("web", "1 x Dune"), 1, lambda: True)

    handle = handle_once(sell, redis, f"{orders}:done:billing")
    handle(delivery(1))
    handle(delivery(1))
    assert int(redis.get(f"{orders}:sold") or 0) == 1
    *_, _ = move_slot(cluster, orders)
    handle(delivery(1))
    handle(delivery(2))
    assert int(redis.get(f"{orders}:sold") or 0) == 2


def test_an_effect_in_another_slot_than_its_mark_is_refused(
    redis: RedisCluster, orders: str
) -> None:
    def sell(pipeline: Pipeline, delivery: Delivery) -> None:
        pipeline.incr(other)

    with pytest.raises(ValueError, match="scope must have a hash tag in a cluster"):
        handle_once(sell, redis, "done:billing")
    handle = handle_once(sell, redis, f"{orders}:done:billing")
    for other in (other_slot_than(orders), "{same node or not}"):
        with pytest.raises(ResponseError, match="in different slots of the cluster"):
            handle(Delivery("1-0", Message("web", "1 x Dune"), 1, lambda: True))
        assert redis.get(other) is None
