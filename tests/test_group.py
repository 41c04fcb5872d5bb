"""The commands of a consumer in its group that check and act in one step."""

import pytest

from redisflow_lab._internal.connection import stream_client
from redisflow_lab._internal.entry import Entry
from redisflow_lab._internal.group import START, Group, Pending
from redisflow_lab.lab import Lab

IDS = [b"1-0", b"2-0", b"3-0"]


@pytest.fixture
def alice(lab: Lab, stream: str) -> Group:
    """Alice of billing, with three entries pending."""
    alice = Group(stream_client(lab.redis, stream), stream, "billing", "alice")
    assert alice.create()
    for entry_id in IDS:
        lab.redis.xadd(stream, {"number": entry_id}, id=entry_id)
    assert [entry.id for entry in alice.read_new(3, 1)] == IDS
    return alice


def deliveries(lab: Lab, stream: str) -> list[tuple[str, str, int]]:
    table = lab.pending(stream)[["entry_id", "consumer", "deliveries"]]
    return [tuple(row) for row in table.values.tolist()]


def test_a_redelivery_counts_and_brings_the_fields(lab: Lab, stream: str, alice: Group) -> None:
    assert alice.redeliver(IDS[:2]) == [
        Entry(b"1-0", [b"number", b"1-0"], 2),
        Entry(b"2-0", [b"number", b"2-0"], 2),
    ]
    assert deliveries(lab, stream) == [
        ("1-0", "alice", 2),
        ("2-0", "alice", 2),
        ("3-0", "alice", 1),
    ]


def test_the_largest_delivery_count_stays_large(lab: Lab, stream: str, alice: Group) -> None:
    """XNACK FATAL of Redis 8.8 sets it; in a script it is more than a number can hold."""
    lab.redis.xclaim(stream, "billing", "alice", 0, ["1-0"], retrycount=2**63 - 1)
    (entry,) = alice.redeliver([b"1-0"]) or []
    assert entry.deliveries > 2**50


def test_what_another_consumer_has_claimed_is_neither_redelivered_nor_renewed(
    lab: Lab, stream: str, alice: Group
) -> None:
    lab.redis.xclaim(stream, "billing", "bob", 0, [IDS[1]])
    assert alice.redeliver(IDS) is None
    assert alice.redeliver(IDS[1:2]) is None
    assert alice.redeliver([IDS[0], IDS[2]]) == [
        Entry(b"1-0", [b"number", b"1-0"], 2),
        Entry(b"3-0", [b"number", b"3-0"], 2),
    ]
    assert alice.renew(IDS, 0) == ([IDS[0], IDS[2]], [])
    assert deliveries(lab, stream) == [
        ("1-0", "alice", 2),
        ("2-0", "bob", 2),
        ("3-0", "alice", 2),
    ]


def test_an_entry_between_them_is_not_redelivered_along(
    lab: Lab, stream: str, alice: Group
) -> None:
    assert alice.redeliver([IDS[0], IDS[2]]) is None
    assert [count for _, _, count in deliveries(lab, stream)] == [1, 1, 1]


def test_the_count_of_a_redelivery_outlives_a_killed_server(own_lab: Lab) -> None:
    own_lab.redis.config_set("appendfsync", "always")
    group = Group(stream_client(own_lab.redis, "orders"), "orders", "billing", "alice")
    group.create()
    own_lab.redis.xadd("orders", {"a": "1"}, id="1-0")
    group.read_new(1, 1)
    group.redeliver([b"1-0"])
    own_lab.server.kill()
    own_lab.server.start()
    assert list(own_lab.pending("orders")["deliveries"]) == [2]


def test_a_trimmed_entry_stays_pending_and_comes_without_fields(
    lab: Lab, stream: str, alice: Group
) -> None:
    lab.redis.xdel(stream, IDS[1])
    assert (alice.redeliver(IDS) or [])[1] == Entry(b"2-0", None, 2)
    assert alice.renew(IDS, 0) == ([IDS[0], IDS[2]], [IDS[1]])
    assert [row[0] for row in deliveries(lab, stream)] == ["1-0", "2-0", "3-0"]


def test_a_renewal_sets_the_idle_time_and_counts_no_delivery(
    lab: Lab, stream: str, alice: Group
) -> None:
    alice.renew(IDS[:1], 60_000)
    first, second, _ = lab.redis.xpending_range(stream, "billing", "-", "+", 3)
    assert first["time_since_delivered"] >= 60_000 > second["time_since_delivered"]
    assert first["times_delivered"] == 1


def test_pending_entries_are_listed_in_pages_and_by_id(alice: Group) -> None:
    assert alice.pending_after(START, 2) == [Pending(b"1-0", 1), Pending(b"2-0", 1)]
    assert alice.pending_after(b"2-0", 2) == [Pending(b"3-0", 1)]
    assert alice.pending_of([b"9-0", b"3-0"]) == [Pending(b"3-0", 1)]


def test_a_consumer_is_removed_only_when_nothing_is_pending_with_it(
    lab: Lab, stream: str, alice: Group
) -> None:
    assert alice.remove_consumer("alice") is False
    alice.acknowledge(IDS)
    assert alice.remove_consumer("alice") is True
    assert lab.redis.xinfo_consumers(stream, "billing") == []
