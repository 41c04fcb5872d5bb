"""The groups of a stream at one moment: how far behind each is, in entries and in seconds."""

from dataclasses import dataclass
from typing import Any

from redis import Redis, RedisCluster
from redis.client import Pipeline

from redisflow_lab._internal.connection import on_slot
from redisflow_lab._internal.slot import is_one_slot
from redisflow_lab.inspection.lag import lag_of
from redisflow_lab.inspection.missing import explaining_missing
from redisflow_lab.inspection.moment import of_one_moment

_TRIES = 3
_TIMES = range(1_000_000_000_000, 10_000_000_000_000)
"""Ids whose first part is in here, from 2001 to 2286 in ms, say when they were written."""


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """A group of a stream at one moment.

    lag:               entries that were not delivered to it yet; None if it is not known
    lag_s:             how long the oldest of these has been in the stream, in seconds; 0.0
                       without any; None if it is not known, because a producer chose the id,
                       or the group reads so fast that it changed with each question
    pending:           entries that were delivered and are not acknowledged
    oldest_pending_id: of these; empty without any
    oldest_pending_s:  how long that one has been in the stream, in seconds; 0.0 without any,
                       None if a producer chose its id
    oldest_idle_ms:    since that one was last delivered; 0 without any
    consumers:         how many names are in the group
    read:              entries that were delivered to it so far; None if it is not known
    """

    name: str
    lag: int | None
    lag_s: float | None
    pending: int
    oldest_pending_id: str
    oldest_pending_s: float | None
    oldest_idle_ms: int
    consumers: int
    read: int | None


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """A stream at one moment.

    length: how many entries it holds
    added:  how many were ever added
    oldest_s: how long the oldest of them is in the stream, in seconds; None without any, or if
            a producer chose its id
    dead:   how many dead letters it has; None if "<stream>:dead" is in another slot of the
            cluster, where no consumer of this stream can write any
    """

    length: int
    added: int
    oldest_s: float | None
    dead: int | None
    groups: tuple[GroupStatus, ...]


def status_of(redis: Redis | RedisCluster, stream: str) -> StreamStatus:
    """Ask the server for a stream and its groups, all of one moment. Reads no content in bulk.

    redis: a client of the server, or of the cluster. To ask often about a stream of a cluster,
           give a client of its slot, which keeps its connection

    Raises NoSuchStreamError, NotAStreamError, or redis.RedisError as usual.
    """
    with on_slot(redis, stream) as client:
        return _status_of(client, stream)


def _status_of(redis: Redis, stream: str) -> StreamStatus:
    with explaining_missing(redis, stream):
        known: Any = redis.xinfo_groups(stream)
        for _ in range(_TRIES):
            asked = [(group["name"], group["last-delivered-id"]) for group in known]
            info, known, now, dead, answers = _ask(redis, stream, asked)
            if [(group["name"], group["last-delivered-id"]) for group in known] == asked:
                break
        now_ms = now[0] * 1_000 + now[1] // 1_000
        by_name = {name: answer for (name, _), answer in zip(asked, answers, strict=True)}
        groups = tuple(_group(group, info, now_ms, by_name) for group in known)
        first = info["first-entry"]
        oldest_s = _age_s(first[0], now_ms) if first else None
        return StreamStatus(info["length"], info["entries-added"], oldest_s, dead, groups)


def _ask(redis: Redis, stream: str, asked: list[tuple[bytes, bytes]]) -> tuple[Any, ...]:
    dead_stream = f"{stream}:dead"
    has_dead = is_one_slot(redis, stream, dead_stream)

    def ask(pipeline: Pipeline) -> None:
        pipeline.xinfo_stream(stream)
        pipeline.xinfo_groups(stream)
        pipeline.time()
        if has_dead:
            pipeline.xlen(dead_stream)
        for name, read in asked:
            pipeline.xpending_range(stream, name, "-", "+", 1)
            pipeline.xrange(stream, b"(" + read, "+", count=1)

    info, groups, now, *rest = of_one_moment(redis, ask)
    dead = rest.pop(0) if has_dead else None
    return info, groups, now, dead, list(zip(rest[::2], rest[1::2], strict=True))


def _group(
    group: dict[str, Any], info: dict[str, Any], now_ms: int, answers: dict[bytes, Any]
) -> GroupStatus:
    oldest, waiting = answers.get(group["name"], ([], []))
    return GroupStatus(
        name=group["name"].decode(errors="backslashreplace"),
        lag=lag_of(group, info),
        lag_s=_lag_s(waiting, group["last-delivered-id"], now_ms),
        pending=group["pending"],
        oldest_pending_id=oldest[0]["message_id"].decode() if oldest else "",
        oldest_pending_s=_age_s(oldest[0]["message_id"], now_ms) if oldest else 0.0,
        oldest_idle_ms=oldest[0]["time_since_delivered"] if oldest else 0,
        consumers=group["consumers"],
        read=group["entries-read"],
    )


def _lag_s(waiting: Any, read: bytes, now_ms: int) -> float | None:
    """waiting: the first entry after what was read a moment ago, in a list, or an empty one."""
    if not waiting:
        return 0.0
    entry_id = waiting[0][0]
    is_read = _comparable(entry_id) <= _comparable(read)
    return None if is_read else _age_s(entry_id, now_ms)


def _age_s(entry_id: bytes, now_ms: int) -> float | None:
    """How long ago the server made an id, in seconds; None if a producer chose it."""
    written, _ = _comparable(entry_id)
    return max(now_ms - written, 0) / 1_000 if written in _TIMES else None


def _comparable(entry_id: bytes) -> tuple[int, int]:
    milliseconds, counter = entry_id.split(b"-")
    return int(milliseconds), int(counter)
