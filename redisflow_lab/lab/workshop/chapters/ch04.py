"""Exercises and predictions of chapter 04: crash before the acknowledgement."""

from typing import Any

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import (
    Exercise,
    NotYetError,
    Wrong,
    expect,
    expect_kept,
)
from redisflow_lab.lab.workshop.scene import Scene, content_of


class AfterDelivery(Exercise):
    id = "04-after-delivery"
    goal = (
        "alice crashes after an order was delivered to her and before it was billed, so that "
        "exactly one order is pending, it has no invoice, and exactly one other is billed."
    )
    given = (
        "task.redis, task.orders (3 orders, no group yet), the handler task.bill, and "
        "task.worker(name, handler, crash=..., batch=...)"
    )
    minutes = 4
    hints = (
        "Each read delivers up to `batch` orders, and all of them are pending at once.",
        "`crash=` names a point: the crash comes when it is reached for the `after`-th time.",
        "One order a read, and the crash at the second delivery: batch=1, after=2.",
    )
    solution = (
        'task.worker("alice", task.bill, crash="after-delivery", batch=1, after=2).wait_end()'
    )
    wrong = (
        Wrong(
            "the whole batch was delivered",
            'task.worker("alice", task.bill, crash="after-delivery").wait_end()',
            "found 3",
        ),
        Wrong(
            "the pending order is billed",
            'task.worker("alice", task.bill, crash="before-ack", batch=1).wait_end()',
            "has an invoice",
        ),
        Wrong(
            "she crashed at her first order",
            'task.worker("alice", task.bill, crash="after-delivery", batch=1).wait_end()',
            "The crash may come later",
        ),
        Wrong(
            "nothing crashed",
            'task.worker("alice", task.bill).wait_for("acked", 3)',
            "where does the process have to die?",
        ),
        Wrong(
            "bob crashed, and not alice",
            solution.replace('"alice"', '"bob"'),
            "Expected alice as owner of 2-0, found bob",
        ),
        Wrong(
            "the invoice is not that of an order",
            """\
            task.worker(
                "alice", lambda delivery: task.redis.rpush(task.invoices, "junk"),
                crash="after-delivery", batch=1, after=2,
            ).wait_end()
            """,
            "found 'junk'",
        ),
        Wrong(
            "the pending order was deleted",
            solution + '\ntask.redis.xdel(task.orders, "2-0")',
            "Expected 2-0 in the stream",
        ),
    )
    why = (
        "A crash strands what one read delivered, and nothing more. The size of the batch is "
        "the most work that a crash can strand."
    )

    def set(self, scene: Scene) -> None:
        scene.publish(3)

    def is_attempted(self, scene: Scene) -> bool:
        return bool(scene.groups() or scene.billed())

    def check(self, scene: Scene) -> None:
        pending, billed = scene.pending(), scene.billed()
        command = f"XPENDING {scene.orders} {scene.group}"
        meaning = (
            "Every order was acknowledged: where does the process have to die?"
            if not pending
            else "One read delivered more than one order. How many should it deliver here?"
        )
        expect(1, len(pending), "pending order", command, meaning)
        stranded = pending[0]
        expect(
            "alice", stranded.consumer, f"as owner of {stranded.entry_id}", f"{command} - + 10",
            "Under which name was the order read?",
        )  # fmt: skip
        expect_kept(scene, [stranded.entry_id])
        if stranded.content in billed:
            raise NotYetError(
                f"The pending order, {stranded.content!r}, has an invoice "
                f"(LRANGE {scene.invoices} 0 -1).\n"
                "The handler ran before the crash. Which instruction comes earlier?"
            )
        meaning = "The crash may come later: after how many deliveries?"
        command = f"LLEN {scene.invoices}"
        expect(1, len(billed), "invoice", command, meaning)
        others = [content_of(number) for number in (1, 2, 3)]
        if billed[0] not in others:
            raise NotYetError(
                f"Expected the invoice of an order, found {printable(repr(billed[0]), 60)} "
                f"(LRANGE {scene.invoices} 0 -1).\n"
                "An invoice is the content of its order: task.bill pushes it."
            )


class Settle(Exercise):
    id = "04-settle"
    goal = (
        "Exactly those pending orders that have an invoice are acknowledged. The others stay "
        "pending with their owners, and no invoice is added."
    )
    given = (
        "task.redis, task.orders (5 orders, two consumers were killed), and task.invoices (the "
        "key of a Redis list: the contents of the billed orders, which LRANGE answers as bytes)"
    )
    minutes = 3
    hints = (
        "For each id that is pending: which book is it, and has it an invoice?",
        "It can be done by eye, or in a loop: xrange(key, id, id) is the order of one id.",
        "One order of each consumer is billed and pending. XACK takes their ids.",
    )
    solution = """\
from redisflow_lab import Message

db, stream = task.redis, task.orders
billed = db.lrange(task.invoices, 0, -1)
for row in db.xpending_range(stream, "billing", "-", "+", 10):
    entry_id = row["message_id"]
    [(_, fields)] = db.xrange(stream, entry_id, entry_id)
    if Message.from_fields(fields).content.encode() in billed:
        db.xack(stream, "billing", entry_id)"""
    wrong = (
        Wrong(
            "everything that alice had is acknowledged",
            'task.redis.xack(task.orders, "billing", "2-0", "3-0")',
            "3-0 is not pending any more, and it has no invoice",
        ),
        Wrong(
            "bob is forgotten",
            'task.redis.xack(task.orders, "billing", "2-0")',
            "4-0 has an invoice, and it is still pending",
        ),
        Wrong(
            "alice is forgotten",
            'task.redis.xack(task.orders, "billing", "4-0")',
            "2-0 has an invoice, and it is still pending",
        ),
        Wrong(
            "bob was deleted, with what was pending with him",
            'task.redis.xgroup_delconsumer(task.orders, "billing", "bob")',
            "5-0 is not pending any more, and it has no invoice",
        ),
        Wrong(
            "the rest was billed as well",
            'task.redis.rpush(task.invoices, "1 x Ulysses")\n'
            'task.redis.xack(task.orders, "billing", "2-0", "3-0", "4-0")',
            "found 4",
        ),
        Wrong(
            "the orders that are still needed were deleted",
            solution + '\ntask.redis.xdel(task.orders, "3-0", "5-0")',
            "Expected 3-0 and 5-0 in the stream",
        ),
    )
    why = (
        "Redis knows what was delivered, and the invoices know what was billed. Only the two "
        "together tell an order that is done from one that is not."
    )

    def set(self, scene: Scene) -> None:
        scene.publish(5)
        scene.redis.xgroup_create(scene.orders, scene.group, id="0")
        for consumer, count in (("alice", 3), ("bob", 2)):
            scene.redis.xreadgroup(scene.group, consumer, {scene.orders: ">"}, count=count)
        for number in (1, 2, 4):
            scene.redis.rpush(scene.invoices, content_of(number))
        scene.redis.xack(scene.orders, scene.group, "1-0")

    def is_attempted(self, scene: Scene) -> bool:
        owners = {row.entry_id: row.consumer for row in scene.pending()}
        is_untouched = owners == {"2-0": "alice", "3-0": "alice", "4-0": "bob", "5-0": "bob"}
        return not is_untouched or len(scene.billed()) != 3

    def check(self, scene: Scene) -> None:
        command = f"LLEN {scene.invoices}"
        meaning = "This task acknowledges, and it bills nothing."
        expect(3, len(scene.billed()), "invoices", command, meaning)
        owners = {row.entry_id: row.consumer for row in scene.pending()}
        command = f"XPENDING {scene.orders} {scene.group} - + 10"
        for entry_id, owner in (("3-0", "alice"), ("5-0", "bob")):
            if entry_id not in owners:
                raise NotYetError(
                    f"{entry_id} is not pending any more, and it has no invoice ({command}).\n"
                    "It is lost now: run the cell with exercise(...) again, and compare the "
                    "invoices with the pending orders first."
                )
            expect(owner, owners[entry_id], f"as owner of {entry_id}", command)
        expect_kept(scene, ("3-0", "5-0"))
        for entry_id in ("2-0", "4-0"):
            if entry_id in owners:
                raise NotYetError(
                    f"{entry_id} has an invoice, and it is still pending ({command}).\n"
                    f"Who owns it, and which book is it? (XRANGE {scene.orders} {entry_id} "
                    f"{entry_id})"
                )


class FiveEnds(Exercise):
    id = "04-five-ends"
    goal = (
        "For alice of the group billing, 1-0 is billed and done, 2-0 is billed and pending, "
        "3-0 is pending without an invoice, 4-0 is lost (acknowledged without an invoice), "
        "and 5-0 was not delivered."
    )
    given = (
        "task.redis, task.orders (5 orders, no group yet), task.invoices (RPUSH the content "
        "of an order to bill it), and Message.from_fields(fields).content"
    )
    minutes = 4
    hints = (
        "The commands are XGROUP CREATE from 0, XREADGROUP, RPUSH and XACK.",
        "Four orders are delivered: xreadgroup(..., count=4). Two of them are billed.",
        "Bill 1-0 and 2-0. Acknowledge 1-0 and 4-0.",
    )
    solution = """\
from redisflow_lab import Message

db, stream = task.redis, task.orders
db.xgroup_create(stream, "billing", id="0")
[(_, entries)] = db.xreadgroup("billing", "alice", {stream: ">"}, count=4)
for entry_id, fields in entries:
    if entry_id in (b"1-0", b"2-0"):
        db.rpush(task.invoices, Message.from_fields(fields).content)
    if entry_id in (b"1-0", b"4-0"):
        db.xack(stream, "billing", entry_id)"""
    wrong = (
        Wrong(
            "all five were delivered",
            solution.replace(", count=4", ""),
            "5-0: expected not delivered",
        ),
        Wrong(
            "everything that is billed is acknowledged",
            solution.replace('(b"1-0", b"4-0")', '(b"1-0", b"2-0", b"4-0")'),
            "2-0: expected pending with an invoice",
        ),
        Wrong(
            "the lost order is still pending",
            solution.replace('(b"1-0", b"4-0")', '(b"1-0",)'),
            "4-0: expected acknowledged without an invoice",
        ),
        Wrong(
            "the third order is billed",
            solution.replace('(b"1-0", b"2-0")', '(b"1-0", b"2-0", b"3-0")'),
            "3-0: expected pending without an invoice",
        ),
        Wrong(
            "the group begins at the end of the stream",
            'task.redis.xgroup_create(task.orders, "billing", id="$")\n'
            'task.redis.xreadgroup("billing", "alice", {task.orders: ">"}, count=4)',
            "The group begins behind the five orders",
        ),
    )
    why = (
        "Delivered, billed and acknowledged are three facts in two places. A crash can come "
        "between any two of them, and only the right sequence of commands makes it harmless."
    )

    _ENDS = (
        ("1-0", "acknowledged with an invoice"),
        ("2-0", "pending with an invoice"),
        ("3-0", "pending without an invoice"),
        ("4-0", "acknowledged without an invoice"),
        ("5-0", "not delivered without an invoice"),
    )

    def set(self, scene: Scene) -> None:
        scene.publish(5)

    def is_attempted(self, scene: Scene) -> bool:
        return bool(scene.groups() or scene.billed())

    def check(self, scene: Scene) -> None:
        command = f"XINFO GROUPS {scene.orders}"
        if scene.group not in scene.groups():
            raise NotYetError(f"There is no group billing yet ({command}).")
        rows: Any = scene.redis.xinfo_groups(scene.orders)
        [group] = [row for row in rows if row["name"].decode() == scene.group]
        last = int(group["last-delivered-id"].decode().split("-")[0])
        owners = {row.entry_id: row.consumer for row in scene.pending()}
        if last >= 5 and not owners and not scene.billed():
            raise NotYetError(
                f"The group begins behind the five orders, so none is delivered ({command}).\n"
                "Run the cell with exercise(...) again. From which id does a group begin that "
                "reads everything?"
            )
        billed = scene.billed()
        for number, (entry_id, expected) in enumerate(self._ENDS, start=1):
            state = (
                "pending"
                if entry_id in owners
                else "acknowledged"
                if number <= last
                else "not delivered"
            )
            invoice = "with" if content_of(number) in billed else "without"
            found = f"{state} {invoice} an invoice"
            if found != expected:
                raise NotYetError(
                    f"{entry_id}: expected {expected}, found {found} (XPENDING {scene.orders} "
                    f"{scene.group} - + 10, LRANGE {scene.invoices} 0 -1).\n"
                    "To begin anew, run the cell with exercise(...) again."
                )
        for entry_id, owner in owners.items():
            command = f"XPENDING {scene.orders} {scene.group} - + 10"
            expect("alice", owner, f"as owner of {entry_id}", command)
        command = f"LLEN {scene.invoices}"
        expect(2, len(billed), "invoices", command, "Was an order billed twice?")


CHAPTER = Chapter(
    file="04_crash_before_ack.ipynb",
    title="Crash before the acknowledgement",
    goal="Say what a crash leaves behind, from the instruction at which it happened.",
    reading=15,
    predicting=4,
    builds_on=("02",),
    mistakes=(
        "Redis notices that a consumer has died, and gives its orders to another one.",
        "Acknowledging first is safer, because no order is billed twice.",
        "An order can be acknowledged only by the consumer that owns it.",
        "What is acknowledged is done.",
    ),
    skippable=(
        "The task 04-five-ends; and if chapter 13 follows on the same day, the section on "
        "acknowledging first."
    ),
    surprise=(
        "In the pending list the order that was billed looks exactly like the one that was not."
    ),
    trouble="Each section makes its five orders anew, so any cell may be run again.",
    predictions={
        "04-invoices": (
            "Five orders were delivered, and two are acknowledged: neither is the number of "
            "invoices. The third order was billed before the crash."
        ),
        "04-pending": (
            "Pending is what was delivered and is not acknowledged, billed or not. The third "
            "order is billed and pending, and the last two were delivered with the first."
        ),
        "04-bob": (
            "Many people expect the group to notice that Alice died. Redis keeps no connection "
            "between the name of a consumer and a process: the orders are still Alice's."
        ),
        "04-not-the-owner": (
            "It would be natural that only the owner may acknowledge. But XACK names a group "
            "and an id and no consumer, so Redis has nothing to compare the owner with."
        ),
        "04-lost": (
            "4-0 and 5-0 were not finished either, so one thinks of them. But "
            "they are pending, so they can be read again. 3-0 was acknowledged before the kill."
        ),
    },
    exercises=(AfterDelivery, Settle, FiveEnds),
)
