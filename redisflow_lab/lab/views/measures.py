"""What `Lab.change` compares: the numbers of a group at one moment."""

from typing import Any

from redis import Redis
from redis.client import Pipeline

from redisflow_lab.inspection.lag import lag_of
from redisflow_lab.inspection.missing import explaining_missing
from redisflow_lab.inspection.moment import of_one_moment
from redisflow_lab.lab.prefix import without_prefix
from redisflow_lab.lab.views.tables import EVERY_ENTRY


def measure(redis: Redis, stream: str, group: str) -> dict[str, Any]:
    """Length, last delivered id, lag, pending and deliveries of pending, from one moment.

    Raises NoSuchStreamError and NoSuchGroupError.
    """

    def ask(pipeline: Pipeline) -> None:
        pipeline.xinfo_stream(stream)
        pipeline.xinfo_groups(stream)
        pipeline.xpending_range(stream, group, min="-", max="+", count=EVERY_ENTRY)

    with explaining_missing(redis, stream, group, called=without_prefix(stream)):
        info, groups, pending = of_one_moment(redis, ask)
    row = {found["name"].decode(errors="replace"): found for found in groups}[group]
    return {
        "length": info["length"],
        "last delivered id": row["last-delivered-id"].decode(),
        "lag": lag_of(row, info),
        "pending": row["pending"],
        # may exceed 64 bits
        "deliveries of pending": sum(entry["times_delivered"] for entry in pending),
    }
