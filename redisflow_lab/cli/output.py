"""What the commands print: tables for people, and JSON for programs."""

import base64
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from redisflow_lab._internal.printable import printable

Json = Annotated[bool, typer.Option("--json", help="Print JSON: see docs/cli.md.")]
Row = Mapping[str, Any]

_LONGEST = 60
"""How many characters of a value a table shows."""


def counted(number: int, one: str, many: str) -> str:
    """A number with its noun: "1 entry", "1,000 entries"."""
    return f"{number:,} {one if number == 1 else many}"


def show(rows: Sequence[Row], columns: Mapping[str, str], *, as_json: bool) -> None:
    """Print rows.

    columns: of the table: the key in a row, and its heading. JSON has every key
    """
    if as_json:
        show_json(rows)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for key, heading in columns.items():
        numbers = any(isinstance(row[key], int | float) for row in rows)
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row[key])) for key in columns))
    console().print(table)


def show_json(value: Any) -> None:
    """Print one JSON document."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def show_line(value: Any) -> None:
    """Print one JSON document on one line, at once."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def console() -> Console:
    """Where tables are printed: no wider than a terminal; in a file as wide as they are."""
    return Console(width=None if sys.stdout.isatty() else 100_000, highlight=False)


def text_of(raw: bytes) -> Any:
    """Bytes as JSON has them: text if they are UTF-8, else {"base64": ...}."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}


def time_of(entry_id: str) -> str | None:
    """When the server made this id, in UTC; None if a producer chose it."""
    ms = int(entry_id.split("-")[0])
    if not 1_000_000_000_000 <= ms < 10_000_000_000_000:  # from 2001 to 2286
        return None
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat(timespec="milliseconds")


def _cell(value: Any) -> str:
    match value:
        case None:
            return "?"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.1f}"
        case {"base64": str(encoded)}:
            return f"({len(base64.b64decode(encoded)):,} bytes)"
        case list() | dict():
            return printable(json.dumps(value, ensure_ascii=False), _LONGEST)
    return printable(str(value), _LONGEST)
