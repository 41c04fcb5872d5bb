"""The alert rules: valid, silent while all is well, and firing for what they are for."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from consumers import Publish
from prometheus import RULES, Ask, needs_prometheus, promtool, scraping
from prometheus_client import CollectorRegistry, generate_latest

from redisflow_lab.lab import Lab
from redisflow_lab.metrics import ClientMetrics, StreamCollector

pytestmark = [pytest.mark.once, needs_prometheus]


def test_the_rules_are_valid_and_fire_for_what_they_are_for() -> None:
    assert "9 rules found" in promtool("check", "rules", "alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_the_metrics_are_named_as_prometheus_wants_them(
    lab: Lab, stream: str, publish: Publish
) -> None:
    publish("a")
    lab.redis.xgroup_create(stream, "billing", id="0")
    registry = CollectorRegistry()
    registry.register(StreamCollector(lab.redis, [stream], partitioned=[stream]))
    registry.register(ClientMetrics())
    assert promtool("check", "metrics", stdin=generate_latest(registry).decode()) == ""


def test_the_rules_ask_for_metrics_that_exist(lab: Lab, stream: str) -> None:
    families = [*StreamCollector(lab.redis, [stream]).describe(), *ClientMetrics().describe()]
    named = {family.name for family in families}
    (group,) = yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    asked = " ".join(rule["expr"] for rule in group["rules"])
    for mark in "()[]{},":
        asked = asked.replace(mark, " ")
    asked_for = {
        word.removesuffix("_count")
        for word in asked.split()
        if word.startswith(("redis_", "redisflow_", "messaging_"))
    }
    assert asked_for - _labels() <= named


def _labels() -> set[str]:
    return {"messaging_destination_name", "messaging_consumer_group_name"}


@pytest.fixture
def prometheus(own_lab: Lab, tmp_path: Path) -> Iterator[Ask]:
    """A real Prometheus that scrapes the exporter."""
    exporter = subprocess.Popen(
        [sys.executable, "-m", "redisflow_lab", "exporter", "orders", "--port", "0"],
        env={"REDISFLOW_URL": own_lab.url, "PATH": "/usr/bin"},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert exporter.stdout is not None
    target = exporter.stdout.readline().split("//")[1].split("/")[0]
    try:
        with scraping(tmp_path, target) as ask:
            yield ask
    finally:
        exporter.kill()
        exporter.wait()


@pytest.mark.slow
@pytest.mark.usefixtures("process_server")
def test_a_real_prometheus_is_silent_until_something_breaks(
    own_lab: Lab, publish: Publish, prometheus: Ask
) -> None:
    def firing() -> set[str]:
        return {alert["alertname"] for alert in prometheus('ALERTS{alertstate="firing"}')}

    publish("a", "b", "c")
    worker = own_lab.worker("alice", print)
    worker.wait_for("acked", 3)
    own_lab.wait_until(
        lambda: prometheus("redis_stream_group_entries_read == 3"), "it is scraped",
        timeout_s=30,
    )  # fmt: skip
    assert firing() == set()
    worker.stop()
    publish("d")
    own_lab.worker("alice", print, crash="before-ack").wait_end()
    own_lab.age()
    own_lab.wait_until(lambda: "StreamEntriesStranded" in firing(), "it fires", timeout_s=30)
    own_lab.redis.xtrim("orders", maxlen=0, approximate=False)
    publish("e")
    own_lab.server.kill()
    own_lab.wait_until(lambda: "StreamServerUnreachable" in firing(), "it fires", timeout_s=30)
