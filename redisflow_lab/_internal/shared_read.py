"""Reads new entries of several streams with one command."""

from collections.abc import Sequence

from redis import Redis
from redis.crc import key_slot

from redisflow_lab._internal.entry import Entry
from redisflow_lab._internal.group import Group, entries_of
from redisflow_lab._internal.wire import round_trip


def read_new_of(
    redis: Redis, groups: Sequence[Group], count: int, block_ms: int
) -> dict[str, list[Entry]]:
    """XREADGROUP with `>` of several streams: up to `count` new entries of each, by stream.

    groups: one consumer of one group, on each stream

    Waits for the first entry of any stream, `block_ms` at most. A stream with nothing new is
    not in the result. https://redis.io/docs/latest/commands/xreadgroup/
    """
    first = groups[0]
    streams = [group.stream for group in groups]
    (reply,) = round_trip(
        redis,
        [(
            "XREADGROUP", "GROUP", first.group, first.consumer, "COUNT", count,
            "BLOCK", block_ms, "STREAMS", *streams, *(">" for _ in streams),
        )],
    )  # fmt: skip
    return {stream.decode(): entries_of(rows) for stream, rows in reply or []}


def check_one_slot(streams: Sequence[str]) -> None:
    """Raise ValueError unless a Redis Cluster keeps all these streams in one slot."""
    slots = {stream: key_slot(stream.encode()) for stream in streams}
    if len({*slots.values()}) > 1:
        where = ", ".join(f"{stream!r} is in {slot}" for stream, slot in slots.items())
        raise ValueError(
            f"a cluster reads streams together only if they are in one slot, and {where}: give "
            "their names one hash tag, as in '{shop}:orders' and '{shop}:returns'"
        )
