"""XINFO STREAM / GROUPS / CONSUMERS and XPENDING as tables, the same on every server.

Each function returns a `Table`: a tidy pandas DataFrame with the columns its docstring
names. Ids and names are text, counts are integers, times are in ms. Streams are shown
without the prefix that keys have on a server that is not ours.
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

_STYLE = (
    "<style>.redisflow{border-collapse:collapse;margin:.4em 0;"
    "font-variant-numeric:tabular-nums}"
    ".redisflow caption{font-weight:600;padding:.2em 0}"
    ".redisflow th,.redisflow td{border-bottom:1px solid #8886;padding:.25em .8em}</style>"
)
# On each cell: JupyterLab's own rule for cells is the stronger one otherwise.
_LEFT, _RIGHT = ' style="text-align:left"', ' style="text-align:right"'


class Table(pd.DataFrame):
    """A DataFrame that shows itself plainly: a caption, no index, times with their unit."""

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
        """Every cell as text. Times are equally wide, so that tables keep their shape."""
        return [
            [
                _text(value, is_time=str(column).endswith("_ms"))
                for column, value in zip(self.columns, row, strict=True)
            ]
            for row in self.itertuples(index=False)
        ]


class NoSuchStreamError(ResponseError):
    """There is no stream under this key. Redis itself says only: no such key."""


def stream_table(redis: Redis, stream: str) -> Table:
    """XINFO STREAM. One row: stream, length, first_id, last_id (of the entries), groups."""
    with _naming(stream):
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
    """XINFO GROUPS. One row a group: group, consumers, pending, last_delivered_id, lag.

    lag: entries written and not delivered to this group. Unknown (NA) where the server does
    not know, and where it says more than the stream holds: after trimming past the group's
    position its number is wrong. https://redis.io/docs/latest/commands/xinfo-groups/
    """
    length = redis.xlen(stream)
    with _naming(stream):
        groups = redis.xinfo_groups(stream)
    rows = [
        {
            "group": _name(group["name"]),
            "consumers": group["consumers"],
            "pending": group["pending"],
            "last_delivered_id": _name(group["last-delivered-id"]),
            "lag": known_lag(group["lag"], length),
        }
        for group in groups
    ]
    columns = ["group", "consumers", "pending", "last_delivered_id", "lag"]
    table = _table(rows, columns, f"groups of {without_prefix(stream)}")
    table["lag"] = table["lag"].astype("Int64")
    return table


def consumers_table(redis: Redis, stream: str, group: str) -> Table:
    """XINFO CONSUMERS. One row a consumer: consumer, pending, idle_ms.

    idle_ms: since it last asked for something. `inactive`, which Redis has since 7.2, is
    left out so that the table is the same everywhere.
    """
    with _naming(stream):
        consumers = redis.xinfo_consumers(stream, group)
    rows = [
        {
            "consumer": _name(consumer["name"]),
            "pending": consumer["pending"],
            "idle_ms": consumer["idle"],
        }
        for consumer in consumers
    ]
    return _table(rows, ["consumer", "pending", "idle_ms"], f"consumers of {group}")


def pending_table(redis: Redis, stream: str, group: str, *, most: int = 1_000) -> Table:
    """XPENDING. One row a pending entry, oldest first, at most `most`.

    Columns: entry_id, consumer (its owner), deliveries, idle_ms (since the last delivery).
    """
    found = cast(
        list[dict[str, Any]], redis.xpending_range(stream, group, min="-", max="+", count=most)
    )
    rows = [
        {
            "entry_id": _name(entry["message_id"]),
            "consumer": _name(entry["consumer"]),
            "deliveries": entry["times_delivered"],
            "idle_ms": entry["time_since_delivered"],
        }
        for entry in found
    ]
    columns = ["entry_id", "consumer", "deliveries", "idle_ms"]
    return _table(rows, columns, f"pending in {group}")


def dead_letters_table(redis: Redis, stream: str) -> Table:
    """What was given up, one row a dead letter, oldest first.

    Columns: letter_id, entry_id (of the original), group, consumer, deliveries, reason.
    Empty if there is no dead-letter stream.
    """
    columns = ["letter_id", "entry_id", "group", "consumer", "deliveries", "reason"]
    letters = DeadLetters(redis, stream)
    rows = [{column: getattr(letter, column) for column in columns} for letter in letters]
    return _table(rows, columns, f"dead letters of {without_prefix(stream)}")


def known_lag(lag: int | None, length: int) -> int | None:
    """The lag a server answered, or None if it cannot be true."""
    return None if lag is None or lag > length else lag


@contextmanager
def _naming(stream: str) -> Iterator[None]:
    try:
        yield
    except ResponseError as error:
        if "no such key" not in str(error).lower():
            raise
        raise NoSuchStreamError(
            f"no stream {stream!r}; write to it or make a group on it first"
        ) from None


def _table(rows: list[dict[str, Any]], columns: list[str], caption: str) -> Table:
    table = Table(rows, columns=columns)
    table.attrs["caption"] = caption
    return table


def _name(raw: bytes | str) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else raw


def _entry_id(entry: tuple[bytes, Any] | None) -> str:
    return _name(entry[0]) if entry else "-"


def _title(column: str) -> str:
    return column.removesuffix("_ms").replace("_", " ")


def _text(value: Any, *, is_time: bool) -> str:
    if value is None or value is pd.NA or value != value:
        return "unknown"
    return f"{value:>9} ms" if is_time else str(value)
