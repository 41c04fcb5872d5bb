"""The alert rules: valid, silent while all is well, and firing for what they are for."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import pytest
import yaml
from consumers import Publish
from prometheus_client import CollectorRegistry, generate_latest

from redisflow_lab.lab import Lab
from redisflow_lab.lab.process import Child
from redisflow_lab.metrics import StreamCollector

RULES = Path(__file__).parent.parent / "docs" / "prometheus"

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(
        not shutil.which("promtool"), reason="needs promtool, from Debian's package prometheus"
    ),
]


def promtool(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        ["promtool", *arguments], cwd=RULES, input=stdin, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_rules_are_valid_and_fire_for_what_they_are_for() -> None:
    assert "6 rules found" in promtool("check", "rules", "alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_the_metrics_are_named_as_prometheus_wants_them(
    lab: Lab, stream: str, publish: Publish
) -> None:
    publish("a")
    lab.redis.xgroup_create(stream, "billing", id="0")
    registry = CollectorRegistry()
    registry.register(StreamCollector(lab.redis, [stream]))
    assert promtool("check", "metrics", stdin=generate_latest(registry).decode()) == ""


def test_the_rules_ask_for_metrics_that_exist(lab: Lab, stream: str) -> None:
    named = {family.name for family in StreamCollector(lab.redis, [stream]).describe()}
    (group,) = yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    asked = " ".join(rule["expr"] for rule in group["rules"])
    words = {word.strip("()[]{}") for word in asked.replace("[", " ").replace("(", " ").split()}
    assert {word for word in words if word.startswith(("redis_", "redisflow_"))} <= named


Ask = Callable[[str], list[dict[str, str]]]


@pytest.fixture
def prometheus(own_lab: Lab, tmp_path: Path) -> Iterator[Ask]:
    """A real Prometheus with the rules, which scrapes the exporter. Answers queries."""
    exporter = subprocess.Popen(
        [sys.executable, "-m", "redisflow_lab", "exporter", "orders", "--port", "0"],
        env={"REDISFLOW_URL": own_lab.url, "PATH": "/usr/bin"},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert exporter.stdout is not None
    target = exporter.stdout.readline().split("//")[1].split("/")[0]
    rules = yaml.safe_load((RULES / "alerts.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        rule.pop("for", None)  # here, at once
    (tmp_path / "rules.yml").write_text(yaml.dump(rules))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {"job_name": "redisflow", "static_configs": [{"targets": [target]}]}
        ],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.dump(config))
    log = tmp_path / "prometheus.log"
    server = Child(
        [
            "prometheus", f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}", "--web.listen-address=127.0.0.1:0",
        ],
        cwd=tmp_path, log=log,
    )  # fmt: skip

    def address() -> str:
        told = [line for line in log.read_text().splitlines() if "Listening on" in line]
        return told[0].split("address=")[-1].strip('"') if told else ""

    def ask(query: str) -> list[dict[str, str]]:
        with urlopen(f"http://{address()}/api/v1/query?query={quote(query)}") as answer:
            found = json.load(answer)["data"]["result"]
        return [row["metric"] | {"value": row["value"][1]} for row in found]

    try:
        own_lab.wait_until(address, "Prometheus listens", timeout_s=30)
        yield ask
    finally:
        server.kill()
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
