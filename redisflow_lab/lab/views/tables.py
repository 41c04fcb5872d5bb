"""Tables of a stream: its groups, consumers, pending entries and dead letters.

Each function returns a `Table`, a pandas DataFrame, which looks the same on each server. Ids
and names are text, counts are integers, times (`..._ms`) are in milliseconds. Names of streams
are shown without the prefix that keys have on a shared server.
"""

from html import escape
from typing import Any

import pandas as pd
from redis import Redis
from redis.client import Pipeline

from redisflow_lab._internal.checks import check_positive
from redisflow_lab._internal.printable import printable
from redisflow_lab.dead_letters import DeadLetters
from redisflow_lab.inspection.lag import lag_of, stream_and_groups
from redisflow_lab.inspection.missing import explaining_missing
from redisflow_lab.inspection.moment import of_one_moment
from redisflow_lab.lab.prefix import without_prefix

# Inline on each element: JupyterLab's own rule for table cells overrides a class, and removes
# <style> from the outputs of a notebook that has not been run yet.
_TABLE = "border-collapse:collapse;margin:.4em 0;font-variant-numeric:tabular-nums"
_CAPTION = "font-weight:600;padding:.2em 0;text-align:left"
_CELL = "border-bottom:1px solid #8886;padding:.25em .8em"
_LEFT, _RIGHT = (f' style="{_CELL};text-align:{side}"' for side in ("left", "right"))


EVERY_ENTRY = 2**63 - 1
"""The largest COUNT of a command: XPENDING lists entries only with a COUNT."""

_MAX_ROWS = 1_000
"""How many rows are shown, as a browser cannot show a million. The table has them all."""


class Table(pd.DataFrame):
    """A DataFrame that is shown with a caption and with units of time.

    Its index is shown unless it only numbers the rows. On display, control characters are
    escaped, long names are cut, and a table of more than 1,000 rows is cut and says so. The
    data is complete.
    """

    @property
    def _constructor(self) -> type["Table"]:
        return Table

    @property
    def caption(self) -> str:
        return str(self.attrs.get("caption", ""))

    def _repr_html_(self) -> str:
        shown = self._shown()
        head = "".join(f'<th scope="col"{c.align}>{escape(c.title)}</th>' for c in shown)
        body = "".join(
            "<tr>"
            + "".join(c.cell(escape(text)) for c, text in zip(shown, row, strict=True))
            + "</tr>"
            for row in zip(*(c.texts for c in shown), strict=True)
        )
        caption = "<br>".join(escape(line) for line in self._heading())
        return (
            f'<table style="{_TABLE}"><caption style="{_CAPTION}">{caption}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )

    def __repr__(self) -> str:
        titles = [column.title for column in self._shown()]
        rows = list(zip(*(column.texts for column in self._shown()), strict=True))
        shown = pd.DataFrame(rows, columns=titles)
        text = shown.to_string(index=False) if rows else f"(none) {', '.join(titles)}"
        return "\n".join([*self._heading(), text])

    def _heading(self) -> list[str]:
        """The caption, and how much of a long table is shown."""
        cut = f"the first {_MAX_ROWS:,} of {len(self):,} rows"
        lines = [self.caption, cut if len(self) > _MAX_ROWS else ""]
        return [line for line in lines if line]

    def _shown(self) -> list["_Column"]:
        rows = self.iloc[:_MAX_ROWS]
        index = rows.index
        plain = (
            index.nlevels == 1
            and index.name is None
            and (pd.api.types.is_integer_dtype(index.dtype) or not len(index))
        )
        levels = [] if plain else range(index.nlevels)
        return [
            *(
                _Column(index.names[n] or "", index.get_level_values(n), is_label=True)
                for n in levels
            ),
            *(_Column(name, rows.iloc[:, n]) for n, name in enumerate(rows.columns)),
        ]


class _Column:
    """A column of a table, or a level of its index, as text.

    name: a tuple if the table has several rows of titles
    """

    def __init__(
        self, name: object, values: "pd.Series[Any] | pd.Index[Any]", *, is_label: bool = False
    ) -> None:
        parts = list(map(str, name)) if isinstance(name, tuple) else [str(name)]
        is_time = any(part.endswith("_ms") for part in parts)
        self.title = printable(" ".join(map(_title, parts)).strip())
        self.align = _RIGHT if pd.api.types.is_numeric_dtype(values.dtype) else _LEFT
        self.texts = [_text(value, is_time=is_time) for value in values.tolist()]
        self._is_label = is_label

    def cell(self, html: str) -> str:
        if self._is_label:
            return f'<th scope="row"{self.align}>{html}</th>'
        return f"<td{self.align}>{html}</td>"


def stream_table(redis: Redis, stream: str) -> Table:
    """XINFO STREAM: one row.

    Columns: stream, length (entries), first_id and last_id (of the entries; "-" if there are
    none), groups (how many). https://redis.io/docs/latest/commands/xinfo-stream/

    Raises NoSuchStreamError.
    """
    with explaining_missing(redis, stream, called=without_prefix(stream)):
        info = redis.xinfo_stream(stream)
    row = {
        "stream": without_prefix(stream),
        "length": info["length"],
        "first_id": _entry_id(info["first-entry"]),
        "last_id": _entry_id(info["last-entry"]),
        "groups": info["groups"],
    }
    return _table([row], list(row), f"stream {_shown_name(stream)}")


def groups_table(redis: Redis, stream: str) -> Table:
    """XINFO GROUPS: one row per group.

    Columns: group, consumers and pending (how many), last_delivered_id, lag.

    lag is the number of entries that have not been delivered to the group yet; NA if it is not
    known. https://redis.io/docs/latest/commands/xinfo-groups/

    Raises NoSuchStreamError.
    """
    with explaining_missing(redis, stream, called=without_prefix(stream)):
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
    table = _table(rows, columns, f"groups of {_shown_name(stream)}")
    table["lag"] = table["lag"].astype("Int64")
    return table


def consumers_table(redis: Redis, stream: str, group: str) -> Table:
    """XINFO CONSUMERS: one row per consumer of the group.

    Columns: consumer, pending (entries it owns), idle_ms (since it last asked for entries).
    The column `inactive` of Redis 7.2 is left out, so that the table is the same on each
    server. https://redis.io/docs/latest/commands/xinfo-consumers/

    Raises NoSuchStreamError and NoSuchGroupError.
    """
    with explaining_missing(redis, stream, group, called=without_prefix(stream)):
        consumers = redis.xinfo_consumers(stream, group)
    rows = [
        {
            "consumer": _decode(consumer["name"]),
            "pending": consumer["pending"],
            "idle_ms": consumer["idle"],
        }
        for consumer in consumers
    ]
    return _table(rows, ["consumer", "pending", "idle_ms"], f"consumers of {printable(group)}")


def pending_table(redis: Redis, stream: str, group: str, *, most: int | None = None) -> Table:
    """XPENDING: one row per pending entry, oldest first.

    most: rows at most; the caption then says how many pending entries there are. None
          (default) for every entry

    Columns: entry_id, consumer (its owner), deliveries, idle_ms (since its last delivery).
    https://redis.io/docs/latest/commands/xpending/

    Raises NoSuchStreamError, NoSuchGroupError, and ValueError if `most` is less than 1.
    """
    count = EVERY_ENTRY if most is None else check_positive("most", most)

    def ask(pipeline: Pipeline) -> None:
        pipeline.xpending(stream, group)
        pipeline.xpending_range(stream, group, min="-", max="+", count=count)

    with explaining_missing(redis, stream, group, called=without_prefix(stream)):
        summary, found = of_one_moment(redis, ask)
    rows = [
        {
            "entry_id": _decode(entry["message_id"]),
            "consumer": _decode(entry["consumer"]),
            "deliveries": entry["times_delivered"],
            "idle_ms": entry["time_since_delivered"],
        }
        for entry in found
    ]
    pending = summary["pending"]
    cut = f": the oldest {len(rows):,} of {pending:,} entries" if len(rows) < pending else ""
    columns = ["entry_id", "consumer", "deliveries", "idle_ms"]
    return _table(rows, columns, f"pending in {printable(group)}{cut}")


def dead_letters_table(redis: Redis, stream: str) -> Table:
    """The dead letters of a stream, one row each, oldest first; empty if there are none.

    Columns: letter_id (in the dead-letter stream), entry_id (in the original stream), group,
    consumer, deliveries, reason. Raises NotAStreamError if their key is not a stream.
    """
    columns = ["letter_id", "entry_id", "group", "consumer", "deliveries", "reason"]
    dead_letters = DeadLetters(redis, stream)
    dead_stream = dead_letters.dead_stream
    with explaining_missing(redis, dead_stream, called=without_prefix(dead_stream)):
        found = list(dead_letters)
    rows = [{column: getattr(letter, column) for column in columns} for letter in found]
    return _table(rows, columns, f"dead letters of {_shown_name(stream)}")


def _table(rows: list[dict[str, Any]], columns: list[str], caption: str) -> Table:
    table = Table(rows, columns=columns)
    table.attrs["caption"] = caption
    return table


def _shown_name(stream: str) -> str:
    return printable(without_prefix(stream))


def _decode(raw: bytes | str) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else raw


def _entry_id(entry: tuple[bytes, Any] | None) -> str:
    return _decode(entry[0]) if entry else "-"


def _title(column: str) -> str:
    return column.removesuffix("_ms").replace("_", " ")


def _text(value: Any, *, is_time: bool) -> str:
    if value is None or value is pd.NA or value != value:
        return "unknown"
    text = printable(str(value))
    return f"{text:>9} ms" if is_time else text
