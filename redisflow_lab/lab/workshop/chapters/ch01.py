"""Exercises and predictions of chapter 01: write orders to a stream."""

from datetime import UTC, datetime
from typing import Any

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import (
    Exercise,
    NotYetError,
    Wrong,
    expect,
)
from redisflow_lab.lab.workshop.scene import Scene
from redisflow_lab.message import Message, MessageDecodeError

_AGAIN = "To begin anew, run the cell with exercise(...) again."


def _entries(scene: Scene) -> list[tuple[str, dict[bytes, bytes]]]:
    """All entries of the stream, oldest first."""
    found: Any = scene.redis.xrange(scene.orders)
    return [(entry_id.decode(), fields) for entry_id, fields in found]


class Readable(Exercise):
    id = "01-readable"
    goal = (
        "the newest entry decodes as a Message from mobile, with the content 3 x Beloved, "
        "created on 2025-11-03 at 22:00 UTC."
    )
    given = "task.redis, task.orders (with one entry, which is no Message and may stay)"
    minutes = 3
    hints = (
        "Make a Message first; it has to be given all three of its values.",
        "datetime(year, month, day, hour, minute, tzinfo=UTC) is a time with a zone.",
        "xadd takes a dictionary: the field is data, its value the message's to_bytes().",
    )
    solution = """\
from datetime import UTC, datetime
from redisflow_lab import Message
at = datetime(2025, 11, 3, 22, 0, tzinfo=UTC)
order = Message("mobile", "3 x Beloved", created_at=at)
task.redis.xadd(task.orders, {"data": order.to_bytes()})"""
    wrong = (
        Wrong(
            "JSON in the field",
            """\
            import json
            order = {"producer": "mobile", "content": "3 x Beloved"}
            task.redis.xadd(task.orders, {"data": json.dumps(order)})
            """,
            "not a serialized StreamMessage",
        ),
        Wrong(
            "another field",
            """\
            from redisflow_lab import Message
            order = Message("mobile", "3 x Beloved")
            task.redis.xadd(task.orders, {"message": order.to_bytes()})
            """,
            "no field b'data'",
        ),
        Wrong(
            "made now",
            """\
            from redisflow_lab import Message
            task.redis.xadd(task.orders, Message("mobile", "3 x Beloved").to_fields())
            """,
            "a Message is created now",
        ),
        Wrong(
            "22:00 in another time zone",
            """\
            from datetime import datetime, timedelta, timezone
            from redisflow_lab import Message
            at = datetime(2025, 11, 3, 22, 0, tzinfo=timezone(timedelta(hours=1)))
            order = Message("mobile", "3 x Beloved", created_at=at)
            task.redis.xadd(task.orders, order.to_fields())
            """,
            "2025-11-03 21:00",
        ),
        Wrong(
            "producer and content changed places",
            """\
            from redisflow_lab import Message
            task.redis.xadd(task.orders, Message("3 x Beloved", "mobile").to_fields())
            """,
            "as the producer",
        ),
    )
    why = (
        "A program in any language can read this entry if it knows the schema and the name of "
        "the field. Both are part of what the programs agree on."
    )

    _AT = datetime(2025, 11, 3, 22, 0, tzinfo=UTC)

    def set(self, scene: Scene) -> None:
        scene.redis.xadd(scene.orders, {"book": "Dune", "copies": "1"}, id="1-0")

    def is_attempted(self, scene: Scene) -> bool:
        return [entry_id for entry_id, _ in _entries(scene)] != ["1-0"]

    def check(self, scene: Scene) -> None:
        """Of the newest entry: earlier tries may stay."""
        look = f"XREVRANGE {scene.orders} + - COUNT 1"
        entries = _entries(scene)
        if not entries:
            raise NotYetError(f"Expected an entry, found none ({look}). {_AGAIN}")
        entry_id, fields = entries[-1]
        try:
            message = Message.from_fields(fields)
        except MessageDecodeError as error:
            raise NotYetError(
                f"Expected a Message in the newest entry, {entry_id} ({look}): {error}.\n"
                "Which field do consumers look into, and what makes the bytes?"
            ) from None
        expect("mobile", message.producer, "as the producer", look, "It is the first argument.")
        expect("3 x Beloved", message.content, "as the content", look, "Compare them closely.")
        meaning = (
            "Without created_at, a Message is created now."
            if message.created_at.year != self._AT.year
            else "Times are compared in UTC: which zone has yours?"
        )
        found = f"{message.created_at:%Y-%m-%d %H:%M}"
        expect("2025-11-03 22:00", found, "as the time in UTC", look, meaning)


class Newest(Exercise):
    id = "01-newest"
    goal = "of 1,000 orders, exactly the newest 130 are left in the stream."
    given = "task.redis, task.orders (1,000 entries, 1-0 to 1000-0)"
    minutes = 2
    hints = (
        "XTRIM always removes the oldest entries. MAXLEN says how many stay.",
        "If more are left than you asked for: which form of the command did redis-py send?",
        "xtrim has the arguments maxlen= and approximate=. The latter is True by default.",
    )
    solution = "task.redis.xtrim(task.orders, maxlen=130, approximate=False)"
    wrong = (
        Wrong(
            "redis-py's default, which is ~",
            "task.redis.xtrim(task.orders, maxlen=130)",
            "whole nodes only",
        ),
        Wrong(
            "the newest were deleted",
            """\
            newest = task.redis.xrevrange(task.orders, count=870)
            task.redis.xdel(task.orders, *[entry_id for entry_id, _ in newest])
            """,
            "which end does XTRIM",
        ),
        Wrong(
            "one too many, by its id",
            'task.redis.xtrim(task.orders, minid="870-0", approximate=False)',
            "found 131",
        ),
        Wrong(
            "too few",
            "task.redis.xtrim(task.orders, maxlen=100, approximate=False)",
            "cannot be brought back",
        ),
    )
    why = (
        "Exact trimming is approximate=False, as redis-py sends ~ by default. In production ~ "
        "is what you want: a few entries more cost less than cutting a node apart."
    )

    def set(self, scene: Scene) -> None:
        pipe = scene.redis.pipeline(transaction=False)
        fields: Any = Message("web", "x").to_fields()
        for number in range(1, 1_001):
            pipe.xadd(scene.orders, fields, id=f"{number}-0")
        pipe.execute()

    def is_attempted(self, scene: Scene) -> bool:
        entries = _entries(scene)
        return len(entries) != 1_000 or entries[-1][0] != "1000-0"

    def check(self, scene: Scene) -> None:
        ids = [entry_id for entry_id, _ in _entries(scene)]
        look = f"XLEN {scene.orders}"
        if ids[-1:] != ["1000-0"]:
            last = ids[-1] if ids else "none"
            raise NotYetError(
                f"Expected 1000-0 as the last id, found {last} (XINFO STREAM {scene.orders}).\n"
                f"The newest order must stay: which end does XTRIM remove from? {_AGAIN}"
            )
        meaning = f"Trimmed orders cannot be brought back. {_AGAIN}"
        if len(ids) > 130:
            meaning = "Does MINID remove the entry with that id, or only older ones?"
        if len(ids) % 100 == 0 and len(ids) > 130:
            meaning = "XTRIM with ~ removes whole nodes only: what does redis-py send?"
        expect(130, len(ids), "entries", look, meaning)
        expect(
            "871-0", ids[0], "as the oldest id", f"XRANGE {scene.orders} - + COUNT 1", _AGAIN
        )


class StillNeeded(Exercise):
    id = "01-still-needed"
    goal = (
        "the stream begins with the oldest order that billing still needs. It needs each order "
        "that is pending or was not delivered to it yet, and none of them is lost."
    )
    given = "task.redis, task.orders (12 orders, which billing has read in part)"
    minutes = 3
    hints = (
        "Which is the oldest order that billing still needs? All before it can go.",
        "It is pending. MINID removes what is older than an id, and keeps the id itself.",
        "xtrim with minid= and approximate=False: ~ removes nothing from a stream so short.",
    )
    solution = """\
oldest = task.redis.xpending(task.orders, "billing")["min"]
task.redis.xtrim(task.orders, minid=oldest, approximate=False)"""
    wrong = (
        Wrong(
            "only what was not delivered is kept",
            "task.redis.xtrim(task.orders, maxlen=4, approximate=False)",
            "is pending, and its entry is gone",
        ),
        Wrong(
            "orders that were not delivered are gone",
            "task.redis.xtrim(task.orders, maxlen=2, approximate=False)",
            "was never delivered",
        ),
        Wrong(
            "one less than possible",
            'task.redis.xtrim(task.orders, minid="3-0", approximate=False)',
            "which keeps the id that it names",
        ),
        Wrong(
            "acknowledged what was in the way",
            """\
            task.redis.xack(task.orders, "billing", "4-0", "7-0")
            task.redis.xtrim(task.orders, maxlen=4, approximate=False)
            """,
            "acknowledged without being billed",
        ),
        Wrong(
            "the group was moved to the end",
            """\
            task.redis.xgroup_setid(task.orders, "billing", "$")
            task.redis.xtrim(task.orders, minid="4-0", approximate=False)
            """,
            "neither unread nor pending",
        ),
    )
    why = (
        "The limit is the oldest pending entry. If nothing is pending, it is the first entry "
        "that was not delivered. With several groups, the smallest of their ids counts."
    )

    _PENDING = ("4-0", "7-0")
    _NEW = ("9-0", "10-0", "11-0", "12-0")

    def set(self, scene: Scene) -> None:
        scene.publish(12)
        scene.redis.xgroup_create(scene.orders, scene.group, id="0")
        scene.redis.xreadgroup(scene.group, "alice", {scene.orders: ">"}, count=8)
        for number in (1, 2, 3, 5, 6, 8):
            scene.redis.xack(scene.orders, scene.group, f"{number}-0")

    def is_attempted(self, scene: Scene) -> bool:
        pending = tuple(row.entry_id for row in scene.pending())
        untouched = [f"{number}-0" for number in range(1, 13)]
        return (
            scene.ids() != untouched
            or pending != self._PENDING
            or scene.unread() != [*self._NEW]
        )

    def check(self, scene: Scene) -> None:
        ids = [entry_id for entry_id, _ in _entries(scene)]
        look = f"XRANGE {scene.orders} - +"
        for new in self._NEW:
            if new not in ids:
                raise NotYetError(
                    f"Expected {new} in the stream, and it is not there ({look}).\n"
                    f"It was never delivered to {scene.group}, which can no longer read it. "
                    f"{_AGAIN}"
                )
        if scene.group not in scene.groups():
            raise NotYetError(
                f"Expected the group {scene.group}, and it is not there "
                f"(XINFO GROUPS {scene.orders}).\nIts pending entries list is gone with it. "
                f"{_AGAIN}"
            )
        pending = {row.entry_id for row in scene.pending()}
        for new in self._NEW:
            if new not in pending and new not in scene.unread():
                raise NotYetError(
                    f"Expected {new} to be unread or pending, and it is neither unread nor "
                    f"pending (XINFO GROUPS {scene.orders}, XPENDING {scene.orders} "
                    f"{scene.group} - + 20).\n"
                    f"{scene.group} is not given it any more: was the group moved, or was the "
                    f"order acknowledged? {_AGAIN}"
                )
        for owed in self._PENDING:
            if owed not in pending:
                raise NotYetError(
                    f"Expected {owed} to be pending, and it is not "
                    f"(XPENDING {scene.orders} {scene.group}).\n"
                    f"It was acknowledged without being billed: it is lost. {_AGAIN}"
                )
            if owed not in ids:
                raise NotYetError(
                    f"Expected {owed} in the stream, and it is not there ({look}).\n"
                    f"It is pending, and its entry is gone: nobody can bill it now. {_AGAIN}"
                )
        meaning = (
            "Older ones are done. MINID, which keeps the id that it names, can remove them."
        )
        expect("4-0", ids[0], "as the oldest entry", look, meaning)


CHAPTER = Chapter(
    file="01_produce.ipynb",
    title="Write orders to a stream",
    goal="Write orders that each program can read, and trim a stream without losing any.",
    reading=15,
    predicting=4,
    builds_on=("00",),
    mistakes=(
        "Any id is accepted that the stream does not hold at the moment.",
        "A pipeline is a transaction: after an error, nothing of it is written.",
        "XTRIM with ~ leaves the length that was asked for.",
        "Trimming spares what a group has not read.",
    ),
    skippable="The bytes of a message, for those who know protobuf.",
    surprise="A trim takes two orders that the group has not read, and nothing complains.",
    trouble=(
        "Ids are compared, so after stopping halfway through a section, start it again from "
        "its first cell."
    ),
    predictions={
        "01-accepted": (
            "It is tempting to compare each id with 5-0. XADD compares with the largest id so "
            "far, and that was 6-0 from the second try on."
        ),
        "01-counter": (
            "6-1 looks free, because no entry has it any more. The stream remembers the "
            "largest id that it ever had, not the largest that is left."
        ),
        "01-web": (
            "The second byte is the length of the text that follows, and not a part of the "
            "field's number. web has three letters."
        ),
        "01-pipeline": (
            "Many people take a pipeline for a transaction, in which one error undoes or stops "
            "the rest. It only saves waiting: each command succeeds or fails for itself."
        ),
        "01-about": (
            "The ~ lets more be left, never less, and only whole nodes of 100 go: with seven "
            "removed 300 are left, with eight it would be 200."
        ),
        "01-unread": (
            "Three were not delivered, and people expect Redis to keep them for the group. "
            "XTRIM looks at the length of the stream, and at no group."
        ),
    },
    exercises=(Readable, Newest, StillNeeded),
)
