"""Exercises and predictions of chapter 05: replay what was left pending."""

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
from redisflow_lab.message import Message


class Replay(Exercise):
    id = "05-replay"
    goal = (
        "Each order that alice left pending is billed once and acknowledged, and nothing else "
        "happens: 5-0 stays undelivered."
    )
    given = (
        "task.redis, task.orders (5 orders; alice of the group billing read four of them, "
        "finished 1-0 and was killed), task.invoices (RPUSH the content of an order to bill "
        "it), and Message.from_fields(fields).content"
    )
    minutes = 3
    hints = (
        "alice reads with another id than `>`.",
        "XREADGROUP with `0` gives her pending orders. Bill each, then XACK it.",
        "An id means *after* it: `2-0` would leave out 2-0.",
    )
    solution = """\
from redisflow_lab import Message

db, stream = task.redis, task.orders
[(_, entries)] = db.xreadgroup("billing", "alice", {stream: "0"})
for entry_id, fields in entries:
    db.rpush(task.invoices, Message.from_fields(fields).content)
    db.xack(stream, "billing", entry_id)"""
    wrong = (
        Wrong(
            "she reads new orders",
            solution.replace('"0"', '">"'),
            "5-0 was delivered",
        ),
        Wrong(
            "nothing is acknowledged",
            solution.rpartition("\n")[0],
            "2-0 has an invoice, and it is still pending",
        ),
        Wrong(
            "the first id is left out",
            solution.replace('"0"', '"2-0"'),
            "2-0 is still pending, and it has no invoice",
        ),
        Wrong(
            "it is acknowledged and not billed",
            'task.redis.xack(task.orders, "billing", "2-0", "3-0", "4-0")',
            "2-0 is acknowledged, and it has no invoice",
        ),
        Wrong(
            "it is billed twice",
            solution.replace("    db.xack", "    db.rpush(task.invoices, "
            "Message.from_fields(fields).content)\n    db.xack"),
            "2-0 has 2 invoices",
        ),
        Wrong(
            "the orders were deleted as well",
            solution + "\n    db.xdel(stream, entry_id)",
            "Expected 2-0, 3-0 and 4-0 in the stream",
        ),
    )  # fmt: skip
    why = (
        "An id in place of `>` asks for what is pending with this name. It delivers no new "
        "order, and only XACK ends what it delivers."
    )

    def set(self, scene: Scene) -> None:
        scene.publish(5)
        begin(scene, {"alice": 4})
        finish(scene, "1-0")

    def is_attempted(self, scene: Scene) -> bool:
        return len(scene.pending()) != 3 or len(scene.billed()) != 1

    def check(self, scene: Scene) -> None:
        if last_delivered(scene) != "4-0":
            raise NotYetError(
                f"5-0 was delivered (XINFO GROUPS {scene.orders}).\n"
                "It is a new order. Which id asks only for what is pending already? Run the "
                "cell with exercise(...) again to begin anew."
            )
        check_billed_once(scene, ("2-0", "3-0", "4-0"))
        expect(4, len(scene.billed()), "invoices", f"LLEN {scene.invoices}")


class SameName(Exercise):
    id = "05-same-name"
    goal = (
        "billing-1 was killed, and you start it again: first what it left pending, then the "
        "new orders 5-0 and 6-0, each billed once in this order and acknowledged. billing-0 is "
        "running: what it has in flight stays as it is."
    )
    given = (
        "task.redis, task.orders (6 orders, the group billing with both consumers), "
        "task.invoices (RPUSH the content of an order to bill it), and "
        "Message.from_fields(fields).content"
    )
    minutes = 4
    hints = (
        "A replay is a read with `0` under the name of the consumer that was killed.",
        "XREADGROUP GROUP billing billing-1, once with `0`, and then with `>`.",
        "for start in ('0', '>'): read, and bill and XACK each order before the next read.",
    )
    solution = """\
from redisflow_lab import Message

db, stream = task.redis, task.orders
for start in ("0", ">"):
    [(_, entries)] = db.xreadgroup("billing", "billing-1", {stream: start})
    for entry_id, fields in entries:
        db.rpush(task.invoices, Message.from_fields(fields).content)
        db.xack(stream, "billing", entry_id)"""
    wrong = (
        Wrong(
            "a new name finds nothing to replay",
            solution.replace("billing-1", "billing-2"),
            "2-0 is still pending, and it has no invoice",
        ),
        Wrong(
            "the new orders come first",
            solution.replace('("0", ">")', '(">", "0")'),
            "in another order",
        ),
        Wrong(
            "the name of the running consumer is used",
            solution.replace("billing-1", "billing-0"),
            "which billing-0 was working on",
        ),
        Wrong(
            "the new orders are forgotten",
            solution.replace('("0", ">")', '("0",)'),
            "5-0 was not delivered",
        ),
        Wrong(
            "new orders are read before the old ones are billed and stay pending",
            'task.redis.xreadgroup("billing", "billing-1", {task.orders: ">"})\n'
            + solution.replace('("0", ">")', '("0",)').replace(
                "    for entry_id", "    entries = entries[:2]\n    for entry_id"
            ),
            "5-0 is still pending, and it has no invoice",
        ),
    )
    why = (
        "A name is all that ties pending orders to a process. It has to be the same after a "
        "restart, and no other running process may have it."
    )

    def set(self, scene: Scene) -> None:
        publish(scene, "Dune", "Emma", "Ulysses", "Beloved", "Persuasion", "Middlemarch")
        begin(scene, {"billing-0": 1, "billing-1": 2})
        scene.redis.xreadgroup(scene.group, "billing-0", {scene.orders: ">"}, count=1)
        finish(scene, "1-0")

    def is_attempted(self, scene: Scene) -> bool:
        owned = [(row.entry_id, row.consumer) for row in scene.pending()]
        left = [("2-0", "billing-1"), ("3-0", "billing-1"), ("4-0", "billing-0")]
        return owned != left or len(scene.billed()) != 1

    def check(self, scene: Scene) -> None:
        command = f"XPENDING {scene.orders} {scene.group} - + 10"
        pending = {row.entry_id: row for row in scene.pending()}
        running = pending.get("4-0")
        if running is None or running.consumer != "billing-0" or running.deliveries != 1:
            raise NotYetError(
                f"4-0 was taken, which billing-0 was working on ({command}).\n"
                "It is being billed by two processes now. Run the cell with exercise(...) "
                "again. Which name had the process that was killed?"
            )
        check_billed_once(scene, ("2-0", "3-0", "5-0", "6-0"))
        expected = [scene.content(f"{number}-0") for number in (1, 2, 3, 5, 6)]
        if scene.billed() != expected:
            raise NotYetError(
                f"The orders were billed in another order (LRANGE {scene.invoices} 0 -1).\n"
                "2-0 and 3-0 are older than 5-0. Which id has to be read first?"
            )


def publish(scene: Scene, *books: str) -> None:
    """Publish an order of each book, with the ids 1-0, 2-0, ..."""
    for number, book in enumerate(books, start=1):
        fields: Any = Message("web", f"1 x {book}").to_fields()
        scene.redis.xadd(scene.orders, fields, id=f"{number}-0")


def begin(scene: Scene, counts: dict[str, int]) -> None:
    """Create the group, and deliver so many orders to each consumer."""
    scene.redis.xgroup_create(scene.orders, scene.group, id="0")
    for consumer, count in counts.items():
        scene.redis.xreadgroup(scene.group, consumer, {scene.orders: ">"}, count=count)


def finish(scene: Scene, entry_id: str) -> None:
    """Bill and acknowledge an order."""
    scene.redis.rpush(scene.invoices, scene.content(entry_id) or "")
    scene.redis.xack(scene.orders, scene.group, entry_id)


def last_delivered(scene: Scene) -> str:
    """The id up to which the group has read. Raises NotYetError if there is no group."""
    rows: Any = scene.redis.xinfo_groups(scene.orders)
    for row in rows:
        if row["name"].decode() == scene.group:
            return str(row["last-delivered-id"].decode())
    raise NotYetError(
        f"The group billing is gone, and all that was pending (XINFO GROUPS {scene.orders}).\n"
        "Run the cell with exercise(...) again."
    )


def check_billed_once(scene: Scene, entry_ids: tuple[str, ...]) -> None:
    """Raise NotYetError unless each order has one invoice and is acknowledged."""
    expect_kept(scene, entry_ids)
    pending = {row.entry_id for row in scene.pending()}
    billed = scene.billed()
    last = int(last_delivered(scene).split("-")[0])
    owing, invoices = (
        f"XPENDING {scene.orders} {scene.group} - + 10",
        f"LRANGE {scene.invoices}",
    )
    for entry_id in entry_ids:
        count = billed.count(scene.content(entry_id) or "")
        if int(entry_id.split("-")[0]) > last:
            raise NotYetError(
                f"{entry_id} was not delivered (XINFO GROUPS {scene.orders}).\n"
                "It is a new order: which id asks for those?"
            )
        if entry_id in pending and count:
            raise NotYetError(
                f"{entry_id} has an invoice, and it is still pending ({owing}).\n"
                "What tells Redis that the work is done?"
            )
        if entry_id in pending:
            raise NotYetError(
                f"{entry_id} is still pending, and it has no invoice ({owing}).\n"
                "Who owns it, and which read returns it?"
            )
        if not count:
            raise NotYetError(
                f"{entry_id} is acknowledged, and it has no invoice ({invoices} 0 -1).\n"
                "No consumer will be given it again. Run the cell with exercise(...) again."
            )
        if count > 1:
            raise NotYetError(
                f"{entry_id} has {count} invoices, expected 1 ({invoices} 0 -1).\n"
                "Run the cell with exercise(...) again. When was it billed the first time?"
            )


CHAPTER = Chapter(
    file="05_replay.ipynb",
    title="Replay what was left pending",
    goal="Write a consumer that finishes what it left behind before it reads new orders.",
    reading=18,
    predicting=5,
    builds_on=("02", "04"),
    mistakes=(
        "A consumer that starts again is given its old orders with `>`.",
        "Reading with `0` in each round is the safe way, since it returns everything.",
        "A random name for each start is good practice.",
        "A replay is needed only after a crash of the consumer.",
    ),
    skippable="The section *What you wrote, hardened*, on what lab.worker adds to your loop.",
    surprise="Looking with `0` is a delivery: the count goes up although nobody worked.",
    trouble="If counts are higher than printed, a cell ran twice: begin the section again.",
    predictions={
        "05-zero": (
            "`0` sounds like the beginning of the stream, and for XGROUP CREATE it is. For a "
            "consumer it is the beginning of its own pending orders, and 1-0 and 2-0 are done."
        ),
        "05-deliveries": (
            "It looks like a question, and a question changes nothing. To Redis, every "
            "XREADGROUP that returns an order has delivered it."
        ),
        "05-sixth": (
            "The sixth order was never delivered, so it is not pending with Alice, and an id "
            "other than `>` asks only for what is."
        ),
        "05-tries": (
            "`0` asks for everything that is pending. The order of the book She was "
            "acknowledged in the first page; that of Kim never is, so each of the five pages "
            "begins with it."
        ),
        "05-invoices": (
            "Six orders suggest six invoices. The third was billed before the kill and is "
            "still pending, so the replay bills it again."
        ),
        "05-name": (
            "The process is the same program on the same machine, but to Redis the name is all "
            "there is: this one has never been given anything."
        ),
        "05-lost-reply": (
            "Alice never saw them, so it seems that they must come again. The server "
            "counted them as delivered when it wrote the reply, and `>` returns what was never "
            "delivered."
        ),
    },
    exercises=(Replay, SameName),
)
