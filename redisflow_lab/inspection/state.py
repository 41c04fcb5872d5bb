"""A stream at one moment, as the server reports it."""

from dataclasses import dataclass, field
from typing import Any

from redis import Redis, RedisCluster
from redis.client import Pipeline
from redis.exceptions import ResponseError

from redisflow_lab._internal.connection import slot_client, with_bytes
from redisflow_lab._internal.slot import check_one_slot
from redisflow_lab.inspection.lag import lag_of
from redisflow_lab.inspection.missing import (
    NoSuchStreamError,
    NotAStreamError,
    explaining_missing,
)
from redisflow_lab.inspection.moment import of_one_moment

NEWEST = 24
"""How many entries of the stream a state lists: the newest."""
MAX_PENDING = 1_000
"""How many pending entries of a group a state lists: the oldest, and all among the newest."""
MAX_DEAD = 12
"""How many dead letters a state lists: the newest."""


@dataclass(frozen=True, slots=True)
class Owned:
    """A pending entry. `consumer` is empty if it has no owner (XNACK, Redis 8.8)."""

    consumer: str
    deliveries: int
    idle_ms: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Consumer:
    """A consumer of a group. `idle_ms` is the time since it last asked for entries."""

    pending: int
    idle_ms: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Group:
    """A group of the stream.

    read:      id of the last entry that was delivered to it
    lag:       in entries; None if it is not known
    pending:   number of pending entries
    owned:     pending entries by id, oldest first; if there are many, the oldest, and those
               among the newest entries
    consumers: by name
    """

    read: str
    lag: int | None
    pending: int
    owned: dict[str, Owned]
    consumers: dict[str, Consumer]


NO_GROUP = Group("0-0", 0, 0, {}, {})
"""Stands for a group that does not exist."""


@dataclass(frozen=True, slots=True)
class State:
    """A stream, its groups and its dead letters at one moment.

    Two states are equal if they differ in idle times only.

    length:  number of entries in the stream
    added:   number of entries ever added to it
    first:   id of the oldest entry; empty if there is none
    entries: ids of the newest entries, oldest first
    groups:  by name
    dead:    number of dead letters
    letters: ids that the newest dead letters had in the stream, oldest first
    """

    length: int
    added: int
    first: str
    entries: tuple[str, ...]
    groups: dict[str, Group]
    dead: int
    letters: tuple[str, ...]


class Reader:
    """Reads the state of a stream repeatedly, each time from one moment.

    Entries are fetched only when they have changed, because they may be large.
    """

    def __init__(
        self, redis: Redis | RedisCluster, stream: str, *, called: str | None = None
    ) -> None:
        """redis:  a client of the server, or of the cluster
        called: the name of the stream in errors (default: its key)

        Raises ValueError if the dead-letter stream is in another slot of the cluster.
        """
        self._called = called
        self._stream, self._dead = stream, f"{stream}:dead"
        check_one_slot(redis, stream, self._dead)
        self._redis = slot_client(with_bytes(redis), stream)
        self._groups: tuple[str, ...] = ()
        self._many: set[str] = set()  # groups with more pending entries than are listed
        self._changing = True
        self._version: tuple[Any, ...] = ()
        self._ids: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def read(self) -> State:
        """Read the state now.

        Raises NoSuchStreamError, NotAStreamError, or redis.RedisError if the server does not
        answer or refuses.
        """
        try:
            return self._read()
        except (NoSuchStreamError, NotAStreamError):
            raise
        except ResponseError:  # the stream or a group was created or deleted in between
            self._groups = ()
            return self._read()

    def _read(self) -> State:
        with explaining_missing(self._redis, self._stream, called=self._called):
            while (state := self._try()) is None:
                pass
            return state

    def _try(self) -> State | None:
        """The state; None if its groups or entries changed, so that it must be read again."""
        asked, many, fetch = self._groups, {*self._many}, self._changing
        newest = self._ids[0][0] if self._ids[0] else "-"

        def ask(pipeline: Pipeline) -> None:
            pipeline.xinfo_stream(self._stream)
            pipeline.xinfo_groups(self._stream)
            pipeline.xlen(self._dead)
            pipeline.xrevrange(self._dead, count=MAX_DEAD if fetch else 1)
            for name in asked:
                pipeline.xinfo_consumers(self._stream, name)
                pipeline.xpending_range(self._stream, name, "-", "+", MAX_PENDING)
                since = newest if name in many else "+"
                pipeline.xpending_range(self._stream, name, since, "+", MAX_PENDING)
            if fetch:
                pipeline.xrevrange(self._stream, count=NEWEST)

        info, groups, dead, letters, *rest = of_one_moment(self._redis, ask)
        found = tuple(_text(group["name"]) for group in groups)
        first = _text(info["first-entry"][0]) if info["first-entry"] else ""
        version = (
            info["length"], info["last-generated-id"], info["entries-added"], first,
            info["max-deleted-entry-id"], dead, letters[:1],
        )  # fmt: skip
        self._groups, self._changing = found, version != self._version
        self._many = {
            _text(group["name"]) for group in groups if group["pending"] > MAX_PENDING
        }
        if fetch:
            self._version = version
            self._ids = (_ids(rest[-1]), tuple(map(_original_id, reversed(letters))))
        if found != asked or self._many - many or (self._changing and not fetch):
            return None
        of_groups = [rest[place : place + 3] for place in range(0, 3 * len(asked), 3)]
        return State(
            length=info["length"],
            added=info["entries-added"],
            first=first,
            entries=self._ids[0],
            groups={
                name: _group(group, info, *answers)
                for name, group, answers in zip(found, groups, of_groups, strict=True)
            },
            dead=dead,
            letters=self._ids[1],
        )


def order(entry_id: str) -> tuple[int, int]:
    """The sort key of an entry id."""
    milliseconds, counter = entry_id.split("-")
    return int(milliseconds), int(counter)


def _group(group: Any, info: Any, consumers: Any, oldest: Any, newest: Any) -> Group:
    return Group(
        read=_text(group["last-delivered-id"]),
        lag=lag_of(group, info),
        pending=group["pending"],
        owned={
            _text(row["message_id"]): Owned(
                _text(row["consumer"]), row["times_delivered"], row["time_since_delivered"]
            )
            for row in (*oldest, *newest)
        },
        consumers={
            _text(row["name"]): Consumer(row["pending"], row["idle"]) for row in consumers
        },
    )


def _ids(newest_first: Any) -> tuple[str, ...]:
    return tuple(_text(entry_id) for entry_id, _ in reversed(newest_first))


def _original_id(letter: Any) -> str:
    entry_id, fields = letter
    return _text(fields.get(b"dead:id", entry_id))


def _text(raw: Any) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
