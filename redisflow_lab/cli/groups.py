"""`redisflow groups delete`: removes a group that no consumer needs."""

from typing import Annotated

import typer

from redisflow_lab._internal.printable import printable
from redisflow_lab.cli.asking import Yes, confirm
from redisflow_lab.cli.entries import Group, Stream
from redisflow_lab.cli.output import Json, counted, show_json
from redisflow_lab.cli.server import HERE, Url, fail, stream_at
from redisflow_lab.inspection.groups import GroupStatus, status_of
from redisflow_lab.inspection.missing import explaining_missing

app = typer.Typer(no_args_is_help=True, help="The groups of a stream.")


@app.command()
def delete(
    stream: Stream,
    group: Group,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be lost.")
    ] = False,
    yes: Yes = False,
    url: Url = HERE,
    as_json: Json = False,
) -> None:
    """Delete a group with all that it remembers: what is pending, and how far it has read.

    The entries stay in the stream. The dead letters of the group stay, too.
    """
    with stream_at(url, stream) as redis:
        with explaining_missing(redis, stream, group):
            redis.xinfo_consumers(stream, group)
        status = status_of(redis, stream)
        found = next((each for each in status.groups if each.name == group), None)
        if found is None:
            fail(f"the group {printable(group)} has just been deleted by another command")
        if not dry_run:
            confirm(f"delete the group {_described(found)}", yes=yes)
        deleted = not dry_run and bool(redis.xgroup_destroy(stream, group))
    if as_json:
        counts = {"pending": found.pending, "lag": found.lag, "consumers": found.consumers}
        show_json({"group": group, **counts, "deleted": deleted})
    else:
        print(f"{'Deleted' if deleted else 'Not deleted'}: {_described(found)}.")


def _described(group: GroupStatus) -> str:
    lag = "an unknown number of entries" if group.lag is None else _entries(group.lag)
    consumers = counted(group.consumers, "consumer", "consumers")
    return (
        f"{printable(group.name)}, with {_entries(group.pending)} pending, {lag} not read, and "
        f"{consumers}"
    )


def _entries(number: int) -> str:
    return counted(number, "entry", "entries")
