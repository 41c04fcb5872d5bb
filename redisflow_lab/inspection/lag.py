"""The lag of a group: how many entries of the stream have not been delivered to it yet."""

from typing import Any, cast

from redis import Redis
from redis.client import Pipeline

from redisflow_lab.inspection.moment import of_one_moment


def stream_and_groups(redis: Redis, stream: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The replies of XINFO STREAM and XINFO GROUPS, both from the same moment.

    Raises ResponseError if the stream does not exist.
    """

    def ask(pipeline: Pipeline) -> None:
        pipeline.xinfo_stream(stream)
        pipeline.xinfo_groups(stream)

    info, groups = of_one_moment(redis, ask)
    return cast(dict[str, Any], info), cast(list[dict[str, Any]], groups)


def lag_of(group: dict[str, Any], stream: dict[str, Any]) -> int | None:
    """The lag of a group in entries, or None if it is not known.

    group, stream: as `stream_and_groups` returns them

    At either end of the stream the ids give the lag; in between, the server reports it. After
    entries were deleted or trimmed, it may report none, or one that cannot be right. Redis 7.0
    may report one that is too high and cannot be told from a right one: after a trim that took
    entries which the group had not read, until it has read to the end. Valkey 9.1 and Redis 8
    correct theirs at the group's next read.
    https://redis.io/docs/latest/commands/xinfo-groups/
    """
    if not stream["length"]:
        return 0
    delivered = _comparable(group["last-delivered-id"])
    if delivered >= _comparable(stream["last-entry"][0]):
        return 0
    if delivered < _comparable(stream["first-entry"][0]):
        return int(stream["length"])
    reported = group["lag"]
    return reported if reported is not None and 0 < reported < stream["length"] else None


def _comparable(entry_id: bytes) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split(b"-")))
