"""Tables of a stream: its groups, consumers, pending entries and dead letters.

Each function returns a `Table`, a pandas DataFrame, which looks the same on each server. Ids
and names are text, counts are integers, times (`..._ms`) are in milliseconds. Names of streams
are shown without the prefix that keys have on a shared server.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any, cast

import pandas as pd
from redis import Redis
from redis.exceptions import ResponseError

from redisflow_lab.dead_letters import DeadLetters
from redisflow_lab.lab.prefix import without_prefix
from redisflow_lab.lab.views.lag import lag_of, stream_and_groups

_STYLE = (
    "<style>.redisflow{border-collapse:collapse;margin:.4em 0;"
    "font-variant-numeric:tabular-nums}"
    ".redisflow caption{font-weight:600;padding:.2em 0}"
    ".redisflow th,.redisflow td{border-bottom:1px solid #8886;padding:.25em .8em}</style>"
)
# Inline on each cell, because JupyterLab's own rule for table cells overrides a class.
_LEFT, _RIGHT = ' style="text-align:left"', ' style="text-align:right"'


class Table(pd.DataFrame):
    """A DataFrame that is shown with a caption, without its index, and with units of time."""

    @property
    def _constructor(self) -> type["Table"]:
        return Table

    @property
    def caption(self) -> str:
        return str(self.attrs.get("caption", ""))

    def _repr_html_(self) -> str:
        numeric = [pd.api.types.is_numeric_dtype(kind) for kind in self.dtypes]
        marks = [_RIGHT if is_number else _LEFT for is_number in numeric]
        head = "".join(
            f'<th scope="col"{mark}>{escape(_title(str(column)))}</th>'
            for column, mark in zip(self.columns, marks, strict=True)
        )
        body = "".join(
            "<tr>"
            + "".join(
                f"<td{mark}>{escape(text)}</td>" for text, mark in zip(row, marks, strict=True)
            )
            + "</tr>"
            for row in self._texts()
        )
        return (
            f'{_STYLE}<table class="redisflow"><caption{_LEFT}>{escape(self.caption)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )

    def __repr__(self) -> str:
        columns = [_title(str(column)) for column in self.columns]
        shown = pd.DataFrame(self._texts(), columns=columns)
        text = shown.to_string(index=False) if len(shown) else f"(none) {', '.join(columns)}"
        return f"{self.caption}\n{text}" if self.caption else text

    def _texts(self) -> list[list[str]]:
        """Each cell as text. Times are padded to one width, so that tables keep their shape."""
        return [
            [
                _text(value, is_time=str(column).endswith("_ms"))
                for column, value in zip(self.columns, row, strict=True)
            ]
            for row in self.itertuples(index=False)
        ]


class NoSuchStreamError(ResponseError):
    """No stream has this name. Redis itself says only "no such key"."""


def stream_table(redis: Redis, stream: str) -> Table:
    """XINFO STREAM: one row.

    Columns: stream, length (entries), first_id and last_id (of the entries; "-" if there are
    none), groups (how many). https://redis.io/docs/latest/commands/xinfo-stream/

    Raises NoSuchStreamError.
    """
    with _explaining_missing(stream):
        info = redis.xinfo_stream(stream)
    row = {
        "stream": without_prefix(stream),
        "length": info["length"],
        "first_id": _entry_id(info["first-entry"]),
        "last_id": _entry_id(info["last-entry"]),
        "groups": info["groups"],
    }
    return _table([row], list(row), f"stream {without_prefix(stream)}")


def groups_table(redis: Redis, stream: str) -> Table:
    """XINFO GROUPS: one row per group.

    Columns: group, consumers and pending (how many), last_delivered_id, lag.

    lag is the number of entries that were not delivered to the group yet, and NA where it is
    not known. https://redis.io/docs/latest/commands/xinfo-groups/

    Raises NoSuchStreamError.
    """
    with _explaining_missing(stream):
        info, groups = stream_and_groups(redis, stream)
    rows = [
        {
            "group": _decode(group["name"]),
            "consumers": group["consumers"],
            "pending": group["pending"],
            "last_delivered_id": _decode(group["last-delivered-id"]),
            "lag": lag_of(group, info),
        }
        for group in groups
    ]
    columns = ["group", "consumers", "pending", "last_delivered_id", "lag"]
    table = _table(rows, columns, f"groups of {without_prefix(stream)}")
    table["lag"] = table["lag"].astype("Int64")
    return table


def consumers_table(redis: Redis, stream: str, group: str) -> Table:
    """XINFO CONSUMERS: one row per consumer of the group.

    Columns: consumer, pending (entries it owns), idle_ms (since it last asked for entries).
    The column `inactive` of Redis 7.2 is left out, so that the table is the same on each
    server. https://redis.io/docs/latest/commands/xinfo-consumers/

    Raises NoSuchStreamError.
    """
    with _explaining_missing(stream):
        consumers = redis.xinfo_consumers(stream, group)
    rows = [
        {
            "consumer": _decode(consumer["name"]),
            "pending": consumer["pending"],
            "idle_ms": consumer["idle"],
        }
        for consumer in consumers
    ]
    return _table(rows, ["consumer", "pending", "idle_ms"], f"consumers of {group}")


def pending_table(redis: Redis, stream: str, group: str, *, limit: int = 1_000) -> Table:
    """XPENDING: one row per pending entry, oldest first, at most `limit`.

    Columns: entry_id, consumer (its owner), deliveries, idle_ms (since its last delivery).
    https://redis.io/docs/latest/commands/xpending/
    """
    found = cast(
        list[dict[str, Any]], redis.xpending_range(stream, group, min="-", max="+", count=limit)
    )
    rows = [
        {
            "entry_id": _decode(entry["message_id"]),
            "consumer": _decode(entry["consumer"]),
            "deliveries": entry["times_delivered"],
            "idle_ms": entry["time_since_delivered"],
        }
        for entry in found
    ]
    columns = ["entry_id", "consumer", "deliveries", "idle_ms"]
    return _table(rows, columns, f"pending in {group}")


def dead_letters_table(redis: Redis, stream: str) -> Table:
    """The dead letters of a stream, one row each, oldest first; empty if there are none.

    Columns: letter_id (in the dead-letter stream), entry_id (in the original stream), group,
    consumer, deliveries, reason.
    """
    columns = ["letter_id", "entry_id", "group", "consumer", "deliveries", "reason"]
    dead_letters = DeadLetters(redis, stream)
    rows = [{column: getattr(found, column) for column in columns} for found in dead_letters]
    return _table(rows, columns, f"dead letters of {without_prefix(stream)}")


@contextmanager
def _explaining_missing(stream: str) -> Iterator[None]:
    try:
        yield
    except ResponseError as error:
        if "no such key" not in str(error).lower():
            raise
        raise NoSuchStreamError(
            f"no stream {stream!r}: publish a message to it, or create a group on it, first"
        ) from None


def _table(rows: list[dict[str, Any]], columns: list[str], caption: str) -> Table:
    table = Table(rows, columns=columns)
    table.attrs["caption"] = caption
    return table


def _decode(raw: bytes | str) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else raw


def _entry_id(entry: tuple[bytes, Any] | None) -> str:
    return _decode(entry[0]) if entry else "-"


def _title(column: str) -> str:
    return column.removesuffix("_ms").replace("_", " ")


def _text(value: Any, *, is_time: bool) -> str:
    if value is None or value is pd.NA or value != value:
        return "unknown"
    return f"{value:>9} ms" if is_time else str(value)
