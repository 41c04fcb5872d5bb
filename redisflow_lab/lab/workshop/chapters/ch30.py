"""Exercises and predictions of chapter 30: metrics and alerts."""

from collections.abc import Iterable
from typing import Any

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import (
    Exercise,
    NotYetError,
    Wrong,
    expect,
    expect_invoices,
    expect_kept,
    expect_no_more,
)
from redisflow_lab.lab.workshop.scene import Scene, content_of

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


class Known(Exercise):
    id = "30-known"
    goal = (
        "XINFO GROUPS knows the lag of billing again, and each of the four orders that are "
        "left is billed exactly once and acknowledged."
    )
    given = (
        "task.redis, task.orders (1-0 and 2-0 are billed and acknowledged; 3-0 and 5-0 are "
        "unread; 4-0 was deleted), task.invoices, the handler task.bill, and "
        'task.worker(name, handler), whose wait_for("acked", n) waits until it has '
        "acknowledged n orders"
    )
    minutes = 4
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
        expect_no_more(scene, 4)
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


class OnCall(Exercise):
    id = "30-on-call"
    goal = (
        "bob has been given each order that has been stranded for more than ten minutes, and "
        "each that was not delivered, in whichever of the three groups that is. Every other "
        "pending order stays with its consumer, and no group was moved."
    )
    given = (
        "task.redis, task.orders (1-0 to 7-0; 5-0 was cancelled and deleted) with the groups "
        "audit, billing and shipping. A consumer called alice is at work in one group, and "
        "died in another"
    )
    minutes = 4
    hints = (
        "For each group: XINFO GROUPS shows its consumers and its last-delivered-id, and "
        "XPENDING with IDLE shows whose orders have been idle for so many milliseconds.",
        "In one group, orders are pending with a dead consumer: which command takes them over, "
        "and nothing that is younger? In another, orders were never delivered. Which command "
        "does that?",
        'task.redis.xautoclaim(task.orders, group, "bob", 600_000) takes over what is stranded '
        'in a group; task.redis.xreadgroup(group, "bob", {task.orders: ">"}) reads what is new '
        "in a group.",
    )
    solution = """\
task.redis.xautoclaim(task.orders, "shipping", "bob", 600_000)
task.redis.xreadgroup("audit", "bob", {task.orders: ">"})"""
    _CLAIM = 'task.redis.xautoclaim(task.orders, "shipping", "bob", 600_000)\n'
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
            'task.redis.xautoclaim(task.orders, "shipping", "bob", 600_000, count=1)',
            "found alice",
        ),
        Wrong(
            "claimed for a consumer that is at work already",
            'task.redis.xautoclaim(task.orders, "shipping", "carol", 600_000)',
            "found carol",
        ),
        Wrong(
            "acknowledged",
            'task.redis.xack(task.orders, "shipping", "2-0", "4-0")',
            "no consumer will be given it again",
        ),
        Wrong(
            "only claimed, in each group",
            """\
for group in ("audit", "billing", "shipping"):
    task.redis.xautoclaim(task.orders, group, "bob", 600_000)""",
            "fires: 6-0 was not delivered",
        ),
        Wrong(
            "the alert of the other group was silenced",
            _CLAIM + 'task.redis.xgroup_setid(task.orders, "audit", "$")',
            "The alert is silent, and audit never sees",
        ),
        Wrong(
            "a name, and no work",
            _CLAIM + 'task.redis.xgroup_createconsumer(task.orders, "audit", "bob")',
            "StreamGroupWithoutConsumers is silent",
        ),
    )
    why = (
        "An alert names a symptom, and the numbers of each group name the remedy: what has "
        "been idle for long is claimed, and what was never delivered is read. In billing, "
        "orders are pending with an alice, too: she is only busy. And a lag above 0 finds none "
        "of the groups."
    )

    _STRANDED = ("2-0", "4-0")
    _UNREAD = ("6-0", "7-0")
    _CANCELLED = "5-0"
    _KEPT = ("1-0", "2-0", "3-0", "4-0", "6-0", "7-0")

    def set(self, scene: Scene) -> None:
        scene.publish(7)
        redis: Any = scene.redis
        for group in ("audit", "billing", "shipping"):
            redis.xgroup_create(scene.orders, group, id="0")
        redis.xreadgroup("audit", "dave", {scene.orders: ">"}, count=4)
        redis.xack(scene.orders, "audit", "1-0", "2-0", "3-0", "4-0")
        redis.xgroup_delconsumer(scene.orders, "audit", "dave")
        redis.xreadgroup("billing", "alice", {scene.orders: ">"})
        redis.xack(scene.orders, "billing", "1-0", "2-0", "3-0", "4-0", self._CANCELLED)
        redis.xreadgroup("shipping", "alice", {scene.orders: ">"}, count=4)
        redis.xreadgroup("shipping", "carol", {scene.orders: ">"})
        redis.xack(scene.orders, "shipping", "1-0", "3-0", self._CANCELLED)
        redis.xdel(scene.orders, self._CANCELLED)
        age(scene, "shipping", "alice", self._STRANDED, HOUR_MS)

    def is_attempted(self, scene: Scene) -> bool:
        rows: Any = scene.redis.xinfo_groups(scene.orders)
        groups = [(row["name"], row["consumers"], row["last-delivered-id"]) for row in rows]
        owners = [self._owners(scene, group) for group in ("billing", "shipping")]
        return (groups, *owners, scene.ids()) != (
            [(b"audit", 0, b"4-0"), (b"billing", 1, b"7-0"), (b"shipping", 2, b"7-0")],
            dict.fromkeys(self._UNREAD, "alice"),
            dict.fromkeys(self._STRANDED, "alice") | dict.fromkeys(self._UNREAD, "carol"),
            [*self._KEPT],
        )

    @staticmethod
    def _owners(scene: Scene, group: str) -> dict[str, str]:
        return {row.entry_id: row.consumer for row in scene.pending(group)}

    def check(self, scene: Scene) -> None:
        expect_group(scene, "audit", "billing", "shipping")
        expect_kept(scene, self._KEPT)
        expect_no_more(scene, len(self._KEPT))
        self._check_those_at_work(scene)
        owners = self._owners(scene, "shipping")
        command = f"XPENDING {scene.orders} shipping - + 10"
        for entry_id in self._STRANDED:
            if entry_id not in owners:
                raise NotYetError(
                    f"{entry_id} is no longer pending in shipping ({command}).\nIt was not "
                    "handled, and no consumer will be given it again. Run the cell with "
                    "exercise(...) again."
                )
            owner = printable(owners[entry_id])
            what = f"as the consumer that has {entry_id} of shipping pending"
            meaning = "What had been idle for an hour there, and who claims it?"
            expect("bob", owner, what, command, meaning)
        self._check_audit(scene)

    def _check_those_at_work(self, scene: Scene) -> None:
        for group, name in (("billing", "alice"), ("shipping", "carol")):
            owners = self._owners(scene, group)
            for entry_id in self._UNREAD:
                if owners.get(entry_id) != name:
                    other = (
                        " The same name in another group is another consumer."
                        if group == "billing"
                        else ""
                    )
                    raise NotYetError(
                        f"{entry_id} was taken from {name} of {group} (XPENDING "
                        f"{scene.orders} {group} - + 10).\nIt had been idle for seconds, and "
                        f"its consumer is at work on it.{other} Which condition leaves it "
                        "alone? Run the cell with exercise(...) again."
                    )

    def _check_audit(self, scene: Scene) -> None:
        owners, unread = self._owners(scene, "audit"), scene.unread("audit")
        command = f"XINFO GROUPS {scene.orders}"
        for entry_id in self._UNREAD:
            if entry_id in unread:
                rows: Any = scene.redis.xinfo_groups(scene.orders)
                named = any(row["name"] == b"audit" and row["consumers"] for row in rows)
                silent = "StreamGroupWithoutConsumers is silent, but " if named else ""
                raise NotYetError(
                    f"{silent}StreamLagGrows still fires: {entry_id} was not delivered to a "
                    f"consumer of audit ({command}).\nThe lag of audit is not known, because "
                    f"{self._CANCELLED} is deleted. Which command gives it to bob?"
                )
            if entry_id not in owners:
                raise NotYetError(
                    f"{entry_id} is neither unread nor pending in audit ({command}).\nThe "
                    "alert is silent, and audit never sees this order. Run the cell with "
                    "exercise(...) again."
                )
            expect(
                "bob",
                printable(owners[entry_id]),
                f"as the consumer that has {entry_id} of audit pending",
                f"XPENDING {scene.orders} audit - + 10",
                "Which consumer is new, and free?",
            )


CHAPTER = Chapter(
    file="30_observe_and_alert.ipynb",
    title="Observe a stream, and alert on what matters",
    goal="Choose the numbers that show a broken group, and know which failures they miss.",
    reading=17,
    predicting=4,
    extra=6,
    builds_on=("10", "12"),
    mistakes=(
        "A growing lag is the sign of every failure.",
        "A hundred entries behind is worse than one.",
        "What a page does not say is zero.",
        "When lag and pending are 0, every order was handled.",
        "A dead consumer is no longer counted.",
    ),
    skippable="What is called extra: errors that only the client knows, and trimmed orders.",
    surprise="An order is deleted, nothing gets better, and a dashboard goes blank.",
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
            "Orders wait in both groups, so both should be listed. But Redis no longer knows "
            "how many wait in orders, and a number that is missing is not above 0."
        ),
        "30-dead": (
            "A failed order looks like unfinished work. It was read, so it is no lag, and "
            "after its dead letter was written it was acknowledged, so it is not pending."
        ),
        "30-trimmed": (
            "Trimming deletes entries, and leaves the pending entries list alone. So three ids "
            "are still pending, in a stream of one entry."
        ),
    },
    exercises=(Known, OnCall),
)
