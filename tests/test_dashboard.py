"""The dashboard for Grafana: each of its queries finds data when the things happen it shows."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from consumers import NewConsumer, numbered, running
from prometheus import RULES, Ask, needs_prometheus, scraping
from prometheus_client import CollectorRegistry, start_http_server
from several import lab_of

from redisflow_lab import Delivery, Message, RedisStreamProducer, TransientError
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until
from redisflow_lab.metrics import ClientMetrics, StreamCollector
from redisflow_lab.partitions import PartitionedProducer, partition_streams

DASHBOARD = RULES.parent / "grafana" / "streams.json"
PANELS = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if "targets" in panel]

pytestmark = [pytest.mark.once, needs_prometheus]


def test_it_is_a_dashboard_that_grafana_can_import() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == [
        "datasource", "stream", "group",
    ]  # fmt: skip
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len({*places}) == len(places)
    for panel in PANELS:
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@pytest.fixture
def metrics() -> ClientMetrics:
    return ClientMetrics()


@pytest.fixture
def prometheus(own_lab: Lab, metrics: ClientMetrics, tmp_path: Path) -> Iterator[Ask]:
    registry = CollectorRegistry()
    registry.register(metrics)
    registry.register(StreamCollector(own_lab.redis, ["orders"], partitioned=["parcels"]))
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        with scraping(tmp_path, f"127.0.0.1:{server.server_port}") as ask:
            yield ask
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def queries(*, by_shard: bool = False) -> list[tuple[str, str]]:
    """Of the panels, with Grafana's variables replaced as for the choice *All*.

    by_shard: of those that are only for a cluster, and not of the others
    """
    return [
        (
            panel["title"],
            target["expr"]
            .replace("$stream", ".*")
            .replace("$group", ".*")
            .replace("$__rate_interval", "1m"),
        )
        for panel in PANELS
        for target in panel["targets"]
        if panel["title"].endswith("by shard") is by_shard
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("process_server")
def test_every_query_finds_data(
    own_lab: Lab, consumer: NewConsumer, metrics: ClientMetrics, prometheus: Ask
) -> None:
    producer = RedisStreamProducer(own_lab.redis, "orders", on_publish=metrics.on_publish)
    calls: list[str] = []

    def handle(delivery: Delivery) -> None:
        calls.append(delivery.message.content)
        if delivery.message.content == "1":
            raise ValueError("the card was declined")
        if delivery.message.content == "2" and calls.count("2") < 3:
            raise TransientError("the database is down")

    producer.publish(Message("web", "0"))
    PartitionedProducer(own_lab.redis, "parcels", partitions=2).publish(
        Message("web", "0"), partition_key="0"
    )
    own_lab.redis.xgroup_create("{parcels:0}", "billing", mkstream=True)
    own_lab.redis.config_set("maxmemory", 10**9)
    own_lab.redis.config_rewrite()
    consumer("bob")
    own_lab.redis.xreadgroup("billing", "bob", {"orders": ">"})
    own_lab.age()
    alice = consumer(min_idle_ms=200, max_deliveries=2, ack_every=1, on_batch=metrics.on_batch)
    with running(alice, handler=handle):
        producer.publish_many([Message("web", content) for content in numbered(5)[1:]])
        own_lab.wait_until(lambda: calls.count("1") == 2, "it is dead-lettered")
        own_lab.server.kill()
        own_lab.wait_until(lambda: not alice.health.is_ready, "it notices")
        own_lab.server.start()
        own_lab.wait_until(lambda: alice.health.is_ready, "it is back")
    # The next entry stays pending, and one after it unread, so that their ages have values.
    producer.publish_many([Message("web", "5"), Message("web", "6")])
    own_lab.redis.xreadgroup("billing", "bob", {"orders": ">"}, count=1)

    def empty() -> list[tuple[str, str]]:
        # A rate needs two scrapes, and a first value that is not the only one.
        producer.publish(Message("web", "more"))
        return [(title, query) for title, query in queries() if not prometheus(query)]

    wait_until(lambda: not empty(), "each has data", timeout_s=60, details=lambda: str(empty()))
    for _, query in queries():
        for series in prometheus(query):
            assert series["value"] != "NaN" or "quantile" in query


@pytest.mark.slow
def test_the_shards_of_a_cluster_are_told_apart(tmp_path: Path) -> None:
    with lab_of(cluster=3) as lab:
        registry = CollectorRegistry()
        registry.register(StreamCollector(lab.redis, partitioned=["parcels"]))  # type: ignore[arg-type]
        producer = PartitionedProducer(lab.redis, "parcels", partitions=6)
        producer.publish_many((content, Message("web", content)) for content in numbered(60))
        for stream in partition_streams("parcels", 6):
            lab.redis.xgroup_create(stream, "billing", id="0", mkstream=True)
        server, thread = start_http_server(0, "127.0.0.1", registry)
        try:
            with scraping(tmp_path, f"127.0.0.1:{server.server_port}") as ask:
                for title, query in queries(by_shard=True):
                    wait_until(lambda query=query: len(ask(query)) == 3, title, timeout_s=20)
                    assert sum(float(series["value"]) for series in ask(query)) == 60
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
