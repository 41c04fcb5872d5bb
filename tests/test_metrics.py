"""Metrics are what the server says, and what is not known has no sample."""

import os
import signal
import subprocess
import sys
from urllib.request import urlopen

import pytest
from consumers import Publish, numbered
from network import address_of
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from redisflow_lab.lab import Lab
from redisflow_lab.metrics import StreamCollector

Samples = dict[tuple[str, str], float]


def samples(text: str) -> Samples:
    """By the name of the metric and the group: the values of a scrape."""
    return {
        (sample.name, sample.labels.get("group", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(lab: Lab, *streams: str) -> Samples:
    registry = CollectorRegistry()
    registry.register(StreamCollector(lab.redis, streams))
    return samples(generate_latest(registry).decode())


def of_streams(found: Samples) -> Samples:
    """Without what is said of the server."""
    servers = ("redisflow_server_info", "redis_memory_used_bytes", "redis_memory_max_bytes")
    return {name: value for name, value in found.items() if name[0] not in servers}


def test_they_equal_what_the_server_says(lab: Lab, stream: str, publish: Publish) -> None:
    publish(*numbered(7))
    for group in ("billing", "shipping"):
        lab.redis.xgroup_create(stream, group, id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=5)
    lab.redis.xack(stream, "billing", *lab.pending(stream)["entry_id"][:3])
    found = scrape(lab, stream)
    assert 0 <= found.pop(("redis_stream_oldest_entry_seconds", "")) < 60
    # A user of a shared server may not be told.
    assert found.pop(("redis_memory_used_bytes", ""), 100_001) > 100_000
    for name in ("lag_seconds", "oldest_pending_seconds", "oldest_pending_idle_seconds"):
        assert 0 <= found.pop((f"redis_stream_group_{name}", "billing")) < 60
        assert 0 <= found.pop((f"redis_stream_group_{name}", "shipping")) < 60
    assert found == {
        ("redisflow_up", ""): 1,
        ("redisflow_server_info", ""): 1,
        ("redis_stream_length", ""): 7,
        ("redis_stream_entries_added_total", ""): 7,
        ("redis_stream_groups", ""): 2,
        ("redis_stream_dead_letters", ""): 0,
        ("redis_stream_group_consumers", "billing"): 1,
        ("redis_stream_group_consumers", "shipping"): 0,
        ("redis_stream_group_messages_pending", "billing"): 2,
        ("redis_stream_group_messages_pending", "shipping"): 0,
        ("redis_stream_group_entries_read", "billing"): 5,
        ("redis_stream_group_lag", "billing"): 2,
        ("redis_stream_group_lag", "shipping"): 7,
    }


def test_what_is_not_known_has_no_sample(lab: Lab, stream: str) -> None:
    for number in range(1, 7):
        lab.redis.xadd(stream, {"data": b""}, id=f"{number}-0")
    lab.redis.xgroup_create(stream, "billing", id="3-0")
    lab.redis.xdel(stream, "5-0")
    found = scrape(lab, stream)
    assert ("redis_stream_group_lag", "billing") not in found
    assert ("redis_stream_group_lag_seconds", "billing") not in found  # chosen ids
    assert ("redis_stream_group_entries_read", "billing") not in found
    assert found["redis_stream_group_messages_pending", "billing"] == 0


def test_a_stream_that_is_not_there_has_none_and_a_wrong_key_is_no_success(
    lab: Lab, stream: str
) -> None:
    assert of_streams(scrape(lab, stream)) == {("redisflow_up", ""): 1}
    lab.redis.rpush(stream, "a list")
    assert of_streams(scrape(lab, stream)) == {("redisflow_up", ""): 0}


def test_a_server_that_is_down_is_said_and_comes_back(own_lab: Lab, publish: Publish) -> None:
    publish("a")
    registry = CollectorRegistry()
    own_lab.server.kill()
    registry.register(StreamCollector(own_lab.redis, ["orders"]))  # asks no server
    assert samples(generate_latest(registry).decode()) == {
        ("redisflow_up", ""): 0,
        ("redisflow_server_info", ""): 1,
    }
    own_lab.server.start()
    assert samples(generate_latest(registry).decode())["redis_stream_length", ""] == 1


def test_a_thousand_restarts_make_no_new_series(
    lab: Lab, stream: str, publish: Publish
) -> None:
    publish("a")
    lab.redis.xgroup_create(stream, "billing", id="0")
    before = {*scrape(lab, stream)}
    for number in range(1_000):
        lab.redis.xgroup_createconsumer(stream, "billing", f"consumer-{number}")
    found = scrape(lab, stream)
    assert {*found} == before
    assert found["redis_stream_group_consumers", "billing"] == 1_000


def test_a_single_name_is_refused(lab: Lab) -> None:
    with pytest.raises(TypeError, match=r"write \['orders'\]"):
        StreamCollector(lab.redis, "orders")


def test_the_exporter_serves_them_on_loopback_until_sigterm(
    lab: Lab, stream: str, publish: Publish
) -> None:
    publish("a", "b")
    command = [sys.executable, "-m", "redisflow_lab", "exporter", stream, "--port"]
    environment = {**os.environ, "REDISFLOW_URL": lab.url}
    exporter = subprocess.Popen(
        [*command, "0"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert exporter.stdout is not None
        address = exporter.stdout.readline().split()[-1]
        assert address.startswith("http://127.0.0.1:")
        with urlopen(address, timeout=10) as page:
            assert samples(page.read().decode())["redis_stream_length", ""] == 2
        port = address.split(":")[-1].split("/")[0]
        taken = subprocess.run(
            [*command, port], env=environment, capture_output=True, text=True, timeout=30
        )
        assert taken.returncode == 1
        assert f"cannot listen on 127.0.0.1:{port}" in taken.stderr
        exporter.send_signal(signal.SIGTERM)
        assert exporter.wait(10) == 0
    finally:
        exporter.kill()
        exporter.wait()


def test_the_exporter_may_be_started_before_its_server(own_lab: Lab) -> None:
    url = own_lab.url
    own_lab.server.kill()
    exporter = subprocess.Popen(
        [sys.executable, "-m", "redisflow_lab", "exporter", "orders", "--port", "0"],
        env={**os.environ, "REDISFLOW_URL": url}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert exporter.stdout is not None
        address = exporter.stdout.readline().split()[-1]
        with urlopen(address, timeout=10) as page:
            assert samples(page.read().decode())["redisflow_up", ""] == 0
        own_lab.server.start()
        with urlopen(address, timeout=10) as page:
            assert samples(page.read().decode())["redisflow_up", ""] == 1
    finally:
        exporter.kill()
        exporter.wait()


def test_the_memory_has_a_limit_only_if_the_server_has_one(own_lab: Lab) -> None:
    limit = ("redis_memory_max_bytes", "")
    assert limit not in scrape(own_lab, "orders")
    own_lab.redis.config_set("maxmemory", 10**9)
    assert scrape(own_lab, "orders")[limit] == 10**9


def test_without_the_permission_for_info_only_the_memory_is_missing(
    own_lab: Lab, publish: Publish
) -> None:
    publish("a")
    own_lab.redis.execute_command(
        "ACL", "SETUSER", "metrics", "reset", "on", ">pw", "~*", "+@all", "-info"
    )
    options = {"username": "metrics", "password": "pw"}
    redis = Redis(**{**address_of(own_lab), **options})
    registry = CollectorRegistry()
    registry.register(StreamCollector(redis, ["orders"]))
    found = samples(generate_latest(registry).decode())
    assert found["redisflow_up", ""] == 1
    assert found["redis_stream_length", ""] == 1
    assert ("redis_memory_used_bytes", "") not in found
