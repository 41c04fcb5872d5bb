"""`redisflow partitions`: the partitions of a stream, and those without an active member."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.server_errors import explain_server_error
from redisflow_lab.cli.durations import for_people
from redisflow_lab.cli.output import Json, show
from redisflow_lab.cli.server import HERE, Url, fail, server_at
from redisflow_lab.partitions.counting import PartitionCountError
from redisflow_lab.partitions.state import Partitions, PartitionStatus

_WITHOUT_MEMBER = 3
"""The exit status if a partition has no active member."""
_COLUMNS = {
    "partition": "partition", "stream": "stream", "shard": "shard", "group": "group",
    "length": "length", "lag": "lag", "lag_s": "lag (s)", "pending": "pending",
    "oldest_idle": "oldest idle", "owner": "owner", "dead": "dead",
}  # fmt: skip
_OF_GROUP = ("lag", "lag_s", "pending", "oldest_pending_s", "oldest_idle_ms")


def partitions(
    name: Annotated[str, typer.Argument(help="The stream, without a partition's number.")],
    group: Annotated[str, typer.Argument(help="Of this group only.")] = "",
    url: Url = HERE,
    as_json: Json = False,
) -> None:
    """Show the partitions of a stream: lag, pending, and which member reads each.

    The exit status is 3 if a partition has no active member.
    """
    with server_at(url) as redis:
        try:
            statuses = Partitions(redis, name).status()
        except (PartitionCountError, ValueError) as error:
            fail(str(error))
        if not statuses:
            fail(
                f"{printable(name)} has no partitions: no PartitionedProducer or "
                "PartitionedConsumer has used that name on this server"
            )
        problems = [
            explain_server_error(each.problem, redis) for each in statuses if each.problem
        ]
    groups = sorted({found for each in statuses for found in each.members})
    if group and not problems and group not in groups:
        fail(
            f"no group '{printable(group)}' in the partitions of {printable(name)}: start its "
            "members first"
        )
    chosen = [found for found in groups if group in ("", found)]
    rows = [row for each in statuses for row in _rows(each, chosen or [None])]
    if as_json:
        show(rows, {}, as_json=True)
    else:
        has_shards = any(row["shard"] for row in rows)
        columns = {key: of for key, of in _COLUMNS.items() if has_shards or key != "shard"}
        show([*map(_for_people, rows)], columns, as_json=False)
    for sentence in _without_member(statuses, chosen):
        typer.echo(f"redisflow: {sentence}", err=True)
    if problems:
        fail(f"{len(problems)} of {len(statuses)} partitions cannot be asked: {problems[0]}")
    if any(row["group"] and not row["owner"] for row in rows):
        raise typer.Exit(_WITHOUT_MEMBER)


def _rows(each: PartitionStatus, groups: Iterable[str | None]) -> Iterator[dict[str, Any]]:
    of_group = {found.name: found for found in each.status.groups} if each.status else {}
    for group in groups:
        member, found = each.members.get(group or ""), of_group.get(group or "")
        is_empty = each.status is None and each.problem is None
        yield {
            "partition": each.number,
            "stream": each.stream,
            "shard": each.shard,
            "group": group,
            "length": each.status.length if each.status else 0 if is_empty else None,
            **{key: getattr(found, key, None) for key in _OF_GROUP},
            "owner": str(member) if member else None,
            "dead": each.status.dead if each.status else 0 if is_empty else None,
            "problem": str(each.problem) if each.problem else None,
        }


def _for_people(row: dict[str, Any]) -> dict[str, Any]:
    idle_ms = row["oldest_idle_ms"]
    without = "no active member" if row["group"] else "no group"
    return row | {
        "group": row["group"] or "",
        "oldest_idle": None if idle_ms is None else for_people(idle_ms) if idle_ms else "",
        "owner": row["owner"] or (None if row["problem"] else without),
    }


def _without_member(statuses: list[PartitionStatus], groups: list[str]) -> Iterator[str]:
    """A sentence for each group of which a member is missing."""
    for group in groups:
        members = {
            each.number: each.members[group] for each in statuses if group in each.members
        }
        missing = [number for number, member in members.items() if member is None]
        if missing:
            shares = {member.of for member in members.values() if member}
            who = "its members"
            if len(shares) == 1:
                (of,) = shares
                numbers = sorted({number % of for number in missing})
                who = f"member {_listed(numbers)} of {of}"
            yield (
                f"{printable(group)} has no active member for {len(missing)} of "
                f"{len(statuses)} partitions: {_listed(missing)}. What is published to them "
                f"waits: start {who}"
            )


def _listed(numbers: list[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}" if most else last
