"""Producer and consumer on a Redis Cluster: they follow a stream wherever its slot goes."""

import re
import string
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Event as StopEvent

import pytest
import redis
from consumers import numbered, run_until_it_ends, running
from handlers import collect_into, decline
from readme import listed
from redis import RedisCluster
from redis.cluster import ClusterNode
from redis.exceptions import MovedError
from several import lab_of

from redisflow_lab import (
    Delivery,
    Message,
    MultiStreamConsumer,
    NotReplicatedError,
    RedisStreamConsumer,
    RedisStreamProducer,
    TransientError,
)
from redisflow_lab.dead_letters import DeadLetters
from redisflow_lab.idempotency import handle_once
from redisflow_lab.interfaces import Handler
from redisflow_lab.lab import Lab
from redisflow_lab.partitions import (
    PartitionedConsumer,
    PartitionedProducer,
    partition_streams,
)
from redisflow_lab.partitions.counting import count_key

pytestmark = pytest.mark.by_server


@pytest.fixture(scope="module")
def shards() -> Iterator[Lab]:
    with lab_of(cluster=3, replicas=1) as lab:
        yield lab


@pytest.fixture
def cluster(shards: Lab) -> RedisCluster:
    return shards.redis  # type: ignore[return-value]


@pytest.fixture
def stream(shards: Lab, request: pytest.FixtureRequest) -> str:
    """A stream of the test's own."""
    return f"{{{re.sub('[^a-z_]', '', request.node.name)}}}"


def messages(count: int, first: int = 0) -> list[Message]:
    return [Message("web", content) for content in numbered(first + count)[first:]]


def of_shard(shards: Lab, stream: str, number: int) -> str:
    """A name like this of a stream on node-1 or its replica node-4, on 2 or 5, on 3 or 6.

    Failovers of one shard must not follow at once: see `test_lab_cluster.a_pair`.
    """
    names = (f"{{{stream.strip('{}')}{letter}}}" for letter in string.ascii_letters)
    nodes = {f"node-{number}", f"node-{number + 3}"}
    return next(name for name in names if shards.slot_owner(name) in nodes)


def another_primary(shards: Lab, key: str) -> str:
    owners = {shards.slot_owner(slot) for slot in range(0, 16_384, 1_000)}
    return next(name for name in sorted(owners) if name != shards.slot_owner(key))


def replica_of(shards: Lab, primary: str) -> str:
    table = shards.servers()
    return str(next(iter(table[table["primary"] == primary]["node"])))


def is_copied(shards: Lab, primary: str) -> bool:
    """Whether the replica of a primary has all its data."""
    table = shards.replication()
    return [*table[table["primary"] == primary]["behind"].fillna(-1)] == [0]


@contextmanager
def losing_an_effect(
    shards: Lab, stream: str
) -> Iterator[tuple[Handler, list[int], Callable[[], None]]]:
    """A handler that cuts its primary off and then writes its effect there, at first.

    Yields it, the deliveries that it has counted, and what waits for the failover and heals.
    At the end, the effect of a later delivery must be there.
    """
    effect, deliveries = f"{stream}:effect", list[int]()
    former = shards.slot_owner(stream)

    def handle(delivery: Delivery) -> None:
        deliveries.append(delivery.deliveries)
        if len(deliveries) > 1:
            shards.redis.set(effect, "again")
            return
        shards.wait_until(lambda: is_copied(shards, former), "the delivery is copied")
        shards.partition(former)
        shards.nodes[former].connect().set(effect, "lost")

    def heal() -> None:
        shards.wait_until(lambda: shards.slot_owner(stream) != former, "it is replaced")
        shards.heal()
        shards.wait_until(redirects, "it redirects to its successor")

    def redirects() -> bool:
        try:
            shards.nodes[former].connect().get(effect)
        except redis.RedisError as error:
            return isinstance(error, MovedError)
        return False

    yield handle, deliveries, heal
    assert shards.redis.get(effect) == b"again"


def executed(shards: Lab, command: str, *, rejected: bool = False) -> int:
    """How often the nodes have executed a command, or refused to."""
    return sum(
        stats["rejected_calls" if rejected else "calls"]
        for node in shards.nodes.values()
        for name, stats in node.connect().info("commandstats").items()  # type: ignore[union-attr]
        if name == f"cmdstat_{command}"
    )


@contextmanager
def publishing(producer: RedisStreamProducer) -> Iterator[list[str]]:
    """Publish in a thread while the block runs. Yields the ids, of "0", "1", ... in order."""
    stop, ids = StopEvent(), list[str]()

    def publish() -> None:
        while not stop.is_set():
            ids.extend(producer.publish_many(messages(20, len(ids)), batch_size=4))
            ids.append(producer.publish(Message("web", str(len(ids)))))

    with ThreadPoolExecutor(1) as threads:
        run = threads.submit(publish)
        try:
            yield ids
        finally:
            stop.set()
            run.result(timeout=20)


def wait_for_more(shards: Lab, ids: list[str]) -> None:
    known = len(ids)
    shards.wait_until(lambda: len(ids) > known + 50, "more are published")


# ---------------------------------------------------------------- slots that move


def test_nothing_is_lost_or_overtaken_while_the_slot_moves(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    producer = RedisStreamProducer(cluster, stream)
    alice = RedisStreamConsumer(
        cluster, stream, "billing", "alice", block_ms=50, ack_every=7, batch=20
    )
    handled: list[str] = []
    with running(alice, handler=collect_into(handled)):
        with publishing(producer) as ids:
            for _ in range(3):
                with shards.migrating_slot(stream, to=another_primary(shards, stream)):
                    wait_for_more(shards, ids)  # by ASK
                wait_for_more(shards, ids)  # by MOVED
        shards.wait_until(lambda: len(handled) >= len(ids), "all are handled")
    assert handled == numbered(len(ids))
    assert ids == sorted(ids, key=lambda each: [*map(int, each.split("-"))])
    assert (shards.pending(stream).empty, *shards.groups(stream)["lag"]) == (True, 0)


def test_a_keyed_publish_is_written_once_while_the_slot_moves(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    """Its script needs a key that may not exist: it waits until the slot has moved."""
    producer = RedisStreamProducer(cluster, stream)
    before = producer.publish(Message("web", "a"), key="a")
    with ThreadPoolExecutor(1) as threads:
        with shards.migrating_slot(stream, to=another_primary(shards, stream)):
            assert producer.publish(Message("web", "a"), key="a") == before
            with pytest.raises(redis.ResponseError, match="rehashing of slot"):
                producer.publish(Message("web", "b"), key="b", retry_for_s=0.1)
            during = threads.submit(producer.publish, Message("web", "b"), key="b")
        written = during.result(timeout=10)
    assert producer.publish(Message("web", "b"), key="b") == written
    assert cluster.xlen(stream) == 2


@contextmanager
def naming_each_other(shards: Lab, stream: str) -> Iterator[redis.Redis]:
    """Two nodes name each other as the owner of a slot until the block ends.

    As while a slot is moved by a program that tells its former owner first. Yields a client of
    the node that is the owner then.
    """
    slot = shards.redis.keyslot(stream)  # type: ignore[attr-defined]
    names = shards.slot_owner(stream), another_primary(shards, stream)
    former, owner = (shards.nodes[name].connect() for name in names)
    former.execute_command("CLUSTER", "SETSLOT", slot, "NODE", owner.cluster("MYID"))
    try:
        yield owner
    finally:
        owner.execute_command("CLUSTER", "SETSLOT", slot, "NODE", owner.cluster("MYID"))


def test_two_nodes_that_name_each_other_for_a_moment_are_waited_for(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    with ThreadPoolExecutor(1) as threads:
        with naming_each_other(shards, stream) as owner:
            producer = RedisStreamProducer(cluster, stream)
            publish = threads.submit(producer.publish, Message("web", "a"))
            moved = executed(shards, "xadd", rejected=True)
            shards.wait_until(
                lambda: executed(shards, "xadd", rejected=True) > moved + 3,
                "they name each other",
            )
        publish.result(timeout=10)
    assert owner.xlen(stream) == 1


def test_an_effect_waits_as_long_as_two_nodes_name_each_other(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    """It uses up no delivery: its message is not to blame."""
    once = handle_once(
        lambda pipeline, _: pipeline.incr(f"{stream}:effects"), cluster, f"{stream}:done"
    )
    delivery = Delivery("1-0", Message("web", "a"), 1, lambda: True, stream=stream)
    with (
        naming_each_other(shards, stream) as owner,
        pytest.raises(TransientError, match="the cluster is moving the stream"),
    ):
        once(delivery)
    once(delivery)
    assert owner.get(f"{stream}:effects") == b"1"


def test_a_crash_leaves_its_messages_to_the_next_consumer_on_another_node(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    RedisStreamProducer(cluster, stream).publish_many(messages(5))
    crashed = shards.worker("alice", lambda _: None, stream=stream, crash="before-ack", after=2)
    shards.wait_until(lambda: crashed.ended, "alice has died")
    shards.migrate_slot(stream, to=another_primary(shards, stream))
    handled: list[str] = []
    alice = RedisStreamConsumer(cluster, stream, "billing", "alice", block_ms=50)
    with running(alice, handler=collect_into(handled)):
        shards.wait_until(lambda: len(handled) == 4, "the rest is handled")
    assert handled == ["1", "2", "3", "4"]


def test_dead_letters_move_with_their_stream(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    RedisStreamProducer(cluster, stream).publish_many(messages(2))
    alice = RedisStreamConsumer(cluster, stream, "billing", "alice", max_deliveries=1)
    alice.ensure_group()
    alice.read_new(decline)
    letters = DeadLetters(cluster, stream)
    with shards.migrating_slot(stream, to=another_primary(shards, stream)):
        assert [letter.error for letter in letters] == 2 * ["ValueError: the card was declined"]
        letters.redrive(*(letter.letter_id for letter in letters))
    assert (len(letters), cluster.xlen(stream)) == (0, 4)


# ---------------------------------------------------------------- failovers


def test_a_killed_primary_is_replaced_and_what_its_replica_has_is_handled(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    stream = of_shard(shards, stream, 1)
    producer = RedisStreamProducer(cluster, stream)
    alice = RedisStreamConsumer(cluster, stream, "billing", "alice", block_ms=50)
    handled: list[str] = []
    killed = shards.slot_owner(stream)
    with running(alice, handler=collect_into(handled)):
        for content in numbered(20):
            producer.publish(Message("web", content), key=content, wait_replicas=1)
        shards.nodes[killed].kill()
        for content in numbered(40)[20:]:
            producer.publish(Message("web", content), key=content, retry_for_s=20)
        shards.wait_until(lambda: {*numbered(40)} == {*handled}, "all are handled")
    assert shards.slot_owner(stream) != killed
    shards.nodes[killed].start()
    shards.wait_until(
        lambda: shards.servers().set_index("node").loc[killed, "role"] == "replica",
        "the killed node is a replica",
    )


def test_a_publish_that_is_not_retried_finds_the_new_primary_when_it_is_repeated(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    stream = of_shard(shards, stream, 2)
    producer = RedisStreamProducer(cluster, stream)
    producer.publish(Message("web", "a"), wait_replicas=1)
    killed = shards.slot_owner(stream)
    shards.nodes[killed].kill()

    def is_published() -> bool:
        try:
            producer.publish(Message("web", "b"))
        except redis.RedisError:
            return False
        return True

    shards.wait_until(is_published, "it is published")
    assert cluster.xlen(stream) == 2
    shards.nodes[killed].start()


def test_the_number_of_partitions_is_found_at_the_new_primary(shards: Lab) -> None:
    """By a producer that knows the former one, before its first message."""
    producer = PartitionedProducer(shards.server.connect(), "counted", partitions=2)
    killed = shards.slot_owner(count_key("counted"))
    shards.nodes[killed].kill()

    def is_published() -> bool:
        try:
            producer.publish(Message("web", "a"), partition_key="a", key="a")
        except redis.RedisError:
            return False
        return True

    try:
        shards.wait_until(is_published, "it is published", timeout_s=15)
    finally:
        shards.nodes[killed].start()


def test_a_primary_that_is_cut_off_is_left_when_it_refuses(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    """It answers, so the connection is whole: CLUSTERDOWN is what there is to see."""
    stream = of_shard(shards, stream, 3)
    producer = RedisStreamProducer(cluster, stream)
    alice = RedisStreamConsumer(cluster, stream, "billing", "alice", block_ms=50)
    handled: list[str] = []
    former = shards.slot_owner(stream)
    with running(alice, handler=collect_into(handled)):
        producer.publish(Message("web", "a"), wait_replicas=1)
        shards.wait_until(lambda: handled == ["a"], "it is handled")
        shards.partition(former)
        try:
            client = shards.nodes[former].connect()
            shards.wait_until(
                lambda: client.cluster("INFO")["cluster_state"] == "fail", "it refuses"
            )
            producer.publish(Message("web", "b"), key="b", retry_for_s=20)
            shards.wait_until(lambda: "b" in handled, "it is handled at the new primary")
        finally:
            shards.heal()
    assert shards.slot_owner(stream) != former
    shards.wait_until(
        lambda: shards.servers().set_index("node").loc[former, "role"] == "replica",
        "the former primary is a replica",
    )


def test_a_planned_failover_is_followed_without_an_error(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    stream = of_shard(shards, stream, 1)
    producer = RedisStreamProducer(cluster, stream)
    owner = shards.slot_owner(stream)
    replica = replica_of(shards, owner)
    with publishing(producer) as ids:
        wait_for_more(shards, ids)
        shards.failover(replica)
        wait_for_more(shards, ids)
    assert shards.slot_owner(stream) == replica
    assert cluster.xlen(stream) == len(ids)


@pytest.mark.parametrize(
    ("shard", "heartbeats"), [(2, 0), pytest.param(3, 2, marks=pytest.mark.slow)]
)
def test_an_effect_that_a_failover_loses_is_not_acknowledged(
    shards: Lab, cluster: RedisCluster, stream: str, shard: int, heartbeats: int
) -> None:
    """Not even by the acknowledgement that the former primary redirects to the new one.

    And not if a handler sends heartbeats, whatever they raise.
    """
    stream = of_shard(shards, stream, shard)
    alice = RedisStreamConsumer(cluster, stream, "billing", "alice", block_ms=50)
    alice.ensure_group()
    RedisStreamProducer(cluster, stream).publish(Message("web", "a"), wait_replicas=1)
    with losing_an_effect(shards, stream) as (handle, deliveries, heal):

        def handle_and_heal(delivery: Delivery) -> None:
            handle(delivery)
            heal()
            for _ in range(heartbeats):
                with suppress(redis.RedisError):
                    delivery.heartbeat()

        with pytest.raises(redis.ConnectionError, match="has replaced"):
            alice.read_new(handle_and_heal)
        alice.replay_pending(handle)
    assert deliveries == [1, 2]


@pytest.mark.slow
def test_an_effect_that_a_failover_loses_happens_again_at_once(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    """Also if the former primary had confirmed the acknowledgement as well."""
    stream = of_shard(shards, stream, 1)
    alice = RedisStreamConsumer(cluster, stream, "billing", "alice", block_ms=50)
    RedisStreamProducer(cluster, stream).publish(Message("web", "a"), wait_replicas=1)
    with (
        losing_an_effect(shards, stream) as (handle, deliveries, heal),
        running(alice, handler=handle),
    ):
        shards.wait_until(lambda: bool(deliveries), "it is delivered")
        heal()
        shards.wait_until(lambda: len(deliveries) > 1, "it is delivered again")
    assert deliveries == [1, 2]


# ---------------------------------------------------------------- replicas that confirm


def test_a_publish_waits_for_replicas_also_where_it_is_redirected(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    producer = RedisStreamProducer(cluster, stream)
    producer.publish(Message("web", "a"), wait_replicas=1)
    with shards.migrating_slot(stream, to=another_primary(shards, stream)):
        producer.publish(Message("web", "b"), wait_replicas=1)
    producer.publish(Message("web", "c"), wait_replicas=1)
    producer.publish(Message("web", "d"), key="d", wait_replicas=1)
    assert cluster.xlen(stream) == 4


def test_a_publish_says_when_too_few_replicas_have_it_and_can_be_repeated(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    producer = RedisStreamProducer(cluster, stream)
    replica = shards.nodes[replica_of(shards, shards.slot_owner(stream))]
    assert cluster.xlen(stream) == 0  # now the client knows the primary
    replica.pause()
    try:
        with pytest.raises(NotReplicatedError, match="0 of 1 replicas have confirmed") as told:
            producer.publish(Message("web", "a"), key="a", wait_replicas=1, wait_ms=50)
        with pytest.raises(NotReplicatedError):  # the repetition writes nothing, and waits too
            producer.publish(Message("web", "a"), key="a", wait_replicas=1, wait_ms=50)
        with pytest.raises(NotReplicatedError, match="It has no key, so publishing it again"):
            RedisStreamProducer(cluster, f"{stream}:unkeyed").publish(
                Message("web", "a"), wait_replicas=1, wait_ms=50
            )
    finally:
        replica.resume()
    written = producer.publish(Message("web", "a"), key="a", wait_replicas=1, wait_ms=4_000)
    assert (told.value.entry_id, told.value.replicas) == (written, 0)
    assert cluster.xlen(stream) == 1


def test_a_repetition_from_another_process_waits_for_what_the_first_one_wrote(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    """WAIT is about the last write of its connection, and the repetition adds no entry."""
    assert cluster.xlen(stream) == 0  # now the client knows the primary
    replica = shards.nodes[replica_of(shards, shards.slot_owner(stream))]
    replica.pause()
    try:
        for _ in range(3):
            producer = RedisStreamProducer(cluster, stream)  # has a connection of its own
            with pytest.raises(NotReplicatedError, match="0 of 1 replicas have confirmed"):
                producer.publish(Message("web", "a"), key="a", wait_replicas=1, wait_ms=50)
    finally:
        replica.resume()
    mark = f"{stream}:published:web:a"
    cluster.expire(mark, 100)
    producer.publish(Message("web", "a"), key="a", wait_replicas=1, wait_ms=4_000)
    assert cluster.xlen(stream) == 1
    assert cluster.ttl(mark) <= 100  # it is remembered for as long as before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"wait_replicas": -1}, "wait_replicas must be at least 1, not -1"),
        ({"wait_replicas": 1, "wait_ms": 0}, "wait_ms must be at least 1, not 0"),
        ({"wait_replicas": 1, "wait_ms": 60_000}, "wait_ms must be at most 4,000, not 60000"),
    ],
)
def test_a_wait_that_cannot_be_meant_is_refused_before_anything_is_written(
    cluster: RedisCluster, stream: str, options: dict[str, int], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        RedisStreamProducer(cluster, stream).publish(Message("web", "a"), **options)  # type: ignore[arg-type]
    assert cluster.xlen(stream) == 0


# ---------------------------------------------------------------- cost


def test_consuming_asks_for_no_keys(shards: Lab, cluster: RedisCluster, stream: str) -> None:
    """redis-py's own XREADGROUP on a cluster sends COMMAND GETKEYS before each read."""
    before = executed(shards, "command|getkeys")
    RedisStreamProducer(cluster, stream).publish_many(messages(50))
    reads = executed(shards, "xreadgroup")
    alice = RedisStreamConsumer(cluster, stream, "billing", "alice", batch=5)
    alice.ensure_group()
    while alice.read_new(lambda _: None):
        pass
    assert executed(shards, "xreadgroup") - reads > 10
    assert executed(shards, "command|getkeys") == before


# ---------------------------------------------------------------- several streams


def test_several_streams_of_one_slot_are_read_together(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    streams = [f"{stream}:orders", f"{stream}:returns"]
    for each in streams:
        RedisStreamProducer(cluster, each).publish_many(messages(3))
    alice = MultiStreamConsumer(cluster, streams, "billing", "alice", block_ms=50)
    handled: list[str] = []
    with running(alice, handler=collect_into(handled)):
        shards.wait_until(lambda: len(handled) == 6, "all are handled")
        shards.migrate_slot(streams[0], to=another_primary(shards, stream))
        RedisStreamProducer(cluster, streams[1]).publish_many(messages(1, 3))
        shards.wait_until(lambda: len(handled) == 7, "it follows both")
    assert handled == ["0", "0", "1", "1", "2", "2", "3"]


# ---------------------------------------------------------------- bad input


def test_keys_in_two_slots_are_refused(cluster: RedisCluster) -> None:
    says = r"'orders' is in \d+ and 'orders:dead' is in \d+. Give them one hash tag"
    with pytest.raises(ValueError, match=says):
        RedisStreamConsumer(cluster, "orders", "billing")
    with pytest.raises(ValueError, match=says):
        DeadLetters(cluster, "orders")
    with pytest.raises(ValueError, match=r"'orders:published:web:1001' is in"):
        RedisStreamProducer(cluster, "orders").publish(Message("web", "a"), key="1001")
    with pytest.raises(ValueError, match=r"'a' is in \d+ and 'b' is in \d+"):
        MultiStreamConsumer(cluster, ["a", "b"])
    with pytest.raises(ValueError, match=says):
        MultiStreamConsumer(cluster, ["orders"])
    assert cluster.exists("orders") == 0


def test_a_stream_without_a_hash_tag_can_be_used_where_one_key_is_enough(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    plain = stream.strip("{}")
    RedisStreamProducer(cluster, plain).publish(Message("web", "a"))
    alice = RedisStreamConsumer(
        cluster, plain, "billing", "alice", dead_stream=f"{stream}:dead", block_ms=50
    )
    handled: list[str] = []
    with running(alice, handler=collect_into(handled)):
        shards.wait_until(lambda: handled == ["a"], "it is handled")


def test_connections_are_prepared_as_those_of_the_cluster(shards: Lab, stream: str) -> None:
    real, prepared = shards.nodes.real_ports, list[int]()
    cluster = RedisCluster(
        startup_nodes=[ClusterNode("127.0.0.1", node.port) for node in shards.nodes.values()],
        address_remap=lambda address: (address[0], real.get(address[1], address[1])),
        password=shards.nodes.password,
        redis_connect_func=lambda connection: prepared.append(connection.port),
    )
    producer = RedisStreamProducer(cluster, stream)
    alice = RedisStreamConsumer(cluster, stream, "billing", "alice", block_ms=50)
    prepared.clear()
    producer.publish(Message("web", "a"))
    alice.ensure_group()
    assert prepared == [shards.nodes[shards.slot_owner(stream)].port] * 2


def test_a_client_of_one_node_is_told_to_give_the_cluster(shards: Lab, stream: str) -> None:
    one = shards.nodes[another_primary(shards, stream)].connect()
    says = r"the stream is on another node of a Redis Cluster, 127\.0\.0\.1:\d+\. Give a client"
    with pytest.raises(redis.ResponseError, match=says):
        RedisStreamProducer(one, stream).publish(Message("web", "a"))
    with pytest.raises(redis.ResponseError, match=says):
        run_until_it_ends(RedisStreamConsumer(one, stream, "billing"), lambda _: None)


@pytest.mark.slow
def test_a_password_that_was_changed_is_raised() -> None:
    with lab_of(cluster=3) as lab:
        RedisStreamProducer(lab.redis, "{orders}").publish(Message("web", "a"))
        alice = RedisStreamConsumer(lab.redis, "{orders}", "billing", "alice", block_ms=50)

        handled: list[str] = []
        clients = [node.connect() for node in lab.nodes.values()]

        def consume_while_it_is_changed() -> None:
            with running(alice, handler=collect_into(handled)):
                lab.wait_until(lambda: handled, "it reads")
                for client in clients:
                    client.config_set("requirepass", "another")
                for client in clients:
                    with suppress(redis.RedisError):
                        client.execute_command("CLIENT", "KILL", "TYPE", "normal")
                lab.wait_until(lambda: not alice.health.is_running, "it ends")

        with pytest.raises(redis.AuthenticationError):
            consume_while_it_is_changed()


@pytest.mark.slow
def test_a_slot_that_no_node_serves_is_waited_for(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    """Both nodes of a shard are down. The others go on serving their own slots."""
    stream = of_shard(shards, stream, 2)
    producer = RedisStreamProducer(cluster, stream)
    producer.publish(Message("web", "a"), wait_replicas=1)
    owner = shards.slot_owner(stream)
    down = [owner, replica_of(shards, owner)]
    handled: list[str] = []
    alice = RedisStreamConsumer(cluster, stream, "billing", "alice", block_ms=50)
    for name in reversed(down):
        shards.nodes[name].kill()
    with running(alice, handler=collect_into(handled)):
        shards.wait_until(lambda: alice.health.outage, "it waits")
        with pytest.raises(redis.RedisError):
            producer.publish(Message("web", "b"), key="b", retry_for_s=0.5)
        for name in down:
            shards.nodes[name].start()
        producer.publish(Message("web", "b"), key="b", retry_for_s=20)
        shards.wait_until(lambda: handled == ["a", "b"], "all are handled", timeout_s=20)


def test_a_node_with_another_password_is_named(
    shards: Lab, cluster: RedisCluster, stream: str
) -> None:
    owner = shards.nodes[shards.slot_owner(stream)]
    client = owner.connect()
    client.config_set("requirepass", "another")
    try:
        with pytest.raises(
            redis.AuthenticationError, match=rf"the node 127\.0\.0\.1:{owner.port} refuses"
        ):
            run_until_it_ends(RedisStreamConsumer(cluster, stream, "billing"), lambda _: None)
    finally:
        client.config_set("requirepass", shards.nodes.password)


# ---------------------------------------------------------------- partitions


def test_effects_of_partitions_are_in_their_slots_and_happen_once(
    shards: Lab, cluster: RedisCluster
) -> None:
    streams = partition_streams("effects", 6)
    assert len({shards.slot_owner(each) for each in streams}) == 3
    producer = PartitionedProducer(cluster, "effects", partitions=6)
    producer.publish_many([(str(number), Message("web", str(number))) for number in range(60)])
    member = PartitionedConsumer(
        cluster, "effects", "billing", partitions=6, member=0, of=1, block_ms=50
    )
    once = handle_once(
        lambda pipeline, delivery: pipeline.incr(f"{delivery.stream}:billed"),
        cluster,
        lambda delivery: f"{delivery.stream}:done:billing",
    )

    def billed() -> int:
        return sum(int(cluster.get(f"{each}:billed") or 0) for each in streams)

    with running(member, handler=lambda delivery: [once(delivery), once(delivery)]):
        shards.wait_until(lambda: billed() == 60, "all are billed")
        shards.migrate_slot(streams[0], to=another_primary(shards, streams[0]))
        producer.publish_many([(str(number), Message("web", "a")) for number in range(60)])
        shards.wait_until(lambda: billed() == 120, "all are billed after a slot has moved")


def test_the_permissions_that_the_readme_lists_are_enough_while_a_slot_moves(
    shards: Lab, stream: str
) -> None:
    name = stream.strip("{}")
    permissions = [
        *listed("To consume"), *listed("To publish"), *listed("To publish with a key"),
        *listed("To use partitions"), *listed("In a Redis Cluster"), "+xgroup|create",
    ]  # fmt: skip
    keys = [f"~{{{name}:*}}*", f"~{name}:partitions"]
    for node in shards.nodes.running():
        node.connect().execute_command(
            "ACL", "SETUSER", "service", "reset", "on", ">pw", *keys, *permissions
        )
    client = RedisCluster(
        host="127.0.0.1", port=shards.nodes.running()[0].port, username="service", password="pw"
    )
    web = PartitionedProducer(client, name, partitions=3)
    alice = PartitionedConsumer(
        client, name, "billing", partitions=3, member=0, of=1, block_ms=50
    )
    handled: list[str] = []
    moving = partition_streams(name, 3)[0]
    with running(alice, handler=collect_into(handled)):
        web.publish_many((content, Message("web", content)) for content in numbered(30))
        shards.wait_until(lambda: len(handled) == 30, "all are handled")
        with shards.migrating_slot(moving, to=another_primary(shards, moving)):
            web.publish_many((content, Message("web", content)) for content in numbered(30))
            shards.wait_until(lambda: len(handled) == 60, "all are handled")
        for content in numbered(10):
            web.publish(Message("web", content), partition_key=content, key=content)
        shards.wait_until(lambda: len(handled) == 70, "all are handled")
