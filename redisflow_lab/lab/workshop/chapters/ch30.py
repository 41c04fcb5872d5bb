"""Exercises and predictions of chapter 30: metrics and alerts."""

from collections.abc import Iterable, Iterator
from typing import Any

from redisflow_lab._internal.printable import printable
from redisflow_lab.inspection.groups import look_at
from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import (
    Exercise,
    NotYetError,
    Wrong,
    expect,
    expect_invoices,
    expect_kept,
)
from redisflow_lab.lab.workshop.scene import BOOKS, Scene, content_of
from redisflow_lab.message import Message

HOUR_MS = 3_600_000


def age(
    scene: Scene, group: str, consumer: str, entry_ids: Iterable[str], idle_ms: int
) -> None:
    """Let these orders have been idle with their consumer for so long."""
    redis: Any = scene.redis
    redis.xclaim(scene.orders, group, consumer, 0, [*entry_ids], idle=idle_ms, justid=True)


def expect_group(scene: Scene, *groups: str) -> None:
    """Raise NotYetError if one of these groups was destroyed."""
    for group in groups:
        if group not in scene.groups():
            raise NotYetError(
                f"There is no group {group} any more (XINFO GROUPS {scene.orders}).\n"
                "What was pending in it is lost with it. Run the cell with exercise(...) again."
            )


class Find(Exercise):
    id = "30-find"
    goal = (
        "bob has claimed each order that has been pending for more than an hour, in whichever "
        "of the three groups it is. Every other pending order stays with its consumer."
    )
    given = (
        "task.redis, task.orders (1-0 to 6-0, with the groups audit, billing and shipping; a "
        "consumer called alice is at work in one of them, and died in another)"
    )
    minutes = 4
    hints = (
        "XPENDING with IDLE lists what has been idle for at least so many milliseconds. Ask it "
        "for each group.",
        "XAUTOCLAIM has the same condition built in: it claims nothing that is younger.",
        'task.redis.xautoclaim(task.orders, group, "bob", 3_600_000), for each group.',
    )
    solution = """\
for group in ("audit", "billing", "shipping"):
    task.redis.xautoclaim(task.orders, group, "bob", 3_600_000)"""
    wrong = (
        Wrong(
            "everything that alice has",
            """\
for group in ("audit", "billing", "shipping"):
    for row in task.redis.xpending_range(task.orders, group, "-", "+", 10, "alice"):
        task.redis.xclaim(task.orders, group, "bob", 0, [row["message_id"]])""",
            "The same name in another group is another consumer",
        ),
        Wrong(
            "everything in the group where they are",
            'task.redis.xautoclaim(task.orders, "shipping", "bob", 0)',
            "and its consumer is at work on it",
        ),
        Wrong(
            "one of them",
            'task.redis.xautoclaim(task.orders, "shipping", "bob", 3_600_000, count=1)',
            "found alice",
        ),
        Wrong(
            "claimed for a consumer that is at work already",
            'task.redis.xautoclaim(task.orders, "shipping", "carol", 3_600_000)',
            "found carol",
        ),
        Wrong(
            "acknowledged",
            'task.redis.xack(task.orders, "shipping", "2-0", "4-0")',
            "no consumer will be given it again",
        ),
    )
    why = (
        "The idle time, and not the name, tells a stranded order from one that is at work. "
        "XAUTOCLAIM asks for it on the server, so nothing can change in between."
    )

    _STRANDED = ("2-0", "4-0")
    _AT_WORK = {"billing": ("1-0", "2-0", "3-0"), "shipping": ("5-0",)}

    def set(self, scene: Scene) -> None:
        scene.publish(6)
        redis: Any = scene.redis
        for group in ("audit", "billing", "shipping"):
            redis.xgroup_create(scene.orders, group, id="0")
        redis.xreadgroup("billing", "alice", {scene.orders: ">"}, count=3)
        for group, alice in (("audit", "dave"), ("shipping", "alice")):
            redis.xreadgroup(group, alice, {scene.orders: ">"}, count=4)
        redis.xreadgroup("shipping", "carol", {scene.orders: ">"}, count=1)
        redis.xack(scene.orders, "audit", "1-0", "2-0", "3-0", "4-0")
        redis.xack(scene.orders, "shipping", "1-0", "3-0")
        age(scene, "shipping", "alice", self._STRANDED, 2 * HOUR_MS)

    def is_attempted(self, scene: Scene) -> bool:
        shipping = [("2-0", "alice"), ("4-0", "alice"), ("5-0", "carol")]
        billing = [(entry_id, "alice") for entry_id in self._AT_WORK["billing"]]
        return (self._owners(scene, "shipping"), self._owners(scene, "billing")) != (
            shipping,
            billing,
        )

    @staticmethod
    def _owners(scene: Scene, group: str) -> list[tuple[str, str]]:
        return [(row.entry_id, row.consumer) for row in scene.pending(group)]

    def check(self, scene: Scene) -> None:
        expect_group(scene, "audit", "billing", "shipping")
        owners = {group: dict(self._owners(scene, group)) for group in ("billing", "shipping")}
        for entry_id in self._AT_WORK["billing"]:
            if owners["billing"].get(entry_id) != "alice":
                raise NotYetError(
                    f"{entry_id} was taken from alice of billing (XPENDING {scene.orders} "
                    "billing - + 10).\nShe is at work there: it had been idle for seconds. The "
                    "same name in another group is another consumer. Run the cell with "
                    "exercise(...) again."
                )
        command = f"XPENDING {scene.orders} shipping - + 10"
        if owners["shipping"].get("5-0") != "carol":
            raise NotYetError(
                f"5-0 was taken from carol of shipping ({command}).\nIt had been idle for "
                "seconds, and its consumer is at work on it. Which condition leaves it alone? "
                "Run the cell with exercise(...) again."
            )
        for entry_id in self._STRANDED:
            if entry_id not in owners["shipping"]:
                raise NotYetError(
                    f"{entry_id} is no longer pending in shipping ({command}).\nIt was not "
                    "handled, and no consumer will be given it again. Run the cell with "
                    "exercise(...) again."
                )
        for entry_id in self._STRANDED:
            owner = printable(owners["shipping"][entry_id])
            what = f"as the consumer that has {entry_id} of shipping pending"
            meaning = "What had been idle for more than an hour there, and who claims it?"
            expect("bob", owner, what, command, meaning)


class Known(Exercise):
    id = "30-known"
    goal = (
        "XINFO GROUPS knows the lag of billing again, and each of the four orders that are "
        "left is billed exactly once and acknowledged."
    )
    given = (
        "task.redis, task.orders (1-0 and 2-0 are billed and acknowledged; 3-0 and 5-0 are "
        "unread; 4-0 was deleted), task.invoices, the handler task.bill, and "
        "task.worker(name, handler)"
    )
    minutes = 3
    hints = (
        "The lag is not known while a deleted entry lies ahead of the group.",
        "Which command moves a group past an entry, and gives what is left to a consumer?",
        'task.worker("bob", task.bill), and wait until it has acknowledged two orders.',
    )
    solution = """\
bob = task.worker("bob", task.bill)
bob.wait_for("acked", 2)"""
    wrong = (
        Wrong(
            "the group was moved to the end",
            'task.redis.xgroup_setid(task.orders, "billing", "$")',
            "was moved past it",
        ),
        Wrong(
            "the group was moved to the beginning, and all was billed",
            """\
task.redis.xgroup_setid(task.orders, "billing", "0")
task.worker("bob", task.bill).wait_for("acked", 4)""",
            "found 2",
        ),
        Wrong(
            "another number of entries read",
            'task.redis.xgroup_setid(task.orders, "billing", "2-0", entries_read=3)',
            "still reports no lag",
        ),
        Wrong(
            "the other unread orders were deleted",
            'task.redis.xdel(task.orders, "3-0", "5-0")',
            "cannot be brought back",
        ),
        Wrong(
            "read, and nothing else",
            'task.redis.xreadgroup("billing", "bob", {task.orders: ">"})',
            "is pending with bob",
        ),
    )
    why = (
        "Once the group has read the last entry, there is nothing behind the mark to count: "
        "the lag is 0, and known. So a running consumer cures the gap by itself, and a gap "
        "that stays means that no consumer reads."
    )

    _DELETED = "4-0"

    def set(self, scene: Scene) -> None:
        scene.publish(5)
        redis: Any = scene.redis
        redis.xgroup_create(scene.orders, scene.group, id="0")
        redis.xreadgroup(scene.group, "alice", {scene.orders: ">"}, count=2)
        redis.xack(scene.orders, scene.group, "1-0", "2-0")
        redis.rpush(scene.invoices, content_of(1), content_of(2))
        redis.xgroup_delconsumer(scene.orders, scene.group, "alice")
        redis.xdel(scene.orders, self._DELETED)

    def is_attempted(self, scene: Scene) -> bool:
        rows: Any = scene.redis.xinfo_groups(scene.orders)
        known = [(row["last-delivered-id"], row["entries-read"]) for row in rows]
        return (known, scene.ids(), len(scene.billed())) != (
            [(b"2-0", 2)],
            ["1-0", "2-0", "3-0", "5-0"],
            2,
        )

    def check(self, scene: Scene) -> None:
        expect_group(scene, scene.group)
        expect_kept(scene, ("1-0", "2-0", "3-0", "5-0"))
        command = f"XINFO GROUPS {scene.orders}"
        unread, billed = scene.unread(), scene.billed()
        for row in scene.pending():
            raise NotYetError(
                f"{row.entry_id} is pending with {printable(row.consumer)} "
                f"(XPENDING {scene.orders} {scene.group} - + 10).\n"
                "It was read, and has to be billed and then acknowledged."
            )
        for number in (3, 5):
            if f"{number}-0" not in unread and content_of(number) not in billed:
                raise NotYetError(
                    f"{number}-0 is not billed, and no consumer will be given it: the group "
                    f"was moved past it ({command}).\n"
                    "The number is right, and an order is lost. Run the cell with "
                    "exercise(...) again."
                )
        rows: Any = scene.redis.xinfo_groups(scene.orders)
        if any(row["lag"] is None for row in rows if row["name"] == scene.group.encode()):
            raise NotYetError(
                f"XINFO GROUPS still reports no lag ({command}).\n"
                f"{self._DELETED} is ahead of the group, and it is deleted. What moves a group "
                "past it without skipping an order?"
            )
        meaning = "Which orders was billing given, and were some of them billed before?"
        expect_invoices(scene, map(content_of, (1, 2, 3, 5)), meaning)


class Quiet(Exercise):
    id = "30-quiet"
    goal = (
        "none of the five rules would fire for this stream, and each of its five orders is "
        "billed exactly once and acknowledged."
    )
    given = (
        "task.redis, task.orders (five orders of an hour ago: three have been pending with "
        "alice ever since, who is dead, and two are unread), task.invoices, the "
        "handler task.bill, and task.worker(name, handler)"
    )
    minutes = 4
    hints = (
        "One alert is about what is pending, the other about what is unread. What does both, "
        "claim and read?",
        "A consumer claims what has been idle for its min_idle_ms; a worker of the lab has one "
        "minute.",
        'task.worker("bob", task.bill), and wait until it has acknowledged five orders.',
    )
    solution = """\
bob = task.worker("bob", task.bill)
bob.wait_for("acked", 5)"""
    _BOB = 'bob = task.worker("bob", task.bill{})\nbob.wait_for("acked", 2)\nbob.stop()'
    wrong = (
        Wrong(
            "the lease of the dead consumer was renewed",
            """\
for row in task.redis.xpending_range(task.orders, "billing", "-", "+", 10):
    ids = [row["message_id"]]
    task.redis.xclaim(task.orders, "billing", "alice", 0, ids, justid=True)
"""
            + _BOB.format(""),
            "only postpones the alert",
        ),
        Wrong(
            "acknowledged unread and unbilled",
            """\
ids = [row["message_id"] for row in task.redis.xpending_range(
    task.orders, "billing", "-", "+", 10)]
task.redis.xack(task.orders, "billing", *ids)
"""
            + _BOB.format(""),
            "was acknowledged, or its consumer deleted",
        ),
        Wrong(
            "the group was moved to the end",
            """\
task.redis.xgroup_setid(task.orders, "billing", "$")
bob = task.worker("bob", task.bill)
bob.wait_for("acked", 3)
bob.stop()""",
            "was moved past it",
        ),
        Wrong(
            "a consumer that does not claim for ten hours",
            _BOB.format(", min_idle_ms=36_000_000"),
            "StreamEntriesStranded still fires",
        ),
        Wrong(
            "only what was pending",
            """\
_, entries, _ = task.redis.xautoclaim(task.orders, "billing", "bob", 60_000)
from redisflow_lab import Message
for entry_id, fields in entries:
    task.redis.rpush(task.invoices, Message.from_fields(fields).content)
    task.redis.xack(task.orders, "billing", entry_id)""",
            "StreamLagGrows still fires",
        ),
        Wrong(
            "a handler that fails, and a limit of one delivery",
            """\
def fail(delivery):
    raise ValueError("no")
bob = task.worker("bob", fail, max_deliveries=1)
bob.wait_for("dead-lettered", 5)
bob.stop()""",
            "StreamDeadLetters fires",
        ),
    )
    why = (
        "One running consumer silences both alerts, because it claims and reads. Everything "
        "that silences an alert and bills no order only moves the loss to where no rule looks."
    )

    def set(self, scene: Scene) -> None:
        redis: Any = scene.redis
        then_ms = 1_000 * redis.time()[0] - HOUR_MS
        for number in range(1, len(BOOKS) + 1):
            fields = Message("web", content_of(number)).to_fields()
            redis.xadd(scene.orders, fields, id=f"{then_ms}-{number}")
        redis.xgroup_create(scene.orders, scene.group, id="0")
        redis.xreadgroup(scene.group, "alice", {scene.orders: ">"}, count=3)
        pending = [row.entry_id for row in scene.pending()]
        age(scene, scene.group, "alice", pending, HOUR_MS)

    def is_attempted(self, scene: Scene) -> bool:
        pending = [(row.consumer, row.idle_ms > HOUR_MS // 2) for row in scene.pending()]
        now = pending, len(scene.unread()), len(scene.ids()), len(scene.billed())
        dead = scene.redis.exists(f"{scene.orders}:dead")
        return bool(dead) or now != ([("alice", True)] * 3, 2, 5, 0)

    def check(self, scene: Scene) -> None:
        expect_group(scene, scene.group)
        if len(scene.ids()) < len(BOOKS):
            raise NotYetError(
                f"Expected {len(BOOKS)} orders in the stream, found {len(scene.ids())} "
                f"(XLEN {scene.orders}).\n"
                "A deleted order cannot be billed any more. Run the cell with exercise(...) "
                "again."
            )
        if dead := look_at(scene.redis, scene.orders).dead:
            raise NotYetError(
                f"StreamDeadLetters fires: {dead} of the orders failed "
                f"(XRANGE {scene.orders}:dead - +).\n"
                "Is task.bill the handler? Run the cell with exercise(...) again."
            )
        self._check_pending(scene)
        for entry_id, content in self._unbilled(scene):
            if entry_id in scene.unread():
                raise NotYetError(
                    "StreamLagGrows still fires: the oldest unread order was written an hour "
                    f"ago (XINFO GROUPS {scene.orders}).\nWho reads it?"
                )
            number = int(entry_id.partition("-")[2])
            lost = (
                "it was acknowledged, or its consumer deleted"
                if number <= 3
                else "the group was moved past it"
            )
            raise NotYetError(
                f"{entry_id} ({content}) is not billed, and no consumer will be given it: "
                f"{lost} (XPENDING {scene.orders} {scene.group}).\n"
                "All alerts are silent, and nobody will find this order. Run the cell with "
                "exercise(...) again."
            )
        if unread := scene.unread():
            raise NotYetError(
                f"{unread[0]} is billed, and the group has not read it "
                f"(XINFO GROUPS {scene.orders}).\nThe next consumer bills it a second time."
            )
        meaning = "An order was billed more than once. Who was given it?"
        expect_invoices(scene, map(content_of, range(1, len(BOOKS) + 1)), meaning)

    @staticmethod
    def _check_pending(scene: Scene) -> None:
        billed = scene.billed()
        for row in scene.pending():
            where = f"(XPENDING {scene.orders} {scene.group} - + 10)"
            who = printable(row.consumer)
            if row.content in billed:
                raise NotYetError(
                    f"{row.entry_id} is billed, and still pending with {who} {where}.\n"
                    "It will be delivered and billed again. What tells Redis that it is done?"
                )
            if row.idle_ms > 600_000:
                raise NotYetError(
                    f"StreamEntriesStranded still fires: {row.entry_id} has been pending with "
                    f"{who} for {row.idle_ms // 60_000} min {where}.\nWho claims it, and when?"
                )
            raise NotYetError(
                f"{row.entry_id} is pending with {who}, and not billed {where}.\n"
                "Its idle time began anew, which only postpones the alert. Who bills it?"
            )

    @staticmethod
    def _unbilled(scene: Scene) -> Iterator[tuple[str, str]]:
        billed = scene.billed()
        for entry_id in scene.ids():
            content = scene.content(entry_id) or ""
            if content not in billed:
                yield entry_id, content


CHAPTER = Chapter(
    file="30_observe_and_alert.ipynb",
    title="Observe a stream, and alert on what matters",
    goal="Choose the numbers that show a broken group, and know which failures they miss.",
    reading=14,
    predicting=4,
    extra=3,
    builds_on=("10", "12"),
    mistakes=(
        "A growing lag is the sign of every failure.",
        "A hundred entries behind is worse than one.",
        "What a page does not say is zero.",
        "When lag and pending are 0, every order was handled.",
        "A dead consumer is no longer counted.",
    ),
    skippable="What is called extra, and the section on what only the client knows.",
    surprise="An order is deleted, nothing gets better, and an alert goes away.",
    trouble=(
        "The page listens on a free port of 127.0.0.1 and ends with the kernel. A server that "
        "was killed shows as redisflow_up 0, and its numbers as nan: lab.server.start()."
    ),
    predictions={
        "30-lag": (
            "Three orders wait, and lag sounds like what waits. But lag counts what was not "
            "delivered, and these were delivered to alice. They are pending."
        ),
        "30-behind": (
            "300 is more than one, so both alerts seem to be about orders. But its entries are "
            "new, and the single return has waited for an hour."
        ),
        "30-cancelled": (
            "Two orders wait, so the group should be listed. But Redis no longer knows how "
            "many there are, and a number that is missing is not above 0."
        ),
        "30-dead": (
            "A failed order looks like unfinished work. It was read, so it is no lag, and "
            "after its dead letter was written it was acknowledged, so it is not pending."
        ),
        "30-series": (
            "Twenty new names look like twenty new series, or more. No label of this page is "
            "a consumer's name, so the numbers that are there only grow."
        ),
        "30-trimmed": (
            "Trimming deletes entries, and leaves the pending entries list alone. So three ids "
            "are still pending, in a stream of one entry."
        ),
    },
    exercises=(Find, Known, Quiet),
)
