"""`redisflow watch`: how far behind each group is, again and again."""

import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from threading import Event
from typing import Annotated, Any

import redis as redis_py
import typer
from redis import Redis, RedisCluster
from redis.exceptions import ClusterDownError
from rich.live import Live
from rich.table import Table
from rich.text import Text

from redisflow_lab._internal.connection import slot_client
from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.server_errors import explain_server_error
from redisflow_lab.cli.durations import seconds
from redisflow_lab.cli.output import Json, console, show_line
from redisflow_lab.cli.server import HERE, Url, server_at
from redisflow_lab.inspection.groups import status_of
from redisflow_lab.inspection.missing import NoSuchStreamError, NotAStreamError
from redisflow_lab.signals import stop_on_signals

_BARS = "▁▂▃▄▅▆▇█"
_REMEMBERED = 20

Sample = dict[str, Any]
"""What is printed of one moment: at, problem, and streams (see docs/cli.md)."""


def watch(
    streams: Annotated[list[str], typer.Argument(metavar="STREAM...", help="Their keys.")],
    every: Annotated[str, typer.Option(metavar="TIME", help="How often it looks.")] = "1s",
    count: Annotated[int, typer.Option(min=0, help="So many times; 0: until Ctrl-C.")] = 0,
    url: Url = HERE,
    as_json: Json = False,
) -> None:
    """Watch the groups of streams: lag in entries and in seconds, pending, rates.

    It goes on while the server is down, and says so. With --json it prints a line each time.
    """
    pause_s = seconds(every)
    history: dict[str, deque[int]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))
    with server_at(url) as redis, stop_on_signals() as stop:
        samples = _samples(redis, streams, pause_s, count, stop)
        if as_json:
            for sample in samples:
                show_line(sample)
        elif sys.stdout.isatty():
            with Live(console=console(), auto_refresh=False) as live:
                for sample in samples:
                    live.update(_table(sample, history), refresh=True)
        else:
            for sample in samples:
                console().print(_table(sample, history))


def _samples(
    redis: Redis | RedisCluster, streams: list[str], pause_s: float, count: int, stop: Event
) -> Iterator[Sample]:
    clients = {stream: slot_client(redis, stream) for stream in streams}
    before: dict[tuple[str, str], int] = {}
    looked, taken = time.monotonic(), 0
    while not stop.is_set():
        began = time.monotonic()
        yield _sample(redis, clients, before, began - looked)
        looked, taken = began, taken + 1
        if taken == count:
            return
        stop.wait(max(0.0, began + pause_s - time.monotonic()))


def _sample(
    redis: Redis | RedisCluster,
    clients: dict[str, Redis],
    before: dict[tuple[str, str], int],
    passed_s: float,
) -> Sample:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    found: list[dict[str, Any]] = []
    for stream, client in clients.items():
        try:
            status = asdict(status_of(client, stream))
        except (NoSuchStreamError, NotAStreamError) as error:
            found.append({"stream": stream, "problem": str(error)})
            continue
        except (redis_py.ConnectionError, redis_py.TimeoutError, ClusterDownError) as error:
            problem = explain_server_error(error, redis)
            if not isinstance(redis, RedisCluster):
                return {"at": at, "problem": problem, "streams": []}
            found.append({"stream": stream, "problem": problem})  # of this shard only
            continue
        status["entries_per_s"] = _rate(before, (stream, ""), status["added"], passed_s)
        for group in status["groups"]:
            key = (stream, group["name"])
            group["read_per_s"] = _rate(before, key, group["read"], passed_s)
        found.append({"stream": stream, "problem": None, **status})
    return {"at": at, "problem": None, "streams": found}


def _rate(
    before: dict[tuple[str, str], int], key: tuple[str, str], now: int | None, passed_s: float
) -> float | None:
    """How many a second since the last look; None at the first one."""
    was = before.pop(key, None)
    if now is None:
        return None
    before[key] = now
    if was is None or not passed_s:
        return None
    return round(max(now - was, 0) / passed_s, 1)


def _table(sample: Sample, history: dict[str, deque[int]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.title = Text(sample["problem"] or sample["at"])
    for heading in ("stream", "group"):
        table.add_column(heading, overflow="fold")
    for heading in (
        "lag",
        "lag (s)",
        "pending",
        "oldest idle (s)",
        "read/s",
        "consumers",
        "dead",
    ):
        table.add_column(heading, justify="right")
    table.add_column("lag so far")
    for stream in sample["streams"]:
        name = printable(stream["stream"], 40)
        if stream["problem"]:
            table.add_row(Text(name), Text(printable(stream["problem"])))
            continue
        for group in stream["groups"]:
            line = history[f"{stream['stream']}\0{group['name']}"]
            if group["lag"] is not None:
                line.append(group["lag"])
            table.add_row(
                Text(name), Text(printable(group["name"], 40)),
                *map(_number, (
                    group["lag"], group["lag_s"], group["pending"],
                    group["oldest_idle_ms"] / 1_000, group["read_per_s"], group["consumers"],
                    stream["dead"],
                )),
                _sparkline(line),
            )  # fmt: skip
    return table


def _number(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _sparkline(values: deque[int]) -> str:
    most = max(values, default=0) or 1
    return "".join(_BARS[round(value / most * (len(_BARS) - 1))] for value in values)
