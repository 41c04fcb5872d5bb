"""Makes entries idle for as long as a take-over asks, without waiting."""

from redisflow_lab.lab import Lab

MIN_IDLE_MS = 60_000
"""The default of `RedisStreamConsumer`."""


def make_idle(lab: Lab, stream: str, *entry_ids: str) -> None:
    """Set the idle time of these entries to more than `MIN_IDLE_MS`.

    A second more, because the server's clock may be set back a little at any time.
    """
    for entry_id in entry_ids:
        (row,) = lab.redis.xpending_range(stream, "billing", entry_id, entry_id, 1)
        lab.redis.xclaim(
            stream,
            "billing",
            row["consumer"],
            0,
            [entry_id],
            idle=MIN_IDLE_MS + 1_000,
            justid=True,
        )


def deliver_to(lab: Lab, stream: str, name: str, count: int) -> list[str]:
    """Deliver new entries to this name, which does nothing with them. Returns their ids."""
    ((_, entries),) = lab.redis.xreadgroup("billing", name, {stream: ">"}, count=count)
    return [entry_id.decode() for entry_id, _ in entries]
