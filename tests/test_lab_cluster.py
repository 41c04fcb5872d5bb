"""A lab with a Redis Cluster: it replaces primaries, and slots move between them."""

import time
from collections.abc import Iterator

import pytest
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError
from several import key_on, lab_of, put_in_order, role, slot_of

from redisflow_lab import Message
from redisflow_lab.lab import Lab
from redisflow_lab.lab.server import ServerError
from redisflow_lab.partitions import PartitionedProducer

_READY_S = 5.0

pytestmark = pytest.mark.by_server


@pytest.fixture(scope="module")
def cluster() -> Iterator[Lab]:
    begun = time.monotonic()
    with lab_of(cluster=3, replicas=1) as lab:
        assert time.monotonic() - begun < _READY_S
        yield lab


@pytest.fixture(autouse=True)
def in_order(cluster: Lab) -> Iterator[None]:
    yield
    put_in_order(cluster)


def a_pair(lab: Lab, number: int = 1) -> tuple[str, str]:
    """The primary and the replica among node-1 and node-4, node-2 and node-5, ...

    Tests with a failover take one each: on Redis 7.0, a replica that is elected a second time
    within four node timeouts may win with the votes of the first time, and an old epoch. Then
    the others do not believe it.
    """
    pair = f"node-{number}", f"node-{number + 3}"
    return pair if role(lab, pair[0]) == "primary" else (pair[1], pair[0])


def test_keys_are_on_all_primaries_and_the_client_finds_them(cluster: Lab) -> None:
    keys = [f"key:{number}" for number in range(20)]
    for key in keys:
        cluster.redis.set(key, key)
    assert [cluster.redis.get(key) for key in keys] == [key.encode() for key in keys]
    assert {cluster.slot_owner(key) for key in keys} == {*cluster.replication()["primary"]}
    slots = [row["slots"] for row in cluster.servers().to_dict("records") if row["slots"]]
    assert len(slots) == 3
    assert cluster.url in [node.url for node in cluster.nodes.values()]


def test_a_killed_primary_is_replaced_by_its_replica(cluster: Lab) -> None:
    primary, replica = a_pair(cluster)
    key = key_on(cluster, primary)
    cluster.redis.set(key, "kept")
    cluster.wait_until(
        lambda: {*cluster.replication()["behind"].fillna(-1)} == {0}, "it is copied"
    )
    cluster.nodes[primary].kill()
    cluster.wait_until(
        lambda: cluster.slot_owner(key) == replica,
        "it is replaced",
    )

    def answers() -> bool:
        try:
            return bool(cluster.redis.get(key) == b"kept")
        except RedisError:
            return False

    cluster.wait_until(answers, "the client finds it")


def test_a_planned_failover_returns_when_all_nodes_know(cluster: Lab) -> None:
    primary, replica = a_pair(cluster, 2)
    assert cluster.failover(replica) == replica
    assert role(cluster, replica) == "primary"
    assert role(cluster, primary) == "replica"


@pytest.mark.slow
def test_a_repaired_lab_has_its_first_primaries_again(cluster: Lab) -> None:
    primary, replica = a_pair(cluster)
    other, _ = a_pair(cluster, 2)
    cluster.failover(replica)
    cluster.nodes[primary].kill()
    cluster.partition(other)
    cluster.repair()
    table = cluster.servers()
    first = table[table["node"].isin(["node-1", "node-2", "node-3"])]
    assert {*first["role"]} == {"primary"}
    assert {*table["serves"]} == {"yes"}
    assert [*cluster.replication()["behind"]] == [0, 0, 0]


def test_partitions_are_shown_on_their_nodes(cluster: Lab) -> None:
    producer = PartitionedProducer(cluster.redis, "shown", partitions=3)
    producer.publish(Message("web", "1 x Dune"), partition_key="a")
    table, picture = cluster.partitions("shown"), cluster.draw_partitions("shown")
    assert [*table["node"]] == [cluster.slot_owner(each) for each in table["partition"]]
    assert sum(table["lag"]) == 1
    for name in {*cluster.replication()["primary"]}:
        assert f"{name}: {{shown:" in picture.alt or f"{name}: none" in picture.alt


def test_a_minority_writes_until_it_notices_and_is_replaced(cluster: Lab) -> None:
    primary, replica = a_pair(cluster, 3)
    key = key_on(cluster, primary)
    minority = cluster.nodes[primary].connect()
    cluster.partition(primary)
    minority.set(key, "lost")

    def refuses() -> bool:
        try:
            minority.set(key, "lost")
        except ClusterDownError:
            return True
        return False

    cluster.wait_until(refuses, "the minority refuses writes")
    cluster.wait_until(
        lambda: cluster.slot_owner(key) == replica,
        "it is replaced",
    )
    servers = cluster.servers().set_index("node")
    assert [*servers.loc[[primary, replica], "serves"]] == ["no", "yes"]
    cluster.heal()
    cluster.wait_until(lambda: role(cluster, primary) == "replica", "it follows")
    put_in_order(cluster)
    assert cluster.redis.get(key) != b"lost"


def test_a_slot_moves_with_its_keys(cluster: Lab) -> None:
    primary, _ = a_pair(cluster)
    key = key_on(cluster, primary)
    to = next(name for name in {*cluster.replication()["primary"]} if name != primary)
    tags = [f"{{{key}}}:{number}" for number in range(250)]
    for tag in tags:
        cluster.redis.set(tag, tag)
    with cluster.migrating_slot(key, to=to):
        assert cluster.slot_owner(key) == primary
        with pytest.raises(AskError, match=str(slot_of(key))):
            cluster.nodes[primary].connect().get(tags[0])
        with pytest.raises(MovedError):
            cluster.nodes[to].connect().get(tags[0])
        assert cluster.redis.get(tags[0]) == tags[0].encode()
    assert cluster.slot_owner(slot_of(key)) == to
    with pytest.raises(MovedError, match=str(slot_of(key))):
        cluster.nodes[primary].connect().get(tags[0])
    assert [cluster.redis.get(tag) for tag in tags] == [tag.encode() for tag in tags]
    with pytest.raises(ServerError, match=f"slot {slot_of(key)} is on {to} already"):
        cluster.migrate_slot(key, to=to)
    cluster.migrate_slot(key, to=primary)
    assert cluster.nodes[primary].connect().get(tags[-1]) == tags[-1].encode()


def test_what_cannot_be_done_is_named(cluster: Lab) -> None:
    primary, replica = a_pair(cluster)
    key = key_on(cluster, primary)
    with pytest.raises(ServerError, match=f"{replica} is a replica, and serves no slots"):
        cluster.migrate_slot(key, to=replica)
    with pytest.raises(ServerError, match=r"no node 'node-9'. The lab has node-1, node-2"):
        cluster.migrate_slot(key, to="node-9")
    with pytest.raises(ValueError, match="there is no slot 16384: a cluster has slots 0 to"):
        cluster.migrate_slot(16_384, to=primary)
    with pytest.raises(TypeError, match=r"1\.5 is neither a key nor the number of a slot"):
        cluster.migrate_slot(1.5, to=primary)  # type: ignore[arg-type]
    with pytest.raises(ServerError, match=f"{primary} is a primary already: name a replica"):
        cluster.failover(primary)
    with pytest.raises(ServerError, match="no node 'node-9'"):
        cluster.partition("node-9")
    cluster.partition(replica)
    with pytest.raises(ServerError, match=rf"{replica} is cut off.*call lab.heal\(\) before"):
        cluster.failover(replica)
