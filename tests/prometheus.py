"""A real Prometheus for the tests, with the project's rules, and its tool."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

import pytest
import yaml

from redisflow_lab.lab.process import Child
from redisflow_lab.lab.waiting import wait_until

RULES = Path(__file__).parent.parent / "docs" / "prometheus"

needs_prometheus = pytest.mark.skipif(
    not shutil.which("promtool"), reason="needs promtool, from Debian's package prometheus"
)

Ask = Callable[[str], list[dict[str, str]]]
"""Answers a query: for each series its labels, and its `value`."""


def promtool(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        ["promtool", *arguments], cwd=RULES, input=stdin, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def scraping(folder: Path, *targets: str) -> Iterator[Ask]:
    """A Prometheus that scrapes these addresses each second, and applies the rules at once."""
    rules = yaml.safe_load((RULES / "alerts.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        rule.pop("for", None)
    # First in its group: what it has seen, the alerts of the same evaluation have seen, too.
    seen = {"record": "rules_know_scrapes_until", "expr": "min(timestamp(redisflow_up))"}
    rules["groups"][0]["rules"].insert(0, seen)
    (folder / "rules.yml").write_text(yaml.dump(rules))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {"job_name": "redisflow", "static_configs": [{"targets": [*targets]}]}
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.dump(config))
    log = folder / "prometheus.log"
    server = Child(
        [
            "prometheus", f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}", "--web.listen-address=127.0.0.1:0",
        ],
        cwd=folder, log=log,
    )  # fmt: skip

    def address() -> str:
        told = [line for line in log.read_text().splitlines() if "Listening on" in line]
        return told[0].split("address=")[-1].strip('"') if told else ""

    def ask(query: str) -> list[dict[str, str]]:
        with urlopen(f"http://{address()}/api/v1/query?query={quote(query)}") as answer:
            found = json.load(answer)["data"]["result"]
        return [row["metric"] | {"value": row["value"][1]} for row in found]

    def is_ready() -> bool:
        """Until it has opened its data, it answers queries with 503."""
        try:
            with urlopen(f"http://{address()}/-/ready"):
                return True
        except HTTPError:
            return False

    try:
        wait_until(address, "Prometheus listens", timeout_s=30)
        wait_until(is_ready, "Prometheus is ready", timeout_s=30)
        yield ask
    finally:
        server.kill()
