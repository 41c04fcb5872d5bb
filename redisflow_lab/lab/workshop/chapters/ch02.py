"""Exercises and predictions of chapter 02: consume and acknowledge."""

from collections import Counter
from typing import Any

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import (
    Exercise,
    NotYetError,
    Wrong,
    expect,
    expect_kept,
)
from redisflow_lab.lab.workshop.scene import Scene


def _position(scene: Scene, group: str = "billing") -> str:
    """The last id that was delivered to a group; empty if there is no such group."""
    rows: Any = scene.redis.xinfo_groups(scene.orders)
    found = [row for row in rows if row["name"].decode() == group]
    return found[0]["last-delivered-id"].decode() if found else ""


def _need_group(scene: Scene, group: str, meaning: str) -> None:
    if group not in scene.groups():
        there = ", ".join(scene.groups()) or "no group"
        raise NotYetError(
            f"Expected a group {group!r}, found {there} (XINFO GROUPS {scene.orders}).\n"
            f"{meaning}"
        )


def _begins_at_end(scene: Scene, group: str) -> bool:
    """Whether a group was created after the last order, and has never been given one."""
    rows: Any = scene.redis.xinfo_groups(scene.orders)
    found = [row for row in rows if row["name"].decode() == group]
    return _position(scene, group) == "4-0" and not found[0]["entries-read"]


class AcknowledgeOne(Exercise):
    id = "02-acknowledge-one"
    goal = (
        "All four orders are delivered to alice in the group billing, and only 2-0 is "
        "acknowledged: the other three are pending with alice."
    )
    given = "task.redis, task.orders (4 orders, no group yet)"
    minutes = 3
    hints = (
        "Three commands: create the group, read, acknowledge.",
        "Create the group before the first order. One read can deliver all four.",
        "xgroup_create(..., id='0'), xreadgroup(...) without count, xack(..., '2-0').",
    )
    solution = """\
task.redis.xgroup_create(task.orders, "billing", id="0")
task.redis.xreadgroup("billing", "alice", {task.orders: ">"})
task.redis.xack(task.orders, "billing", "2-0")"""
    wrong = (
        Wrong(
            "the order was deleted instead",
            """
            task.redis.xgroup_create(task.orders, "billing", id="0")
            task.redis.xreadgroup("billing", "alice", {task.orders: ">"})
            task.redis.xdel(task.orders, "2-0")
            """,
            "removes an entry for every group",
        ),
        Wrong(
            "the group was created at the end",
            """
            task.redis.xgroup_create(task.orders, "billing")
            task.redis.xreadgroup("billing", "alice", {task.orders: ">"})
            task.redis.xack(task.orders, "billing", "2-0")
            """,
            "was the group created at $",
        ),
        Wrong(
            "only the order to acknowledge was delivered",
            """
            task.redis.xgroup_create(task.orders, "billing", id="1-0")
            task.redis.xreadgroup("billing", "alice", {task.orders: ">"}, count=1)
            task.redis.xack(task.orders, "billing", "2-0")
            """,
            "were never delivered",
        ),
        Wrong(
            "another group was acknowledged",
            """
            task.redis.xgroup_create(task.orders, "billing", id="0")
            task.redis.xreadgroup("billing", "alice", {task.orders: ">"})
            task.redis.xack(task.orders, "shipping", "2-0")
            """,
            "2-0 is still pending",
        ),
        Wrong(
            "the second read took the rest for bob",
            """
            task.redis.xgroup_create(task.orders, "billing", id="0")
            task.redis.xreadgroup("billing", "alice", {task.orders: ">"}, count=2)
            task.redis.xreadgroup("billing", "bob", {task.orders: ">"}, count=2)
            task.redis.xack(task.orders, "billing", "2-0")
            """,
            "owned by alice",
        ),
    )
    why = (
        "XACK names single entries, in any order. It does not say that everything up to an "
        "entry is done, as a committed offset does in other systems."
    )

    def set(self, scene: Scene) -> None:
        scene.publish(4)

    def is_attempted(self, scene: Scene) -> bool:
        return bool(scene.groups()) or scene.redis.xlen(scene.orders) != 4

    def check(self, scene: Scene) -> None:
        expect(
            4, scene.redis.xlen(scene.orders), "entries in the stream", f"XLEN {scene.orders}",
            "XDEL removes an entry for every group, and it stays in the pending entries list. "
            "Which command says that it is done?",
        )  # fmt: skip
        _need_group(scene, "billing", "XGROUP CREATE makes one.")
        pending = scene.pending()
        ids = [row.entry_id for row in pending]
        if ids != ["1-0", "3-0", "4-0"]:
            raise NotYetError(
                f"Expected 1-0, 3-0, 4-0 to be pending, found {', '.join(ids) or 'nothing'} "
                f"(XPENDING {scene.orders} billing - + 10).\n{self._meaning(scene, ids)}"
            )
        strangers = {row.consumer for row in pending} - {"alice"}
        if strangers:
            raise NotYetError(
                f"Expected all pending orders to be owned by alice, found {strangers.pop()} "
                f"too (XINFO CONSUMERS {scene.orders} billing).\n"
                "Which name did each read have?"
            )

    def _meaning(self, scene: Scene, ids: list[str]) -> str:
        if "2-0" in ids:
            return "2-0 is still pending. What did XACK answer? It needs the group and the id."
        if ids or _position(scene) != "4-0":
            return (
                "The others were acknowledged as well, or they were never delivered. What do "
                "lag and pending say in XINFO GROUPS?"
            )
        return "Was everything acknowledged, or was the group created at $, after all orders?"


class TwoGroups(Exercise):
    id = "02-two-groups"
    goal = (
        "The groups billing and shipping are each given all four orders. In billing, alice and "
        "bob have two pending orders each; in shipping, carol has all four."
    )
    given = "task.redis, task.orders (4 orders, no group yet)"
    minutes = 4
    hints = (
        "Consumers of one group share the orders; each group is given all of them.",
        "Two groups, both created at 0, and three reads.",
        "COUNT is how many orders a read may take: count=2 for alice and for bob.",
    )
    solution = """\
for group in ("billing", "shipping"):
    task.redis.xgroup_create(task.orders, group, id="0")
new = {task.orders: ">"}
task.redis.xreadgroup("billing", "alice", new, count=2)
task.redis.xreadgroup("billing", "bob", new, count=2)
task.redis.xreadgroup("shipping", "carol", new)"""
    wrong = (
        Wrong(
            "all three are in one group",
            """
            r, orders = task.redis, task.orders
            r.xgroup_create(orders, "billing", id="0")
            r.xreadgroup("billing", "alice", {orders: ">"}, count=2)
            r.xreadgroup("billing", "bob", {orders: ">"}, count=2)
            r.xreadgroup("billing", "carol", {orders: ">"})
            """,
            "Consumers of one group share",
        ),
        Wrong(
            "alice took everything",
            """
            r, orders = task.redis, task.orders
            for group in ("billing", "shipping"):
                r.xgroup_create(orders, group, id="0")
            r.xreadgroup("billing", "alice", {orders: ">"})
            r.xreadgroup("billing", "bob", {orders: ">"})
            r.xreadgroup("shipping", "carol", {orders: ">"})
            """,
            "Without COUNT",
        ),
        Wrong(
            "shipping was created at the end",
            """
            r, orders = task.redis, task.orders
            r.xgroup_create(orders, "billing", id="0")
            r.xgroup_create(orders, "shipping")
            r.xreadgroup("billing", "alice", {orders: ">"}, count=2)
            r.xreadgroup("billing", "bob", {orders: ">"}, count=2)
            r.xreadgroup("shipping", "carol", {orders: ">"})
            """,
            "shipping begins at the end of the stream",
        ),
        Wrong(
            "billing was created at the end",
            """
            r, orders = task.redis, task.orders
            r.xgroup_create(orders, "billing")
            r.xgroup_create(orders, "shipping", id="0")
            r.xreadgroup("billing", "alice", {orders: ">"}, count=2)
            r.xreadgroup("billing", "bob", {orders: ">"}, count=2)
            r.xreadgroup("shipping", "carol", {orders: ">"})
            """,
            "billing begins at the end of the stream",
        ),
        Wrong(
            "the orders of billing were acknowledged",
            """
            r, orders = task.redis, task.orders
            for group in ("billing", "shipping"):
                r.xgroup_create(orders, group, id="0")
            for name in ("alice", "bob"):
                found = r.xreadgroup("billing", name, {orders: ">"}, count=2)
                r.xack(orders, "billing", *[entry_id for entry_id, _ in found[0][1]])
            r.xreadgroup("shipping", "carol", {orders: ">"})
            """,
            "all that was delivered is acknowledged",
        ),
        Wrong(
            "the stream was emptied",
            solution + "\ntask.redis.xtrim(task.orders, maxlen=0, approximate=False)",
            "Expected 1-0, 2-0, 3-0 and 4-0 in the stream",
        ),
    )
    why = (
        "Position and pending entries list belong to the group. A second group costs no second "
        "copy of the entries, and one slow group does not hold up the other."
    )

    _ORDERS = ("1-0", "2-0", "3-0", "4-0")

    def set(self, scene: Scene) -> None:
        scene.publish(4)

    def is_attempted(self, scene: Scene) -> bool:
        return bool(scene.groups() or scene.deleted(self._ORDERS))

    def check(self, scene: Scene) -> None:
        expect_kept(scene, self._ORDERS)
        meaning = "Consumers of one group share its orders. Which work needs a copy of its own?"
        for group in ("billing", "shipping"):
            _need_group(scene, group, meaning)
        self._compare(scene, "billing", {"alice": 2, "bob": 2})
        self._compare(scene, "shipping", {"carol": 4})

    def _compare(self, scene: Scene, group: str, expected: dict[str, int]) -> None:
        found = Counter(row.consumer for row in scene.pending(group))
        if found == expected:
            return
        if sum(found.values()) == 4:
            meaning = "Without COUNT, one read takes all that is there."
        elif _begins_at_end(scene, group):
            meaning = (
                f"{group} begins at the end of the stream, $, so it is given none of the four. "
                "At which position should it begin?"
            )
        elif found or _position(scene, group) != "4-0":
            meaning = "Not all four were read, or some are acknowledged already. What is lag?"
        else:
            meaning = "Nothing is pending: all that was delivered is acknowledged."
        raise NotYetError(
            f"Expected pending in {group}: {_counts(expected)}; found {_counts(found)} "
            f"(XPENDING {scene.orders} {group}).\n{meaning}"
        )


def _counts(pending: dict[str, int]) -> str:
    """How many each consumer has, in words."""
    return ", ".join(f"{name} {n}" for name, n in sorted(pending.items())) or "nothing"


class FailingHandler(Exercise):
    id = "02-failing-handler"
    goal = (
        "Your loop has billed Dune, Ulysses and Beloved once each and acknowledged them. "
        "Emma's card is declined: the handler raises, there is no invoice for 1 x Emma, and "
        "the order is pending with alice in billing."
    )
    given = (
        "task.redis, task.orders (4 orders, no group yet), and task.invoices, the key of "
        "a Redis list to which an invoice is pushed, such as '1 x Dune'. Copy what you need "
        "from the loop above."
    )
    minutes = 5
    hints = (
        "Start from consume() above, and use task.orders and task.invoices in it.",
        "An order that raised must skip XACK, and the loop must reach the next order.",
        "try: ... except ValueError: continue, and XACK after the try statement.",
    )
    solution = """\
from redisflow_lab import Message
task.redis.xgroup_create(task.orders, "billing", id="0")
found = task.redis.xreadgroup("billing", "alice", {task.orders: ">"})
for entry_id, fields in found[0][1]:
    try:
        content = Message.from_fields(fields).content
        if "Emma" in content:
            raise ValueError("the card was declined")
        task.redis.rpush(task.invoices, content)
    except ValueError:
        continue
    task.redis.xack(task.orders, "billing", entry_id)"""
    _LOOP = """
from redisflow_lab import Message
r, orders = task.redis, task.orders
r.xgroup_create(orders, "billing", id="0")
def bill(fields):
    content = Message.from_fields(fields).content
    if "Emma" in content:
        raise ValueError("the card was declined")
    r.rpush(task.invoices, content)
entries = r.xreadgroup("billing", "alice", {orders: ">"})[0][1]
"""
    wrong = (
        Wrong(
            "the exception ended the loop",
            _LOOP
            + """
try:
    for entry_id, fields in entries:
        bill(fields)
        r.xack(orders, "billing", entry_id)
except ValueError:
    pass
""",
            "did the loop go on",
        ),
        Wrong(
            "it is acknowledged whether it failed or not",
            _LOOP
            + """
for entry_id, fields in entries:
    try:
        bill(fields)
    except ValueError:
        pass
    finally:
        r.xack(orders, "billing", entry_id)
""",
            "It is lost",
        ),
        Wrong(
            "nothing is acknowledged",
            _LOOP
            + """
for entry_id, fields in entries:
    try:
        bill(fields)
    except ValueError:
        continue
""",
            "would be billed again",
        ),
        Wrong(
            "the group begins at the end of the stream",
            """
            task.redis.xgroup_create(task.orders, "billing")
            task.redis.xreadgroup("billing", "alice", {task.orders: ">"})
            """,
            "begins at the end of the stream",
        ),
        Wrong(
            "the invoices are pushed to another list",
            _LOOP.replace("task.invoices", 'task.invoices + "-too"')
            + """
for entry_id, fields in entries:
    try:
        bill(fields)
    except ValueError:
        continue
    r.xack(orders, "billing", entry_id)
""",
            "belong in task.invoices",
        ),
        Wrong(
            "Emma was billed, too",
            _LOOP
            + """
for entry_id, fields in entries:
    r.rpush(task.invoices, Message.from_fields(fields).content)
    r.xack(orders, "billing", entry_id)
""",
            "an invoice for 1 x Emma",
        ),
    )
    why = (
        "The place of XACK decides what a failure costs: after the work, and only if the work "
        "succeeded, a failed order stays pending, and it is the only one."
    )

    def set(self, scene: Scene) -> None:
        scene.publish(4)

    def is_attempted(self, scene: Scene) -> bool:
        return bool(scene.groups() or scene.billed())

    def check(self, scene: Scene) -> None:
        _need_group(scene, "billing", "XGROUP CREATE makes one. Where should it begin?")
        if _begins_at_end(scene, "billing"):
            raise NotYetError(
                "Expected four orders to be delivered, found none "
                f"(XINFO GROUPS {scene.orders}).\nThe group billing begins at the end of the "
                f"stream, $, after all four orders. Destroy it: XGROUP DESTROY {scene.orders} "
                "billing. Where should it begin?"
            )
        billed, pending = scene.billed(), scene.pending()
        listed = f"LRANGE {scene.invoices} 0 -1"
        owners = ", ".join(f"{row.entry_id} with {row.consumer}" for row in pending)
        is_acknowledged = _position(scene) == "4-0" and len(pending) < 4
        if is_acknowledged and not billed:
            raise NotYetError(
                f"Orders are acknowledged, and there is no invoice ({listed}).\nThe invoices "
                "belong in task.invoices. Does your handler push to another list? Run the "
                "cell with exercise(...) to begin anew."
            )
        if "1 x Emma" in billed:
            raise NotYetError(
                f"Expected no invoice for Emma, found an invoice for 1 x Emma ({listed}).\n"
                "Her card is declined: the handler must raise before it pushes the invoice."
            )
        if "2-0" not in [row.entry_id for row in pending]:
            raise NotYetError(
                "Expected 2-0, the order of Emma, to be pending; it is neither pending "
                f"(XPENDING {scene.orders} billing - + 10) nor billed ({listed}).\nIt is lost, "
                "or it was never delivered. When is XACK reached, after a failure?"
            )
        expect(
            "1 x Beloved, 1 x Dune, 1 x Ulysses", ", ".join(sorted(billed)) or "nothing",
            "as invoices", listed,
            "After Emma's order had failed, did the loop go on to the next one?",
        )  # fmt: skip
        expect(
            "2-0 with alice", owners, "pending", f"XPENDING {scene.orders} billing - + 10",
            "What is billed and still pending would be billed again. Where is XACK?",
        )  # fmt: skip


CHAPTER = Chapter(
    file="02_consume_and_acknowledge.ipynb",
    title="Consume orders and acknowledge them",
    goal="Write a loop that reads, handles and acknowledges, and say what is pending, and why.",
    reading=14,
    predicting=4,
    builds_on=("01",),
    mistakes=(
        "A group is given all entries of the stream, wherever it was created.",
        "XACK removes the entry from the stream.",
        "An order that failed is delivered again by the next read with >.",
        "Two consumers of one group each get every order.",
    ),
    skippable=(
        "The task 02-acknowledge-one; for those who know Kafka, the section on two groups."
    ),
    surprise=(
        "After an exception in the handler nothing is lost, and nothing is redelivered: `>` "
        "does not give the order a second time."
    ),
    trouble=(
        "Interrupt a loop that does not end with the square button, then run the cell again."
    ),
    predictions={
        "02-lag": (
            "Lag is what comes after the position of the group, and not what it has missed. "
            "After the last entry there is nothing yet, so a group at $ has lag 0."
        ),
        "02-read": (
            "A stream is not a queue: a read removes nothing. It moves the position of the "
            "group, and what was delivered becomes pending until it is acknowledged."
        ),
        "02-xack": (
            "The answer counts what was removed from the pending entries list. The second time "
            "there is nothing to remove, which is no error."
        ),
        "02-bob": (
            "The two orders of Alice are delivered, acknowledged or not, so Bob does not get "
            "them. Nothing is dealt out in turns: he gets all that is left."
        ),
        "02-carol": (
            "Many people think that a delivered order is used up. It is for its group only: "
            "another group has a position of its own, and Carol's is before the first order."
        ),
        "02-raises": (
            "The orders before the failure are billed and acknowledged. The failed one is "
            "pending, and so are those after it: the same read had delivered them to Alice."
        ),
        "02-again": (
            "Many people expect that a failed order comes with the next read. The group has "
            "delivered it already, so > does not give it again, not even to its owner."
        ),
    },
    exercises=(AcknowledgeOne, TwoGroups, FailingHandler),
)
