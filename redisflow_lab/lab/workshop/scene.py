"""The keys of a task, and queries for its check."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from redis import Redis

from redisflow_lab.interfaces import Delivery
from redisflow_lab.message import Message, MessageDecodeError

if TYPE_CHECKING:  # most labs have one server, and do not import this
    from redisflow_lab.lab.server.node import Node

ONE_SERVER: "Mapping[str, Node]" = MappingProxyType({})
"""The nodes of a lab that has one server."""

BOOKS = ("Dune", "Emma", "Ulysses", "Beloved", "Persuasion")


def content_of(number: int) -> str:
    """The content of the order that `Scene.publish` writes with this number."""
    return f"1 x {BOOKS[(number - 1) % len(BOOKS)]}"


@dataclass(frozen=True)
class Pending:
    """One row of the pending entries list.

    content: of the order; None if the entry is gone or is not a message
    """

    entry_id: str
    content: str | None
    consumer: str
    deliveries: int
    idle_ms: int


class Scene:
    """The keys of one task on the server. They begin with the id of its exercise.

    orders:   key of the stream
    invoices: key of a list, with the content of each order that was billed
    group:    "billing"
    nodes:    the servers of a lab that has several, by name
    """

    def __init__(
        self,
        redis: Redis,
        key: Callable[[str], str],
        exercise_id: str,
        nodes: "Mapping[str, Node]" = ONE_SERVER,
    ) -> None:
        self.redis = redis
        self.nodes = nodes
        self._prefix = key(f"{exercise_id}:")
        # A partition's name begins with a brace.
        self._patterns = (f"{self._prefix}*", f"{{{self._prefix}*")
        self.orders, self.invoices = self.key("orders"), self.key("invoices")
        self.group = "billing"

    def key(self, name: str) -> str:
        """The full key of a name in this task."""
        return f"{self._prefix}{name}"

    def clear(self) -> None:
        """Delete every key of the scene, including those that the learner made."""
        for key in self._keys():
            self.redis.unlink(key)

    def types(self) -> list[tuple[str, str]]:
        """The keys of the scene, each with its type."""
        return [(_text(key), _text(self.redis.type(key))) for key in sorted(self._keys())]

    def _keys(self) -> Iterator[bytes]:
        for pattern in self._patterns:
            yield from self.redis.scan_iter(match=pattern, count=1_000)

    def publish(self, count: int) -> None:
        """Publish `count` orders, of one book each, with the ids 1-0, 2-0, ..."""
        for number in range(1, count + 1):
            fields: Any = Message("web", content_of(number)).to_fields()
            self.redis.xadd(self.orders, fields, id=f"{number}-0")

    def bill(self, delivery: Delivery) -> None:
        """A handler that bills an order: pushes its content to `invoices`."""
        self.redis.rpush(self.invoices, delivery.message.content)

    def groups(self) -> list[str]:
        """The names of the groups."""
        return [row["name"].decode() for row in self.redis.xinfo_groups(self.orders)]

    def ids(self) -> list[str]:
        """The ids of the entries in the stream, oldest first."""
        return self._ids_after("-")

    def unread(self, group: str | None = None) -> list[str]:
        """The ids of the entries that the group has not read; all if there is no group.

        group: None for "billing"
        """
        rows: Any = self.redis.xinfo_groups(self.orders)
        read = {row["name"].decode(): row["last-delivered-id"].decode() for row in rows}
        return self._ids_after(f"({read.get(group or self.group, '0-0')}")

    def deleted(self, entry_ids: Iterable[str]) -> list[str]:
        """Those of these ids that are no longer in the stream."""
        there = {*self.ids()}
        return [entry_id for entry_id in entry_ids if entry_id not in there]

    def _ids_after(self, start: str) -> list[str]:
        found: Any = self.redis.xrange(self.orders, start, "+")
        return [entry_id.decode() for entry_id, _ in found]

    def billed(self) -> list[str]:
        """The content of each invoice, in order."""
        invoices: Any = self.redis.lrange(self.invoices, 0, -1)
        return [content.decode() for content in invoices]

    def pending(self, group: str | None = None) -> list[Pending]:
        """The pending orders, oldest first; empty if there is no group.

        group: None for "billing"
        """
        group = group or self.group
        if group not in self.groups():
            return []
        rows: Any = self.redis.xpending_range(self.orders, group, "-", "+", 1_000)
        return [
            Pending(
                entry_id=row["message_id"].decode(),
                content=self.content(row["message_id"].decode()),
                consumer=row["consumer"].decode(),
                deliveries=row["times_delivered"],
                idle_ms=row["time_since_delivered"],
            )
            for row in rows
        ]

    def content(self, entry_id: str) -> str | None:
        """The content of an order; None if the entry is gone or is not a message."""
        found: Any = self.redis.xrange(self.orders, entry_id, entry_id)
        try:
            return Message.from_fields(found[0][1]).content if found else None
        except MessageDecodeError:
            return None


def _text(raw: Any) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
