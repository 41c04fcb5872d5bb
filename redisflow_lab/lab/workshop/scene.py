"""The keys of a task, and what its check may look at."""

from collections.abc import Callable
from typing import Any

from redis import Redis

from redisflow_lab.interfaces import Delivery
from redisflow_lab.message import Message

BOOKS = ("Dune", "Emma", "Ulysses", "Beloved", "Persuasion")


class Scene:
    """The keys of one task on the server. They begin with the id of its exercise.

    orders:   key of the stream
    invoices: key of a list, with the content of each order that was billed
    group:    "billing"
    """

    def __init__(self, redis: Redis, key: Callable[[str], str], exercise_id: str) -> None:
        self.redis = redis
        self._prefix = key(f"{exercise_id}:")
        self.orders = f"{self._prefix}orders"
        self.invoices = f"{self._prefix}invoices"
        self.group = "billing"

    def clear(self) -> None:
        """Delete every key of the scene, also those that the learner made below its prefix."""
        for key in self.redis.scan_iter(match=f"{self._prefix}*", count=1_000):
            self.redis.unlink(key)

    def publish(self, count: int) -> None:
        """Publish so many orders, of one book each, with the ids 1-0, 2-0, ..."""
        for number in range(1, count + 1):
            message = Message("web", f"1 x {BOOKS[(number - 1) % len(BOOKS)]}")
            fields: Any = message.to_fields()
            self.redis.xadd(self.orders, fields, id=f"{number}-0")

    def bill(self, delivery: Delivery) -> None:
        """A handler that bills an order: pushes its content to `invoices`."""
        self.redis.rpush(self.invoices, delivery.message.content)

    def groups(self) -> list[str]:
        """The names of the groups."""
        return [row["name"].decode() for row in self.redis.xinfo_groups(self.orders)]

    def billed(self) -> list[str]:
        """The content of each invoice, in order."""
        invoices: Any = self.redis.lrange(self.invoices, 0, -1)
        return [content.decode() for content in invoices]

    def pending(self) -> list[str]:
        """The content of each pending order, oldest first; empty if there is no group."""
        if self.group not in self.groups():
            return []
        rows = self.redis.xpending_range(self.orders, self.group, "-", "+", 1_000)
        ids = [row["message_id"] for row in rows]
        entries: Any = [self.redis.xrange(self.orders, id_, id_) for id_ in ids]
        return [Message.from_fields(found[0][1]).content for found in entries if found]
