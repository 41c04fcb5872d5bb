"""`redisflow trim` and `consumers prune`: removes what is no longer needed."""

from contextlib import suppress
from typing import Annotated

import typer
from redis import Redis
from redis.exceptions import NoPermissionError

from redisflow_lab._internal.group import Group as GroupCommands
from redisflow_lab._internal.printable import printable
from redisflow_lab.cli.asking import Yes, confirm
from redisflow_lab.cli.durations import seconds, shortly
from redisflow_lab.cli.entries import Group, Stream
from redisflow_lab.cli.output import Json, counted, show, show_json
from redisflow_lab.cli.server import HERE, Url, stream_at
from redisflow_lab.inspection.groups import status_of
from redisflow_lab.inspection.missing import NoSuchStreamError, explaining_missing
from redisflow_lab.retention import trim as trim_stream


def trim(
    stream: Stream,
    maxlen: Annotated[int | None, typer.Option(min=0, help="Keep so many entries.")] = None,
    minid: Annotated[
        str | None, typer.Option(metavar="ID", help="Keep what has this id or a later one.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Keep what is younger: 7d, 12h.")
    ] = None,
    acknowledged: Annotated[
        bool, typer.Option("--acknowledged", help="Keep what a group has not acknowledged.")
    ] = False,
    even_pending: Annotated[
        bool, typer.Option("--even-pending", help="Remove pending entries as well.")
    ] = False,
    yes: Yes = False,
    url: Url = HERE,
    as_json: Json = False,
) -> None:
    """Remove the oldest entries of a stream up to a limit, but none that is pending.

    What a group has not read yet is removed, too, unless the limit is --acknowledged.
    """
    limits = {
        "maxlen": maxlen,
        "minid": minid,
        "older_than_s": None if older_than is None else seconds(older_than),
        "acknowledged": acknowledged,
    }
    pending = "also what is pending" if even_pending else "but nothing that is pending"
    confirm(f"remove entries of {stream} for good, {pending}", yes=yes)
    with stream_at(url, stream) as redis:
        try:
            done = trim_stream(redis, stream, **limits, even_pending=even_pending)  # type: ignore[arg-type]
        except ValueError as error:
            raise typer.BadParameter(_as_options(str(error))) from None
        left = redis.xlen(stream)
        why = _what_holds(redis, stream, done.held_by) if done.held_by else ""
    if as_json:
        show_json(
            {
                "removed": done.removed,
                "pending": done.pending,
                "held_by_pending": done.held_by_pending,
                "held_by": done.held_by or None,
                "length": left,
            }
        )
        return
    print(f"{counted(done.removed, 'entry', 'entries')} removed, {left:,} left.")
    if done.pending:
        print(f"Of these, {done.pending:,} were pending: their consumers dead-letter them.")
    if why:
        print(why)


def prune(
    stream: Stream,
    group: Group,
    idle: Annotated[str, typer.Option(metavar="TIME", help="Idle for at least this: 1h.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show them.")] = False,
    yes: Yes = False,
    url: Url = HERE,
    as_json: Json = False,
) -> None:
    """Remove names of consumers that have nothing pending and ask for nothing."""
    idle_ms = int(1_000 * seconds(idle))
    with stream_at(url, stream) as redis, explaining_missing(redis, stream, group):
        commands = GroupCommands(redis, stream, group, "")
        names = commands.idle_consumers(idle_ms)
        if names and not dry_run:
            confirm(f"remove {len(names)} consumers of {group}", yes=yes)
        rows = [
            {
                "consumer": name.decode(errors="replace"),
                "removed": not dry_run and commands.remove_consumer(name),
            }
            for name in names
        ]
    show(rows, {"consumer": "consumer", "removed": "removed"}, as_json=as_json)


def _what_holds(redis: Redis, stream: str, name: str) -> str:
    """Why the group keeps the entries that are left."""
    named = printable(name)
    # Entries are removed by now: that this cannot be told must not look like a failure.
    with suppress(NoSuchStreamError, NoPermissionError):
        for group in status_of(redis, stream).groups:
            if group.name == name:
                if group.pending:
                    idle = shortly(group.oldest_idle_ms / 1_000)
                    return (
                        f"{named} holds the rest: {group.pending:,} pending, the oldest is "
                        f"{group.oldest_pending_id}, idle for {idle}. See redisflow pending."
                    )
                lag = "some entries" if group.lag is None else f"{group.lag:,} entries"
                return f"{named} holds the rest: it has not read {lag}. See redisflow inspect."
    return f"{named} holds the rest."


def _as_options(text: str) -> str:
    """A sentence about arguments, as one about options."""
    for argument, option in (
        ("older_than_s", "--older-than"), ("even_pending", "--even-pending"),
        ("maxlen", "--maxlen"), ("minid", "--minid"), ("acknowledged,", "--acknowledged,"),
    ):  # fmt: skip
        text = text.replace(argument, option)
    return text
