"""`redisflow streams` and `inspect`: what a server knows of its streams."""

import time
from collections.abc import Iterator
from contextlib import suppress
from threading import Event
from typing import Annotated, Any

import redis as redis_py
import typer
from redis import Redis, RedisCluster
from redis.exceptions import ClusterDownError, NoPermissionError, ResponseError

from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.server_errors import explain_server_error
from redisflow_lab._internal.slot import shard_of
from redisflow_lab.cli.durations import for_people
from redisflow_lab.cli.entries import Stream, decoded
from redisflow_lab.cli.output import Json, console, counted, show, show_json
from redisflow_lab.cli.server import HERE, Url, fail, server_at, stream_at
from redisflow_lab.inspection.lag import lag_of, stream_and_groups
from redisflow_lab.inspection.memory import Memory, memory_of, memory_of_node
from redisflow_lab.inspection.missing import explaining_missing


def streams(
    match: Annotated[
        str, typer.Option(metavar="GLOB", help="Whose keys match: 'orders*'.")
    ] = "*",
    seconds: Annotated[
        float, typer.Option(min=0, max=60, help="How long the rate is measured; 0: not at all.")
    ] = 1.0,
    url: Url = HERE,
    as_json: Json = False,
) -> None:
    """Show all streams of a server or a cluster: length, groups, memory, entries a second."""
    with server_at(url) as redis:
        shards, problem = _found(redis, match)
        keys = sorted(shards)
        before = {key: _added(redis, key) for key in keys}
        began = time.monotonic()
        if seconds and keys:
            Event().wait(seconds)
        took_s = time.monotonic() - began
        rows = [
            {"stream": row.pop("stream"), "shard": shards[key], **row}
            for key in keys
            if (row := _stream(redis, key, before[key], seconds and took_s))
        ]
        used = _memory_used(redis)
    columns = {"stream": "stream"}
    if isinstance(redis, RedisCluster):
        columns["shard"] = "shard"
    columns |= {"length": "length", "groups": "groups"}
    columns |= {"memory_bytes": "memory (bytes)", "entries_per_s": "entries/s"}
    show(rows, columns, as_json=as_json)
    if used and not as_json:
        print("", *used, sep="\n")
    if problem:
        fail(f"there may be more streams: {problem}")


def _found(redis: Redis | RedisCluster, match: str) -> tuple[dict[bytes, str | None], str]:
    """The streams, with the shard that each is on; and why there may be more, or an empty text.

    A node that is down hides its own streams only.
    """

    def scan(server: Redis) -> Iterator[bytes]:
        return server.scan_iter(match=match, count=1_000, _type="stream")

    if not isinstance(redis, RedisCluster):
        return dict.fromkeys(scan(redis)), ""
    found: dict[bytes, str | None] = {}
    problem = ""
    for node in redis.get_primaries():
        try:
            found |= dict.fromkeys(scan(redis.get_redis_connection(node)), node.name)
        except (redis_py.ConnectionError, redis_py.TimeoutError) as error:
            problem = explain_server_error(error, redis)
    return found, problem


def _memory_used(redis: Redis | RedisCluster) -> list[str]:
    """How much of its memory each server uses; none without a limit, or if it is not told."""
    if not isinstance(redis, RedisCluster):
        return [*_used("server", memory_of(redis))]
    used: list[str] = []
    for node in redis.get_primaries():
        with suppress(redis_py.ConnectionError, redis_py.TimeoutError):  # is said already
            used += _used(f"node {node.name}", memory_of_node(redis, node))
    return used


def _used(what: str, memory: Memory | None) -> Iterator[str]:
    if memory is not None and memory.limit:
        share = memory.used / memory.limit
        full = ": it is full, and refuses writes" if share >= 1 else ""
        yield f"The {what} uses {share:.0%} of its maxmemory of {memory.limit:,} bytes{full}."


def inspect(stream: Stream, url: Url = HERE, as_json: Json = False) -> None:
    """Show a stream, its groups and consumers, and its first and last entry."""
    with stream_at(url, stream) as redis, explaining_missing(redis, stream):
        info, groups = stream_and_groups(redis, stream)
        found = {
            "stream": stream,
            "shard": shard_of(redis),
            "length": info["length"],
            "entries_added": info["entries-added"],
            "memory_bytes": _memory(redis, stream.encode()),
            "groups": [_group(redis, stream, group, lag_of(group, info)) for group in groups],
            "first": _entry(redis, stream, "XRANGE", "-", "+"),
            "last": _entry(redis, stream, "XREVRANGE", "+", "-"),
        }
    if as_json:
        show_json(found)
        return
    out = console()
    memory = "?" if found["memory_bytes"] is None else f"{found['memory_bytes']:,}"
    out.print(
        f"{printable(stream)}: {counted(found['length'], 'entry', 'entries')} of "
        f"{found['entries_added']:,} that were added, {memory} bytes"
        f"{', on ' + found['shard'] if found['shard'] else ''}",
        markup=False,
    )
    for which in ("first", "last"):
        if entry := found[which]:
            said = entry["problem"] or f"{entry['producer']}: {entry['content']}"
            out.print(f"{which}: {entry['id']}  {printable(said)}", markup=False)
    print()
    show(
        [_with_idle(group, "oldest_idle_ms") for group in found["groups"]],
        {
            "group": "group",
            "lag": "lag",
            "pending": "pending",
            "idle": "oldest idle",
            "last_delivered_id": "last delivered",
        },
        as_json=False,
    )
    consumers = [
        {"group": group["group"], **_with_idle(consumer, "idle_ms")}
        for group in found["groups"]
        for consumer in group["consumers"]
    ]
    print()
    show(
        consumers,
        {
            "group": "group",
            "consumer": "consumer",
            "pending": "pending",
            "idle": "idle",
        },
        as_json=False,
    )


def _with_idle(row: dict[str, Any], key: str) -> dict[str, Any]:
    """The row, with its idle time as people say it."""
    idle_ms = row[key]
    return row | {"idle": "" if idle_ms is None else for_people(idle_ms)}


def _added(redis: Redis | RedisCluster, key: bytes) -> int | None:
    with suppress(ResponseError):  # deleted since it was found
        return int(redis.xinfo_stream(key)["entries-added"])
    return None


def _stream(
    redis: Redis | RedisCluster, key: bytes, before: int | None, took_s: float
) -> dict[str, Any] | None:
    """A row of `streams`; None if the stream is gone."""
    name = key.decode(errors="backslashreplace")
    try:
        info: Any = redis.xinfo_stream(key)
    except NoPermissionError:  # SCAN names keys that this user may not read
        unknown = dict.fromkeys(("length", "groups", "memory_bytes", "entries_per_s"))
        return {"stream": name, **unknown}
    except ClusterDownError:
        raise
    except ResponseError:
        return None
    rate = None
    if took_s and before is not None:
        rate = round(max(info["entries-added"] - before, 0) / took_s, 1)
    return {
        "stream": name,
        "length": info["length"],
        "groups": info["groups"],
        "memory_bytes": _memory(redis, key),
        "entries_per_s": rate,
    }


def _memory(redis: Redis | RedisCluster, key: bytes) -> int | None:
    """MEMORY USAGE, which the server estimates from samples; None if this user may not ask."""
    try:
        return redis.memory_usage(key)
    except NoPermissionError:
        return None


def _group(redis: Redis, stream: str, group: dict[str, Any], lag: int | None) -> dict[str, Any]:
    name = group["name"]
    oldest: Any = redis.xpending_range(stream, name, "-", "+", 1) if group["pending"] else []
    return {
        "group": name.decode(errors="backslashreplace"),
        "lag": lag,
        "pending": group["pending"],
        "oldest_pending_id": oldest[0]["message_id"].decode() if oldest else None,
        "oldest_idle_ms": oldest[0]["time_since_delivered"] if oldest else None,
        "last_delivered_id": group["last-delivered-id"].decode(),
        "consumers": [*_consumers(redis, stream, name)],
    }


def _consumers(redis: Redis, stream: str, group: bytes) -> Iterator[dict[str, Any]]:
    for row in redis.xinfo_consumers(stream, group):
        yield {
            "consumer": row["name"].decode(errors="backslashreplace"),
            "pending": row["pending"],
            "idle_ms": row["idle"],
        }


def _entry(redis: Redis, stream: str, command: str, *ids: str) -> dict[str, Any] | None:
    redis.set_response_callback("XREVRANGE", lambda reply, **_: reply)
    reply = redis.execute_command(command, stream, *ids, "COUNT", 1)
    return decoded(*reply[0], raw=False) if reply else None
