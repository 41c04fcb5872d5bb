"""`redisflow entries`, `pending` and `publish`: what is in a stream."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from redis import Redis

from redisflow_lab._internal.connection import stream_client
from redisflow_lab._internal.printable import printable
from redisflow_lab.cli.durations import for_people, seconds
from redisflow_lab.cli.output import Json, Row, show, show_json, show_line, text_of, time_of
from redisflow_lab.cli.server import HERE, Url, server_at, stream_at
from redisflow_lab.inspection.missing import explaining_missing
from redisflow_lab.message import FIELD, Message, MessageDecodeError
from redisflow_lab.producer import RedisStreamProducer
from redisflow_lab.signals import stop_on_signals

Stream = Annotated[str, typer.Argument(help="The key of the stream.")]
Group = Annotated[str, typer.Argument(help="A consumer group of it.")]

_WAIT_MS = 1_000
"""How long `--follow` waits at a time."""


def entries(
    stream: Stream,
    since: Annotated[str, typer.Option("--from", metavar="ID", help="The first id.")] = "-",
    until: Annotated[str, typer.Option("--to", metavar="ID", help="The last id.")] = "+",
    count: Annotated[int, typer.Option(min=1, help="At most so many.")] = 10,
    newest: Annotated[bool, typer.Option("--newest", help="The last ones first.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="The fields, without decoding.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print what is written from now on; one a line.")
    ] = False,
    url: Url = HERE,
    as_json: Json = False,
) -> None:
    """Show entries of a stream, decoded."""
    with server_at(url) as client:
        redis = stream_client(client, stream, block_ms=_WAIT_MS)
        redis.set_response_callback("XREVRANGE", lambda reply, **_: reply)
        if follow:
            _follow(redis, stream, raw=raw, as_json=as_json)
            return
        command = (
            ("XREVRANGE", stream, until, since) if newest else ("XRANGE", stream, since, until)
        )
        reply = redis.execute_command(*command, "COUNT", count)
    rows = [decoded(entry_id, fields, raw=raw) for entry_id, fields in reply]
    show(rows, _columns(rows, raw=raw), as_json=as_json)


def pending(
    stream: Stream,
    group: Group,
    consumer: Annotated[str, typer.Option(help="Of this one only.")] = "",
    idle: Annotated[str, typer.Option(metavar="TIME", help="Idle for at least this.")] = "0",
    count: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    url: Url = HERE,
    as_json: Json = False,
) -> None:
    """Show what a group has not acknowledged yet, the oldest first."""
    idle_ms = int(1_000 * seconds(idle))
    with stream_at(url, stream) as redis, explaining_missing(redis, stream, group):
        found: Any = redis.xpending_range(
            stream, group, "-", "+", count + 1, consumer or None, idle=idle_ms or None
        )
    found, more = found[:count], found[count:]
    rows = [
        {
            "id": row["message_id"].decode(),
            "consumer": row["consumer"].decode(errors="replace"),
            "idle_ms": row["time_since_delivered"],
            "deliveries": row["times_delivered"],
        }
        for row in found
    ]
    if as_json:
        show_json(rows)
        return
    columns = {"id": "id", "consumer": "consumer", "idle": "idle"}
    show(
        [row | {"idle": for_people(row["idle_ms"])} for row in rows],
        columns | {"deliveries": "deliveries"},
        as_json=False,
    )
    if more:
        print(f"There are more than these {count:,}: --count shows so many.")


def publish(
    stream: Stream,
    producer: Annotated[str, typer.Option(help="Who writes it.")],
    content: Annotated[str, typer.Option(help="What it says.")],
    key: Annotated[
        str, typer.Option(help="An idempotency key: written once, however often you publish.")
    ] = "",
    url: Url = HERE,
    as_json: Json = False,
) -> None:
    """Write one message, and print the id of its entry."""
    try:
        message = Message(producer, content)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    with server_at(url) as redis:
        entry_id = RedisStreamProducer(redis, stream).publish(message, key=key or None)
    if as_json:
        show_json({"id": entry_id})
    else:
        print(entry_id)


def decoded(entry_id: bytes, flat: list[bytes], *, raw: bool) -> dict[str, Any]:
    """An entry as JSON has it.

    Keys: id, at (when the server made the id, or null); with `raw`, fields: a list of [name,
    value]. Else producer, content and created_at of the message, fields (the other ones), and
    problem: why there is no message, or null.
    """
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    text = entry_id.decode()
    row: dict[str, Any] = {"id": text, "at": time_of(text)}
    if raw:
        return row | {"fields": [[text_of(name), text_of(value)] for name, value in pairs]}
    others = [[text_of(name), text_of(value)] for name, value in pairs if name != FIELD]
    try:
        message = Message.from_fields(dict(pairs))
    except MessageDecodeError as error:
        known = dict.fromkeys(("producer", "content", "created_at"))
        return row | known | {"fields": others, "problem": str(error)}
    return row | {
        "producer": message.producer,
        "content": message.content,
        "created_at": message.created_at.isoformat(),
        "fields": others,
        "problem": None,
    }


def _columns(rows: Sequence[Row], *, raw: bool) -> dict[str, str]:
    if raw:
        return {"id": "id", "at": "written", "fields": "fields"}
    columns = {"id": "id", "at": "written", "producer": "producer", "content": "content"}
    return columns | {
        key: key for key in ("fields", "problem") if any(row[key] for row in rows)
    }


def _follow(redis: Redis, stream: str, *, raw: bool, as_json: bool) -> None:
    """Print each new entry on a line, until Ctrl-C or SIGTERM."""
    last = _last_id(redis, stream)
    with stop_on_signals() as stop:
        while not stop.is_set():
            redis.xread({stream: last}, count=1, block=_WAIT_MS)
            reply = redis.execute_command("XRANGE", stream, f"({last}", "+", "COUNT", 100)
            for entry_id, fields in reply:
                last = entry_id.decode()
                row = decoded(entry_id, fields, raw=raw)
                if as_json:
                    show_line(row)
                else:
                    shown = (printable(str(value)) for value in row.values() if value)
                    print(*shown, flush=True)


def _last_id(redis: Redis, stream: str) -> str:
    """Of the newest entry; "0-0" if there is none."""
    reply = redis.execute_command("XREVRANGE", stream, "+", "-", "COUNT", 1)
    return reply[0][0].decode() if reply else "0-0"
