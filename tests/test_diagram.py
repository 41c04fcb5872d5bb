"""The drawing of a stream says the same as the server."""

import pytest
from redis import Redis

from redisflow_lab import Message
from redisflow_lab.inspection.missing import NoSuchGroupError, NoSuchStreamError
from redisflow_lab.lab import Lab
from redisflow_lab.lab.views.story import CELLS


def publish(redis: Redis, stream: str, count: int) -> None:
    fields = Message("web", "1 x Dune").to_fields()
    pipeline = redis.pipeline(transaction=False)
    for number in range(1, count + 1):
        pipeline.xadd(stream, fields, id=f"{number}-0")  # type: ignore[arg-type]
    pipeline.execute()


def test_each_entry_has_its_state_and_each_consumer_its_name(lab: Lab, stream: str) -> None:
    publish(lab.redis, stream, 5)
    lab.redis.xgroup_create(stream, "billing", id="0")
    assert "1-0 not delivered; 2-0 not delivered" in lab.draw(stream).alt
    assert "Consumers: none." in lab.draw(stream).alt
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=3)
    lab.redis.xreadgroup("billing", "alice", {stream: "0"}, count=2)
    lab.redis.xreadgroup("billing", "bob", {stream: ">"}, count=1)
    lab.redis.xack(stream, "billing", "1-0")
    lab.redis.xdel(stream, "2-0")
    assert lab.draw(stream).alt.endswith(
        "as the group billing sees it: 1-0 acknowledged; "
        "2-0 pending with alice, delivered 2 times (no longer in the stream); "
        "3-0 pending with alice, delivered once; 4-0 pending with bob, delivered once; "
        "5-0 not delivered. Consumers: alice, bob."
    )
    assert lab.draw(stream).png.startswith(b"\x89PNG")


def test_a_long_stream_shows_its_newest_entries_and_says_how_many_come_before(
    lab: Lab, stream: str
) -> None:
    publish(lab.redis, stream, 1_000)
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=990)
    alt = lab.draw(stream).alt
    assert f"{1_000 - CELLS:,} other entries, and 1-0 pending with alice" in alt
    assert "5-0 pending with alice, delivered once; 990-0 pending" in alt
    assert "991-0 not delivered" in alt
    lab.redis.xdel(stream, "990-0")
    assert "990-0 pending with alice, delivered once (no longer" in lab.draw(stream).alt
    lab.redis.xack(stream, "billing", *(f"{number}-0" for number in range(1, 990)))
    alt = lab.draw(stream).alt
    assert f"{1_000 - CELLS:,} other entries, and 985-0 acknowledged" in alt


def test_more_pending_entries_than_one_reply_has_are_no_trouble(lab: Lab, stream: str) -> None:
    publish(lab.redis, stream, 10_500)
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"})
    assert "acknowledged" not in lab.draw(stream).alt


def test_a_stream_or_a_group_that_does_not_exist_is_named(lab: Lab, stream: str) -> None:
    with pytest.raises(NoSuchStreamError):
        lab.draw(stream)
    publish(lab.redis, stream, 1)
    with pytest.raises(NoSuchGroupError, match="no group 'billing'"):
        lab.draw(stream)


def test_time_passes_for_pending_entries_and_changes_nothing_else(
    lab: Lab, stream: str
) -> None:
    publish(lab.redis, stream, 3)
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=1)
    lab.redis.xreadgroup("billing", "bob", {stream: ">"}, count=1)
    lab.age("2-0", "3-0", stream=stream)
    table = lab.pending(stream)
    assert table[["entry_id", "consumer", "deliveries"]].to_numpy().tolist() == [
        ["1-0", "alice", 1],
        ["2-0", "bob", 1],
    ]
    assert [idle >= 3_600_000 for idle in table["idle_ms"]] == [False, True]
    lab.age(stream=stream, idle_ms=7_200_000)
    assert min(lab.pending(stream)["idle_ms"]) >= 7_200_000
    assert lab.consumers(stream)["consumer"].tolist() == ["alice", "bob"]
