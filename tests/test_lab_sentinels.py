"""A lab with replicas and Sentinels: a primary that is killed or cut off is replaced."""

from collections.abc import Iterator

import pytest
from consumers import running
from redis.client import Pipeline
from redis.exceptions import RedisError
from several import lab_of, put_in_order, role

from redisflow_lab import Delivery, Message, RedisStreamConsumer, RedisStreamProducer
from redisflow_lab.idempotency import handle_once
from redisflow_lab.lab import Lab
from redisflow_lab.lab.server import ServerError

pytestmark = pytest.mark.by_server


@pytest.fixture(scope="module")
def sentinel_lab() -> Iterator[Lab]:
    with lab_of(replicas=1, sentinels=3) as lab:
        yield lab


@pytest.fixture(autouse=True)
def in_order(sentinel_lab: Lab) -> Iterator[None]:
    yield
    put_in_order(sentinel_lab)


def the_other(lab: Lab) -> tuple[str, str]:
    """The primary, and the other server."""
    primary = lab.server.primary.name  # type: ignore[attr-defined]
    return primary, "node-1" if primary == "node-2" else "node-2"


def primary_of(lab: Lab) -> str:
    return the_other(lab)[0]


def test_everything_of_a_lab_works_on_a_primary(sentinel_lab: Lab) -> None:
    RedisStreamProducer(sentinel_lab.redis, "orders").publish(Message("web", "1 x Dune"))
    sentinel_lab.record()
    sentinel_lab.worker("alice", print).wait_for("acked", 1)
    (group,) = sentinel_lab.groups()["group"]
    assert group == "billing"
    assert len(sentinel_lab.recording().events)
    sentinel_lab.kill_workers()


def test_a_killed_primary_is_replaced_and_a_worker_goes_on(sentinel_lab: Lab) -> None:
    old, new = the_other(sentinel_lab)
    worker = sentinel_lab.worker("bob", print, stream="killed")
    producer = RedisStreamProducer(sentinel_lab.redis, "killed")
    producer.publish(Message("web", "before"))
    worker.wait_for("acked", 1)
    sentinel_lab.nodes[old].kill()
    sentinel_lab.wait_until(lambda: primary_of(sentinel_lab) == new, "it is replaced")
    producer.publish(Message("web", "after"))
    worker.wait_for("acked", 2)
    worker.kill()
    assert sentinel_lab.url == sentinel_lab.nodes[new].url
    sentinel_lab.nodes[old].start()
    sentinel_lab.wait_until(lambda: role(sentinel_lab, old) == "replica", "it follows")


@pytest.mark.slow
def test_a_planned_failover_makes_the_named_replica_the_primary(sentinel_lab: Lab) -> None:
    old, new = the_other(sentinel_lab)
    sentinel_lab.redis.set("kept", 1)
    sentinel_lab.repair()  # until the replica has it
    assert sentinel_lab.failover(new) == new
    assert sentinel_lab.nodes[new].connect().get("kept") == b"1"
    sentinel_lab.wait_until(lambda: role(sentinel_lab, old) == "replica", "it follows")


@pytest.mark.slow
def test_a_replica_that_was_a_primary_before_its_death_can_be_one_again(
    sentinel_lab: Lab,
) -> None:
    """Sentinels that know it as a primary only would demote it right after its promotion."""
    old, new = the_other(sentinel_lab)
    sentinel_lab.nodes[old].kill()
    sentinel_lab.wait_until(lambda: primary_of(sentinel_lab) == new, "it is replaced")
    sentinel_lab.repair()
    assert sentinel_lab.failover(old) == old


@pytest.mark.slow
def test_a_repaired_lab_has_a_replica_that_is_in_step(sentinel_lab: Lab) -> None:
    old, new = the_other(sentinel_lab)
    sentinel_lab.partition(old)
    sentinel_lab.nodes[old].connect().set("lost", 1)
    sentinel_lab.wait_until(lambda: primary_of(sentinel_lab) == new, "it is replaced")
    sentinel_lab.nodes["sentinel-3"].pause()
    sentinel_lab.repair()
    assert role(sentinel_lab, old) == "replica"
    assert not sentinel_lab.nodes[old].connect().exists("lost")
    assert sentinel_lab.nodes["sentinel-3"].status == "running"


@pytest.mark.slow
def test_what_a_primary_that_is_cut_off_accepts_is_lost(sentinel_lab: Lab) -> None:
    old, new = the_other(sentinel_lab)
    cut_off = sentinel_lab.nodes[old]
    sentinel_lab.partition(old)
    cut_off.connect().set("lost", 1)
    sentinel_lab.wait_until(lambda: primary_of(sentinel_lab) == new, "it is replaced")
    assert role(sentinel_lab, old) == role(sentinel_lab, new) == "primary"
    sentinel_lab.heal()
    sentinel_lab.wait_until(lambda: role(sentinel_lab, old) == "replica", "it follows")
    sentinel_lab.wait_until(lambda: [*sentinel_lab.replication()["link"]] == ["up"], "synced")
    assert cut_off.connect().get("lost") is None


@pytest.mark.slow
def test_an_effect_that_a_failover_loses_happens_again(sentinel_lab: Lab) -> None:
    """It was written to the former primary, so its message must not be acknowledged."""
    former, new = the_other(sentinel_lab)
    deliveries: list[int] = []

    def handle(delivery: Delivery) -> None:
        deliveries.append(delivery.deliveries)
        if len(deliveries) > 1:
            sentinel_lab.redis.set("effect", "again")
            return
        sentinel_lab.wait_until(
            lambda: [*sentinel_lab.replication()["behind"]] == [0], "the delivery is copied"
        )
        sentinel_lab.partition(former)
        sentinel_lab.nodes[former].connect().set("effect", "lost")
        sentinel_lab.wait_until(lambda: primary_of(sentinel_lab) == new, "it is replaced")
        sentinel_lab.heal()
        sentinel_lab.wait_until(lambda: role(sentinel_lab, former) == "replica", "it follows")

    alice = RedisStreamConsumer(sentinel_lab.redis, "effects", "billing", "alice", block_ms=50)
    RedisStreamProducer(sentinel_lab.redis, "effects").publish(
        Message("web", "a"), wait_replicas=1
    )
    with running(alice, handler=handle):
        sentinel_lab.wait_until(lambda: len(deliveries) > 1, "it is delivered again")
    assert deliveries == [1, 2]
    assert sentinel_lab.nodes[new].connect().get("effect") == b"again"


@pytest.mark.slow
def test_an_effect_follows_the_consumer_to_the_new_primary(sentinel_lab: Lab) -> None:
    """Its connection to the former one is open, and that one accepts writes."""
    former, new = the_other(sentinel_lab)
    deliveries: list[int] = []

    def write(pipeline: Pipeline, _: Delivery) -> None:
        pipeline.set("followed", 1)

    once = handle_once(write, sentinel_lab.redis, "followed:done:billing")

    def handle(delivery: Delivery) -> None:
        if not deliveries:
            sentinel_lab.wait_until(
                lambda: [*sentinel_lab.replication()["behind"]] == [0], "the delivery is copied"
            )
            sentinel_lab.partition(former)
        once(delivery)
        deliveries.append(delivery.deliveries)
        if len(deliveries) > 1:
            return
        sentinel_lab.wait_until(lambda: primary_of(sentinel_lab) == new, "it is replaced")
        node = sentinel_lab.nodes[former].connect()
        for client in node.client_list():
            if client["cmd"] != "exec":  # the consumer's, as a firewall may close them
                node.client_kill_filter(_id=client["id"], skipme=True)

    alice = RedisStreamConsumer(sentinel_lab.redis, "streams", "billing", "alice", block_ms=50)
    RedisStreamProducer(sentinel_lab.redis, "streams").publish(
        Message("web", "a"), wait_replicas=1
    )
    with running(alice, handler=handle):
        sentinel_lab.wait_until(lambda: len(deliveries) > 1, "it is delivered again")
        assert sentinel_lab.nodes[new].connect().get("followed") == b"1"


def test_a_replica_that_is_cut_off_falls_behind(sentinel_lab: Lab) -> None:
    old, new = the_other(sentinel_lab)
    sentinel_lab.partition(new)
    sentinel_lab.redis.set("late", "x" * 100)
    sentinel_lab.wait_until(
        lambda: [*sentinel_lab.replication()["link"]] == ["down"], "the replica notices"
    )
    (row,) = sentinel_lab.replication().to_dict("records")
    assert (row["replica"], row["primary"]) == (new, old)
    assert row["behind"] > 100
    assert sentinel_lab.nodes[new].connect().get("late") is None


def test_a_paused_node_keeps_its_data_and_says_nothing(sentinel_lab: Lab) -> None:
    _, replica = the_other(sentinel_lab)
    node = sentinel_lab.nodes[replica]
    node.pause()
    assert role(sentinel_lab, replica) == node.status == "paused"
    sentinel_lab.redis.set("meanwhile", 1)
    node.resume()
    sentinel_lab.wait_until(lambda: node.connect().get("meanwhile") == b"1", "it catches up")


def test_the_tables_show_the_same_at_each_run(sentinel_lab: Lab) -> None:
    old, new = the_other(sentinel_lab)
    servers = sentinel_lab.servers().set_index("node")
    assert [*servers.loc[[old, new], "role"]] == ["primary", "replica"]
    assert servers.loc[new, "primary"] == old
    assert [*servers.loc["sentinel-1"]] == ["sentinel", "", 0]
    assert sentinel_lab.replication().to_dict("records") == [
        {"replica": new, "primary": old, "link": "up", "behind": 0}
    ]


def test_what_cannot_be_a_primary_is_named(sentinel_lab: Lab) -> None:
    old, new = the_other(sentinel_lab)
    with pytest.raises(ServerError, match=r"sentinel-1 is a Sentinel.*name a replica"):
        sentinel_lab.failover("sentinel-1")
    with pytest.raises(ServerError, match=f"{old} is the primary already: name a replica"):
        sentinel_lab.failover(old)
    sentinel_lab.nodes[new].kill()
    sentinel_lab.nodes[new].kill()
    with pytest.raises(ServerError, match=rf"{new} is down: call lab.nodes\['{new}'\].start"):
        sentinel_lab.failover(new)
    with pytest.raises(ServerError, match=f"no replica is running that could replace {old}"):
        sentinel_lab.failover()
    with pytest.raises(ServerError, match=f"{new} is not running: call start"):
        sentinel_lab.nodes[new].pause()
    with pytest.raises(ServerError, match="is no cluster, and has no slots"):
        sentinel_lab.migrate_slot("orders", to=new)


@pytest.mark.slow
def test_without_sentinels_a_person_fails_over() -> None:
    with lab_of(replicas=2) as lab:
        lab.redis.set("a", 1)
        assert lab.failover("node-3") == "node-3"
        assert lab.url == lab.nodes["node-3"].url
        put_in_order(lab)
        assert [*lab.replication()["primary"]] == ["node-3", "node-3"]
        with pytest.raises(RedisError, match="read only"):  # it is a client of node-1
            lab.redis.set("a", 2)
        lab.nodes["node-3"].kill()
        with pytest.raises(ServerError, match="no server is a primary now"):
            _ = lab.url
