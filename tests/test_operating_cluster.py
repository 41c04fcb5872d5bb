"""Streams of a Redis Cluster are looked at, and operated, as those of one server."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from commands import Redisflow, redisflow_at
from consumers import numbered, running
from handlers import decline
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from redis import RedisCluster
from redis.client import Pipeline
from redis.crc import key_slot
from redis.exceptions import ResponseError
from several import lab_of, put_in_order

from redisflow_lab import Delivery, Message, RedisStreamConsumer, RedisStreamProducer
from redisflow_lab._internal.connection import slot_client
from redisflow_lab.idempotency import handle_once
from redisflow_lab.inspection.groups import status_of
from redisflow_lab.inspection.missing import NoSuchStreamError
from redisflow_lab.inspection.state import Reader
from redisflow_lab.lab import Lab
from redisflow_lab.metrics import ClientMetrics, StreamCollector
from redisflow_lab.partitions import (
    PartitionedConsumer,
    PartitionedProducer,
    Partitions,
    partition_streams,
)
from redisflow_lab.retention import trim

pytestmark = pytest.mark.by_server


@pytest.fixture(scope="module")
def cluster() -> Iterator[Lab]:
    """Three primaries with a replica each, for all tests of this file."""
    with lab_of(cluster=3, replicas=1) as lab:
        yield lab


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


def same_node_as(key: str) -> str:
    """A key in another slot, whose slot is on the same node."""
    slot = key_slot(key.encode())
    return next(
        other
        for other in map("{{same-{}}}".format, range(100_000))
        if 0 < abs(key_slot(other.encode()) - slot) < 20
        and 3 * key_slot(other.encode()) // 16_384 == 3 * slot // 16_384
    )


def test_a_stream_on_any_node_is_looked_at(redis: RedisCluster, orders: str) -> None:
    for stream in (f"{orders}:a", f"{other_slot_than(orders)}:a"):
        publish(redis, stream, *numbered(5))
        a_group_that_has_read(redis, stream, 2)
        status = status_of(redis, stream)
        assert (status.length, status.dead) == (5, 0)
        assert [(group.lag, group.pending) for group in status.groups] == [(3, 2)]
        reader = Reader(redis, stream)
        state = reader.read()
        assert len(state.entries) == 5
        assert [len(group.owned) for group in state.groups.values()] == [2]
        publish(redis, stream, "more")
        assert reader.read().length == 6
    with pytest.raises(NoSuchStreamError, match="no stream"):
        status_of(redis, f"{orders}:missing")


def test_dead_letters_in_another_slot_are_not_counted_as_none(
    redis: RedisCluster, orders: str
) -> None:
    name = orders.strip("{}")
    publish(redis, name, "a")
    assert status_of(redis, name).dead is None
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
        status = status_of(kept, orders)
        assert (status.length, status.dead, status.groups[0].pending) == (2, 0, 1)
        assert reader.read().length == 2
    assert status_of(kept, orders).length == 2


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
        calls.append(other)
        pipeline.incr(other)

    calls: list[str] = []
    with pytest.raises(ValueError, match="scope must have a hash tag in a cluster"):
        handle_once(sell, redis, "done:billing")
    handle = handle_once(sell, redis, f"{orders}:done:billing")
    for other in (other_slot_than(orders), same_node_as(orders)):
        calls.clear()
        with pytest.raises(ResponseError, match="in different slots of the cluster"):
            handle(Delivery("1-0", Message("web", "1 x Dune"), 1, lambda: True))
        assert (redis.get(other), calls) == (None, [other])


@pytest.fixture
def redisflow(cluster: Lab, tmp_path: Path) -> Redisflow:
    """Runs the command with the address of one node."""
    return redisflow_at(cluster.nodes["node-1"].url, tmp_path)


@pytest.mark.slow
def test_every_command_works_for_a_stream_on_any_node(
    cluster: Lab, redis: RedisCluster, orders: str, redisflow: Redisflow
) -> None:
    replica = cluster.nodes["node-5"].url
    on_first = 3 * key_slot(orders.encode()) < 16_384
    stream = f"{other_slot_than(orders)}:all" if on_first else orders
    for content in ("1 x Dune", "1 x Emma"):
        arguments = ("--producer", "web", "--content", content, "--key", content)
        redisflow("publish", stream, *arguments, "--json")
    consumer = RedisStreamConsumer(
        redis, stream, "billing", "alice", batch=1, max_deliveries=1, block_ms=20
    )
    consumer.ensure_group()
    consumer.read_new(decline)
    redis.xreadgroup("billing", "bob", {stream: ">"})
    found = redisflow("inspect", stream, "--json", url=replica).json
    assert (found["length"], found["groups"][0]["pending"]) == (2, 1)
    assert found["last"]["content"] == "1 x Emma"
    assert found["shard"] in {f"127.0.0.1:{port}" for port in cluster.nodes.announced.values()}
    (row,) = redisflow("streams", "--match", stream, "--seconds", 0, "--json").json
    assert (row["shard"], row["length"]) == (found["shard"], 2)
    assert f"on {found['shard']}" in redisflow("inspect", stream).out
    entries = redisflow("entries", stream, "--newest", "--json", url=replica).json
    assert [entry["content"] for entry in entries] == ["1 x Emma", "1 x Dune"]
    (pending,) = redisflow("pending", stream, "billing", "--json").json
    assert pending["consumer"] == "bob"
    (watched,) = redisflow("watch", stream, "--count", 1, "--json").json["streams"]
    assert (watched["problem"], watched["dead"], watched["length"]) == (None, 1, 2)
    (letter,) = redisflow("dead-letters", "list", stream, "--json").json
    redrive = ("dead-letters", "redrive", stream, letter["letter_id"], "--yes", "--json")
    assert redisflow(*redrive).json[0]["problem"] is None
    prune = ("consumers", "prune", stream, "billing", "--idle", "0", "--yes", "--json")
    assert redisflow(*prune).json == [{"consumer": "alice", "removed": True}]
    trimmed = redisflow("trim", stream, "--maxlen", 0, "--yes", "--json").json
    assert (trimmed["removed"], trimmed["held_by"]) == (1, "billing")
    delete = ("groups", "delete", stream, "billing", "--yes", "--json")
    assert redisflow(*delete).json["deleted"]
    assert redis.xinfo_groups(stream) == []


def test_keys_in_two_slots_are_a_sentence(
    redis: RedisCluster, orders: str, redisflow: Redisflow
) -> None:
    name = orders.strip("{}")
    publish(redis, name, "a")
    written = ("--producer", "web", "--content", "a", "--key", "1")
    for command in (("dead-letters", "list", name), ("publish", name, *written)):
        done = redisflow(*command)
        assert done.status == 1
        assert "Give them one hash tag" in done.sentence
        assert "Traceback" not in done.err
    assert redisflow("inspect", name, "--json").json["length"] == 1
    (watched,) = redisflow("watch", name, "--count", 1, "--json").json["streams"]
    assert (watched["length"], watched["dead"]) == (1, None)


@pytest.mark.slow
def test_a_slot_that_no_node_has_is_a_sentence(
    cluster: Lab, redis: RedisCluster, orders: str, redisflow: Redisflow
) -> None:
    publish(redis, f"{other_slot_than(orders)}:served", "a")
    slot = key_slot(orders.encode())
    owner = redis.get_node_from_key(orders)
    assert owner is not None
    # The owner first: as long as it has the slot, it tells the others.
    nodes = sorted(cluster.nodes.running(), key=lambda node: node.port != owner.port)
    clients = [node.connect() for node in nodes]

    def states() -> set[str]:
        return {client.cluster("INFO")["cluster_state"] for client in clients}

    def set_full_coverage(value: str) -> None:
        for client in clients:
            client.config_set("cluster-require-full-coverage", value)

    set_full_coverage("yes")
    for client in clients:
        client.execute_command("CLUSTER DELSLOTS", slot)
    try:
        cluster.wait_until(lambda: states() == {"fail"}, "no node serves any slot")
        done = redisflow("streams", "--seconds", 0)
        assert (done.status, "The cluster is down" in done.sentence) == (1, True), done.err
        set_full_coverage("no")
        cluster.wait_until(lambda: states() == {"ok"}, "the other slots are served")
        for command in ("inspect", "entries"):
            done = redisflow(command, orders)
            assert (done.status, "or a part of it" in done.sentence) == (1, True), done.err
    finally:
        set_full_coverage("no")
        redis.get_redis_connection(owner).execute_command("CLUSTER ADDSLOTS", slot)
    cluster.wait_until(
        lambda: (
            states() == {"ok"}
            and all(
                client.cluster("INFO")["cluster_slots_assigned"] == "16384"
                for client in clients
            )
        ),
        "each node knows it again",
    )


def test_a_node_that_refuses_the_password_is_named(
    cluster: Lab, redis: RedisCluster, orders: str, redisflow: Redisflow
) -> None:
    publish(redis, orders, "a")
    owner = redis.get_redis_connection(redis.get_node_from_key(orders))
    mine = owner.connection_pool.connection_kwargs["password"]
    other = next(
        node for name, node in cluster.nodes.items()
        if name <= "node-3" and node.port != owner.connection_pool.connection_kwargs["port"]
    )  # fmt: skip
    owner.config_set("requirepass", "another")
    try:
        done = redisflow("inspect", orders, url=other.url)
    finally:
        owner.config_set("requirepass", mine)
    assert done.status == 1
    assert "a node of the cluster" in done.sentence
    assert "rejects the user or the password: the node 127.0.0.1:" in done.sentence
    assert mine not in done.err


@pytest.mark.slow
def test_the_permissions_that_the_page_names_are_enough_in_a_cluster(
    cluster: Lab, redis: RedisCluster, orders: str, redisflow: Redisflow
) -> None:
    publish(redis, orders, "a")
    a_group_that_has_read(redis, orders, 1)
    page = (Path(__file__).parent.parent / "docs" / "cli.md").read_text()
    (permissions,) = re.findall(r"\*\*Permissions\.\*\* (.*)", page)
    for node in cluster.nodes.running():
        allowed = re.findall(r"\+\S+[a-z]", permissions)
        node.connect().execute_command(
            "ACL", "SETUSER", "ops", "reset", "on", ">pw", "~{orders*", *allowed
        )
    url = f"redis://ops:pw@127.0.0.1:{cluster.nodes['node-1'].port}/0"
    for command in (
        ("streams", "--seconds", 0), ("inspect", orders), ("entries", orders),
        ("pending", orders, "billing"), ("watch", orders, "--count", 1),
        ("dead-letters", "list", orders), ("trim", orders, "--maxlen", 1, "--yes"),
    ):  # fmt: skip
        done = redisflow(*command, url=url)
        assert done.status == 0, (command, done.err)


Samples = dict[tuple[str, str, str], float]


def samples(text: str) -> Samples:
    """By the name of the metric, the stream and the group: the values of a scrape."""
    return {
        (sample.name, sample.labels.get("stream", ""), sample.labels.get("group", "")): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def active(found: Samples) -> dict[str, float]:
    """By stream: whether a member reads it."""
    name = "redis_stream_group_active_member"
    return {stream: value for (metric, stream, _), value in found.items() if metric == name}


def test_a_partition_whose_member_stops_is_reported_and_nothing_is_lost(
    cluster: Lab, redis: RedisCluster, redisflow: Redisflow
) -> None:
    partitions = 6
    producer = PartitionedProducer(redis, "orders", partitions=partitions)
    registry, client = CollectorRegistry(), ClientMetrics()
    registry.register(StreamCollector(redis, partitioned=["orders"]))
    handled: list[str] = []

    def handle(delivery: Delivery) -> None:
        handled.append(delivery.message.content)

    def member(number: int) -> PartitionedConsumer:
        return PartitionedConsumer(
            redis, "orders", "billing", partitions=partitions, member=number, of=2,
            block_ms=20, on_batch=client.on_batch,
        )  # fmt: skip

    def scrape() -> Samples:
        return samples(generate_latest(registry).decode())

    def send(contents: list[str]) -> None:
        producer.publish_many((content, Message("web", content)) for content in contents)

    streams = [f"{{orders:{number}}}" for number in range(partitions)]
    with running(member(0), handler=handle):
        with running(member(1), handler=handle):
            send(numbered(60))
            cluster.wait_until(lambda: len(handled) == 60, "all are handled")
            assert active(scrape()) == dict.fromkeys(streams, 1)
            done = redisflow("partitions", "orders", "--json")
            assert (done.status, done.err) == (0, "")
            assert [row["owner"] for row in done.json] == ["member 0 of 2", "member 1 of 2"] * 3
            shards = {row["stream"]: row["shard"] for row in done.json}
            assert len({*shards.values()}) == 3
        send(numbered(120)[60:])
        assert active(scrape()) == dict(zip(streams, [1, 0] * 3, strict=True))
        done = redisflow("partitions", "orders", "billing", "--json")
        assert done.status == 3
        assert "no active member for 3 of 6 partitions: 1, 3 and 5" in done.sentence
        assert "start member 1 of 2" in done.sentence
        assert all(row["lag"] for row in done.json if row["partition"] % 2)
        with exporting(cluster.nodes["node-2"].url, "orders") as scrape_exporter:
            exported = scrape_exporter()
        assert active(exported) == active(scrape())
        assert exported["redisflow_up", "", ""] == 1
        with running(member(1), handler=handle):
            cluster.wait_until(lambda: len(handled) == 120, "the others are handled")
            cluster.wait_until(lambda: all(active(scrape()).values()), "each has a member")
    assert sorted(handled) == sorted(numbered(120))
    counts = [
        sample.value for family in client.collect() for sample in family.samples
        if sample.name == "redisflow_client_acked_messages_total"
    ]  # fmt: skip
    assert sum(counts) == 120


@contextmanager
def exporting(url: str, *streams: str) -> Iterator[Callable[[], Samples]]:
    """An exporter; yields what scrapes it."""
    exporter = subprocess.Popen(
        [sys.executable, "-m", "redisflow_lab", "exporter", *streams, "--port", "0"],
        env={**os.environ, "REDISFLOW_URL": url}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert exporter.stdout is not None
        address = exporter.stdout.readline().split()[-1]

        def scrape() -> Samples:
            with urlopen(address, timeout=10) as page:
                return samples(page.read().decode())

        yield scrape
    finally:
        exporter.kill()
        exporter.wait()


def test_a_scrape_of_a_cluster_says_where_each_stream_is(
    redis: RedisCluster, orders: str, redisflow: Redisflow
) -> None:
    other = f"{other_slot_than(orders)}:scraped"
    for stream in (orders, other):
        publish(redis, stream, "a")
    registry = CollectorRegistry()
    registry.register(StreamCollector(redis, [orders, other]))
    limited = redis.get_primaries()[1]
    client = redis.get_redis_connection(limited)
    client.config_set("maxmemory", 10**9)
    try:
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for family in registry.collect()
            for sample in family.samples
        }
        said = redisflow("streams", "--match", orders, "--seconds", 0).out
    finally:
        client.config_set("maxmemory", 0)
    assert re.findall(r"The node 127.0.0.1:\d+ uses \d+% of its maxmemory", said)
    assert said.count("maxmemory") == 1
    limits = {name: value for name, value in found.items() if "max_bytes" in name[0]}
    assert limits == {("redis_memory_max_bytes", limited.name): 10**9}
    for stream in (orders, other):
        assert found["redis_stream_length", "db0", stream] == 1
        shard = redis.get_node_from_key(stream)
        assert shard is not None
        assert found["redis_stream_shard_info", "db0", stream, shard.name] == 1
    for node in redis.get_primaries():
        assert found["redisflow_server_info", node.name] == 1
        assert found["redis_memory_used_bytes", node.name] > 100_000
    assert found["redisflow_up",] == 1


@pytest.mark.slow
def test_a_node_that_is_down_hides_only_what_it_has(
    cluster: Lab, redis: RedisCluster, redisflow: Redisflow
) -> None:
    streams = [f"{{parcels:{number}}}" for number in range(6)]
    producer = PartitionedProducer(redis, "parcels", partitions=6)
    producer.publish_many((content, Message("web", content)) for content in numbered(60))
    registry = CollectorRegistry()
    registry.register(StreamCollector(redis, partitioned=["parcels"]))

    def lengths() -> dict[str, float]:
        found = samples(generate_latest(registry).decode())
        return {
            stream: value for (name, stream, _), value in found.items()
            if name == "redis_stream_length"
        } | {"up": found["redisflow_up", "", ""]}  # fmt: skip

    before = lengths()
    assert len(before) == 7
    shard = redis.get_node_from_key("{parcels:0}")
    assert shard is not None
    name = next(name for name, node in cluster.nodes.items() if node.port == shard.port)
    table = cluster.servers()
    replica = next(iter(table[table["primary"] == name]["node"]))
    cluster.repair()  # so that the replica has it all
    cluster.nodes[replica].kill()  # or it would take over in the middle of this
    cluster.nodes[name].kill()
    try:
        down = lengths()
        assert down.pop("up") == 0
        assert 0 < len(down) < 6
        url = next(node.url for each, node in cluster.nodes.items() if node.running)
        done = redisflow("partitions", "parcels", "--json", url=url)
        assert (done.status, "cannot be asked: a node of" in done.sentence) == (1, True)
        listed = redisflow(
            "streams", "--match", "{parcels:*", "--json", "--seconds", 0, url=url
        )
        assert {row["stream"] for row in listed.json} == {*down}
        assert (listed.status, "there may be more streams" in listed.sentence) == (1, True)
        watch = ("watch", *streams, "--count", 1, "--json")
        watched = {row["stream"]: row for row in redisflow(*watch, url=url).json["streams"]}
        assert {stream for stream, row in watched.items() if not row["problem"]} == {*down}
        assert len([row for row in done.json if row["problem"]]) == 6 - len(down)
        cluster.nodes[replica].start()
        cluster.wait_until(lambda: lengths() == before, "its replica has taken over")
        assert redisflow("partitions", "parcels", url=url).status == 0
        with exporting(cluster.nodes[name].url, "parcels") as scrape_exporter:
            assert scrape_exporter()["redisflow_up", "", ""] == 0
            cluster.nodes[name].start()
            # It is a node of a cluster, as it turns out.
            up = ("redisflow_up", "", "")
            cluster.wait_until(lambda: scrape_exporter()[up] == 1, "it serves again")
            found = scrape_exporter()
        assert {stream for metric, stream, _ in found if metric == "redis_stream_length"} == {
            *streams
        }
    finally:
        put_in_order(cluster)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["kill", "pause"])
def test_the_first_node_of_a_cluster_hides_only_what_it_has(
    cluster: Lab, redis: RedisCluster, redisflow: Redisflow, way: str
) -> None:
    """Also if it has the number of the partitions, once that was read."""
    cluster.repair()  # node-1 has the first slots
    names = [f"shop-{number}-{way}" for number in range(20)]
    nodes = [cluster.slot_owner(f"{name}:partitions") for name in names]
    counted, other = names[nodes.index("node-1")], names[nodes.index("node-2")]
    for name in (counted, other):
        PartitionedProducer(redis, name, partitions=12).publish_many(
            (content, Message("web", content)) for content in numbered(60)
        )
    impatient = RedisCluster.from_url(cluster.url, socket_timeout=0.5)
    both = [Partitions(impatient, name) for name in (counted, other)]
    for each in both:
        assert not any(partition.problem for partition in each.status())
    down = {
        name: [
            each for each in partition_streams(name, 12) if cluster.slot_owner(each) == "node-1"
        ]
        for name in (counted, other)
    }
    table = cluster.servers()
    cluster.repair()
    cluster.nodes[next(iter(table[table["primary"] == "node-1"]["node"]))].kill()
    getattr(cluster.nodes["node-1"], way)()
    try:
        for each in both:
            problems = {found.stream: found.problem for found in each.status() if found.problem}
            assert sorted(problems) == sorted(down[each.stream])
            assert len({*map(id, problems.values())}) == 1  # it was asked once
        if way == "pause":  # each command waits for five seconds then
            return
        done = redisflow("partitions", other, "--json", url=cluster.nodes["node-2"].url)
        assert [row["stream"] for row in done.json if row["problem"]] == down[other]
        assert "cannot be asked: a node of" in done.sentence
        done = redisflow("partitions", counted, url=cluster.nodes["node-2"].url)
        assert "a node of the cluster of" in done.sentence
    finally:
        put_in_order(cluster)
