"""Reads new entries of several streams with one command."""

from collections.abc import Sequence

from redis import Redis

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
