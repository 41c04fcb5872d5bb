"""Exercises and predictions of chapter 10: take over what a crashed consumer left."""

from typing import Any

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import (
    Exercise,
    NotYetError,
    Wrong,
    expect_invoices,
    expect_kept,
)
from redisflow_lab.lab.workshop.scene import Pending, Scene

_HOUR_MS = 3_600_000


def _read(scene: Scene, consumer: str, count: int) -> None:
    scene.redis.xreadgroup(scene.group, consumer, {scene.orders: ">"}, count=count)


def _let_pass(scene: Scene, consumer: str, *numbers: int, idle_ms: int = 2 * _HOUR_MS) -> None:
    ids: list[Any] = [f"{number}-0" for number in numbers]
    scene.redis.xclaim(scene.orders, scene.group, consumer, 0, ids, idle=idle_ms, justid=True)


def _ids_of(rows: list[Pending]) -> str:
    return ", ".join(row.entry_id for row in rows)


class Stranded(Exercise):
    id = "10-stranded"
    goal = (
        "the set task.key('stranded') holds the name of each consumer with an order that has "
        "been idle for an hour or more, and no other name. All 12 orders stay as they are: "
        "same owner, delivered once."
    )
    given = (
        "task.redis, task.orders (12 orders, pending with alice, bob and carol in the group "
        "'billing'), task.key(name). SADD key name adds a name to a set: redis.sadd."
    )
    minutes = 5
    hints = (
        "One command lists pending orders by their idle time, with their owners.",
        "xpending_range takes idle= in ms, and its rows have a 'consumer'. Is count= enough?",
        "For each row of xpending_range(..., min='-', max='+', count=100, idle=3_600_000): "
        "sadd(task.key('stranded'), row['consumer']).",
    )
    solution = (
        "rows = task.redis.xpending_range(\n"
        '    task.orders, "billing", "-", "+", 100, idle=3_600_000)\n'
        "for row in rows:\n"
        '    task.redis.sadd(task.key("stranded"), row["consumer"])'
    )
    wrong = (
        Wrong(
            "every consumer that has something pending",
            """
            for row in task.redis.xpending(task.orders, "billing")["consumers"]:
                task.redis.sadd(task.key("stranded"), row["name"])
            """,
            "'carol' is in the set",
        ),
        Wrong(
            "the list was cut after one order",
            """
            for row in task.redis.xpending_range(
                task.orders, "billing", "-", "+", 1, idle=3_600_000
            ):
                task.redis.sadd(task.key("stranded"), row["consumer"])
            """,
            "'bob' is missing",
        ),
        Wrong(
            "read to have a look",
            """
            task.redis.xreadgroup("billing", "alice", {task.orders: "0"})
            task.redis.sadd(task.key("stranded"), "alice", "bob")
            """,
            "delivered 2 times",
        ),
        Wrong(
            "claimed to have a look",
            """
            task.redis.xautoclaim(task.orders, "billing", "carol", 3_600_000, justid=True)
            task.redis.sadd(task.key("stranded"), "alice", "bob")
            """,
            "pending with 'carol' now",
        ),
        Wrong(
            "a list",
            'task.redis.rpush(task.key("stranded"), "alice", "bob")',
            "is a list",
        ),
    )
    why = (
        "The summary of XPENDING has every consumer that works, and lag has none of them. Only "
        "the idle time of an order tells: Bob has fresh orders, and one that is two hours old."
    )
    owners = dict.fromkeys(range(1, 5), "alice")
    owners |= dict.fromkeys(range(5, 9), "bob") | dict.fromkeys(range(9, 13), "carol")

    def set(self, scene: Scene) -> None:
        scene.publish(12)
        scene.redis.xgroup_create(scene.orders, scene.group, id="0")
        for consumer in ("alice", "bob", "carol"):
            _read(scene, consumer, 4)
        _let_pass(scene, "alice", 1, 2, 3, 4)
        _let_pass(scene, "bob", 7)
        _let_pass(scene, "carol", 9, 10, idle_ms=600_000)

    def is_attempted(self, scene: Scene) -> bool:
        return bool(scene.redis.exists(scene.key("stranded")) or self._changed(scene))

    def check(self, scene: Scene) -> None:
        if changed := self._changed(scene):
            raise NotYetError(
                f"{changed} (XPENDING {scene.orders} {scene.group} - + 12).\n"
                "Run the cell with exercise(...) again. Which command only looks?"
            )
        key = scene.key("stranded")
        of_kind: Any = scene.redis.type(key)
        if (kind := of_kind.decode()) not in ("none", "set"):
            raise NotYetError(
                f"Expected a set, and {key} is a {kind} (TYPE {key}).\n"
                "Delete it: task.redis.delete(...). Which command adds to a set?"
            )
        members: Any = scene.redis.smembers(key)
        names = {name.decode(errors="replace") for name in members}
        for name in sorted(names - {"alice", "bob"}):
            raise NotYetError(
                f"{name!r} is in the set (SMEMBERS {key}), and no order of that consumer has "
                "been idle for an hour.\n"
                "Look at the idle time of each order. SREM takes a name out of the set."
            )
        for name in sorted({"alice", "bob"} - names):
            raise NotYetError(
                f"{name!r} is missing in the set (SMEMBERS {key}).\n"
                "Did you ask for all orders that have been idle for so long, or was the list "
                "cut?"
            )

    def _changed(self, scene: Scene) -> str:
        """What has become of an order that was only to be looked at; empty if nothing has."""
        rows = {row.entry_id: row for row in scene.pending()}
        for number, owner in self.owners.items():
            row = rows.get(f"{number}-0")
            if row is None:
                return f"{number}-0 was acknowledged"
            if row.consumer != owner:
                return f"{row.entry_id} was {owner}'s, and is pending with {row.consumer!r} now"
            if row.deliveries != 1:
                return f"{row.entry_id} was delivered {row.deliveries} times"
        return ""


class ClaimOld(Exercise):
    id = "10-claim-old"
    goal = (
        "carol owns each order that has been idle for an hour or more, and alice still owns "
        "the others. All five stay pending."
    )
    given = (
        "task.redis, task.orders (1-0 to 5-0, all pending with alice in the group 'billing', "
        "with different idle times)."
    )
    minutes = 4
    extra = True
    hints = (
        "You may name all five orders. What decides which of them a claim gets?",
        "The min-idle time of XCLAIM, in ms: the server checks it for each order.",
        "xclaim(task.orders, 'billing', 'carol', AN_HOUR, [all five ids]).",
    )
    solution = (
        'ids = ["1-0", "2-0", "3-0", "4-0", "5-0"]\n'
        'task.redis.xclaim(task.orders, "billing", "carol", 3_600_000, ids)'
    )
    wrong = (
        Wrong(
            "everything, whatever its idle time",
            """
            ids = ["1-0", "2-0", "3-0", "4-0", "5-0"]
            task.redis.xclaim(task.orders, "billing", "carol", 0, ids)
            """,
            "carol owns 1-0, 4-0",
        ),
        Wrong(
            "one order only",
            'task.redis.xautoclaim(task.orders, "billing", "carol", 3_600_000, count=1)',
            "alice still owns 3-0, 5-0",
        ),
        Wrong(
            "claimed and acknowledged",
            """
            old = ["2-0", "3-0", "5-0"]
            task.redis.xclaim(task.orders, "billing", "carol", 3_600_000, old)
            task.redis.xack(task.orders, "billing", *old)
            """,
            "found 2",
        ),
        Wrong(
            "for another consumer",
            'task.redis.xautoclaim(task.orders, "billing", "bob", 3_600_000)',
            "bob owns",
        ),
    )
    why = (
        "The min-idle time is checked by the server for each order, in the same step that "
        "changes the owner. So a claim that names too many orders takes no fresh one."
    )
    old = ("2-0", "3-0", "5-0")

    def set(self, scene: Scene) -> None:
        scene.publish(5)
        scene.redis.xgroup_create(scene.orders, scene.group, id="0")
        _read(scene, "alice", 5)
        _let_pass(scene, "alice", 2, 3, 5)
        _let_pass(scene, "alice", 4, idle_ms=600_000)

    def is_attempted(self, scene: Scene) -> bool:
        rows = [(row.consumer, row.deliveries) for row in scene.pending()]
        return rows != [("alice", 1)] * 5

    def check(self, scene: Scene) -> None:
        rows = scene.pending()
        command = f"XPENDING {scene.orders} {scene.group} - + 10"
        if len(rows) != 5:
            raise NotYetError(
                f"Expected 5 pending orders, found {len(rows)} ({command}).\n"
                "Run the cell with exercise(...) again. Which command ends the pending state?"
            )
        by_owner: dict[str, list[Pending]] = {}
        for row in rows:
            by_owner.setdefault(row.consumer, []).append(row)
        for other in by_owner.keys() - {"alice", "carol"}:
            raise NotYetError(
                f"{other} owns {_ids_of(by_owner[other])} ({command}).\n"
                "Run the cell with exercise(...) again. For which consumer is the claim?"
            )
        if fresh := [row for row in by_owner.get("carol", []) if row.entry_id not in self.old]:
            raise NotYetError(
                f"carol owns {_ids_of(fresh)} ({command}), and alice may be working on that.\n"
                "Run the cell with exercise(...) again. Which argument spares fresh orders?"
            )
        if left := [row for row in by_owner.get("alice", []) if row.entry_id in self.old]:
            raise NotYetError(
                f"alice still owns {_ids_of(left)}, idle for longer than an hour ({command}).\n"
                "How many orders does your command ask for?"
            )


class Sweep(Exercise):
    id = "10-sweep"
    goal = (
        "each order that has been idle for an hour or more is billed once and acknowledged. "
        "The other orders stay pending with alice, delivered once. Write the loop with "
        "XAUTOCLAIM and COUNT 1, for the consumer bob."
    )
    given = (
        "task.redis, task.orders (1-0 to 40-0, all pending with alice in the group 'billing'), "
        "task.invoices (the key of a Redis list: push Message.from_fields(fields).content)."
    )
    minutes = 5
    hints = (
        "One call looks at ten pending orders at most. What says where the next one begins?",
        "Call xautoclaim in a loop, give it the cursor of the call before, and stop when the "
        "cursor is b'0-0'. An empty answer is no reason to stop.",
        "while True: cursor, entries, _ = xautoclaim(..., cursor, count=1); then rpush and "
        "xack for each of entries; then: if cursor == b'0-0': break.",
    )
    solution = (
        "from redisflow_lab import Message\n\n"
        'r, cursor = task.redis, "0-0"\n'
        "while True:\n"
        "    cursor, entries, _ = r.xautoclaim(\n"
        '        task.orders, "billing", "bob", 3_600_000, cursor, count=1)\n'
        "    for entry_id, fields in entries:\n"
        "        r.rpush(task.invoices, Message.from_fields(fields).content)\n"
        '        r.xack(task.orders, "billing", entry_id)\n'
        '    if cursor == b"0-0":  # the end of the list\n'
        "        break"
    )
    wrong = (
        Wrong(
            "the cursor was thrown away",
            """
            from redisflow_lab import Message

            for _ in range(50):
                _, entries, _ = task.redis.xautoclaim(
                    task.orders, "billing", "bob", 3_600_000, "0-0", count=1)
                for entry_id, fields in entries:
                    task.redis.rpush(task.invoices, Message.from_fields(fields).content)
                    task.redis.xack(task.orders, "billing", entry_id)
            """,
            "21-0, 38-0 are still alice's",
        ),
        Wrong(
            "no min-idle time",
            """
            from redisflow_lab import Message

            _, entries, _ = task.redis.xautoclaim(task.orders, "billing", "bob", 0)
            for entry_id, fields in entries:
                task.redis.rpush(task.invoices, Message.from_fields(fields).content)
                task.redis.xack(task.orders, "billing", entry_id)
            """,
            "alice was working on 1-0",
        ),
        Wrong(
            "claimed and not handled",
            'task.redis.xautoclaim(task.orders, "billing", "bob", 3_600_000)',
            "pending with bob",
        ),
        Wrong(
            "acknowledged and not billed",
            """
            _, entries, _ = task.redis.xautoclaim(
                task.orders, "billing", "bob", 3_600_000)
            for entry_id, _ in entries:
                task.redis.xack(task.orders, "billing", entry_id)
            """,
            "acknowledged, and has 0 invoices",
        ),
        Wrong(
            "billed when it was claimed, and again in a replay",
            """
            from redisflow_lab import Message

            r = task.redis
            _, claimed, _ = r.xautoclaim(task.orders, "billing", "bob", 3_600_000)
            [[_, replayed]] = r.xreadgroup("billing", "bob", {task.orders: "0"})
            for _, fields in claimed + replayed:
                r.rpush(task.invoices, Message.from_fields(fields).content)
            r.xack(task.orders, "billing", *[entry_id for entry_id, _ in replayed])
            """,
            "acknowledged, and has 2 invoices",
        ),
        Wrong(
            "a fresh order was billed, too",
            solution + '\nr.rpush(task.invoices, "1 x Emma")',
            "found also '1 x Emma'",
        ),
    )
    why = (
        "An empty answer says that ten orders were fresh. Only the cursor 0-0 says that the "
        "list has been seen, so a consumer keeps the cursor from call to call."
    )
    old = {"5-0": "1 x Persuasion", "21-0": "1 x Dune", "38-0": "1 x Ulysses"}

    def set(self, scene: Scene) -> None:
        scene.publish(40)
        scene.redis.xgroup_create(scene.orders, scene.group, id="0")
        _read(scene, "alice", 40)
        _let_pass(scene, "alice", 5, 21, 38)

    def is_attempted(self, scene: Scene) -> bool:
        rows = [(row.consumer, row.deliveries) for row in scene.pending()]
        return rows != [("alice", 1)] * 40 or bool(scene.billed())

    def check(self, scene: Scene) -> None:
        rows = {row.entry_id: row for row in scene.pending()}
        command = f"XPENDING {scene.orders} {scene.group} - + 40"
        for number in range(1, 41):
            row = rows.get(f"{number}-0")
            untouched = row and (row.consumer, row.deliveries) == ("alice", 1)
            if f"{number}-0" not in self.old and not untouched:
                raise NotYetError(
                    f"alice was working on {number}-0, and it is no longer pending with her, "
                    f"delivered once ({command}).\n"
                    "Run the cell with exercise(...) again. Which orders may bob claim?"
                )
        left = [row for row in rows.values() if row.entry_id in self.old]
        if unseen := [row for row in left if row.consumer == "alice"]:
            verb = "is" if len(unseen) == 1 else "are"
            raise NotYetError(
                f"{_ids_of(unseen)} {verb} still alice's, idle for more than an hour "
                f"({command}).\n"
                "Where did your last call stop to look, and where did the next one begin?"
            )
        for row in left:
            raise NotYetError(
                f"{row.entry_id} is pending with {row.consumer} ({command}).\n"
                "It was claimed. What does a consumer do with an order after that?"
            )
        for entry_id, content in self.old.items():
            if (count := scene.billed().count(content)) != 1:
                raise NotYetError(
                    f"{entry_id}, {content!r}, was acknowledged, and has {count} invoices "
                    f"(LRANGE {scene.invoices} 0 -1).\n"
                    "Run the cell with exercise(...) again: bill each claimed order once, and "
                    "acknowledge it after that."
                )
        expect_invoices(scene, self.old.values(), "Bill each claimed order once.")
        expect_kept(scene, (entry_id for entry_id in rows if entry_id not in self.old))


CHAPTER = Chapter(
    file="10_take_over.ipynb",
    title="Take over what a crashed consumer left",
    goal="Find stranded orders, and write a consumer that claims them with XAUTOCLAIM.",
    reading=16,
    predicting=3,
    extra=11,
    builds_on=("02", "04", "05"),
    mistakes=(
        "Replaying at start is enough, whatever name the new process has.",
        "A group without lag is healthy.",
        "An empty answer of XAUTOCLAIM means that nothing is stranded.",
    ),
    skippable=(
        "What is called extra: the race, the task on claiming, the count of calls, and the "
        "helper."
    ),
    surprise=(
        "A claim answers that nothing is idle, three times, although an order was stranded an "
        "hour ago: Bob threw the cursor away."
    ),
    trouble=(
        "Nobody waits an hour here: idle times are set. If a claim finds nothing, the cell "
        "that lets time pass was left out."
    ),
    predictions={
        "10-too-early": (
            "Alice has crashed, so it seems that her orders are free. Redis does not know it: "
            "her orders have been idle for a moment only, and Bob asked for an hour."
        ),
        "10-claimed": (
            "It is tempting to think that a claim only changes the owner. Bob was sent the "
            "order with its fields, and whatever is sent to a consumer counts as a delivery."
        ),
        "10-race": (
            "Five processes at once look like a case for a lock. Redis executes one command at "
            "a time, and the first claim sets the idle time that the others ask for back to 0."
        ),
        "10-thrown-away": (
            "It looks as if a command that finds idle orders had to find this one. One call "
            "with COUNT 1 looks at ten pending orders, and the twelfth is never among them."
        ),
        "10-kept": (
            "The first call looks at ten orders and answers with the cursor 11-0. The second "
            "begins there, and two orders are left."
        ),
        "10-invoices": (
            "Two orders were acknowledged, so three were claimed and billed by Bob. One of the "
            "three had been billed before the crash, and Alice wrote three invoices, not two."
        ),
    },
    exercises=(Stranded, ClaimOld, Sweep),
)
