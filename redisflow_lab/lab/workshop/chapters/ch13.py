"""Exercises and predictions of chapter 13: effects in Redis, deduplicated by key."""

from collections import Counter
from typing import Any

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import (
    Exercise,
    NotYetError,
    Wrong,
    expect,
    expect_invoices,
)
from redisflow_lab.lab.workshop.scene import Scene
from redisflow_lab.message import Message


def publish(scene: Scene, *contents: str) -> None:
    """Publish these orders with the ids 1-0, 2-0, ..."""
    for number, content in enumerate(contents, start=1):
        fields: Any = Message("web", content).to_fields()
        scene.redis.xadd(scene.orders, fields, id=f"{number}-0")


def invoices_by_number(scene: Scene) -> Counter[str]:
    """How many invoices each order number has."""
    return Counter(content.split(":")[0] for content in scene.billed())


def expect_one_invoice(scene: Scene, number: str, meanings: dict[int, str]) -> None:
    """Raise NotYetError unless the order has one invoice.

    meanings: what another count comes from; the largest one stands for more
    """
    found = invoices_by_number(scene)[number]
    if found != 1:
        raise NotYetError(
            f"Expected 1 invoice for order {number}, found {found} "
            f"(LRANGE {scene.invoices} 0 -1).\n{meanings[min(found, max(meanings))]}"
        )


def unread(scene: Scene) -> int:
    """How many entries the group has not read; all of them if there is no group."""
    after = {
        row["name"].decode(): row["last-delivered-id"].decode()
        for row in scene.redis.xinfo_groups(scene.orders)
    }.get(scene.group, "0-0")
    rows: Any = scene.redis.xrange(scene.orders, f"({after}", "+")
    return len(rows)


def expect_all_acknowledged(scene: Scene) -> None:
    """Raise NotYetError unless the group has read and acknowledged each entry."""
    expect(
        0, unread(scene), f"unread entries of {scene.group}",
        f"XINFO GROUPS {scene.orders}", "Which entries has the group not read yet?",
    )  # fmt: skip
    expect(
        0, len(scene.pending()), "pending entries", f"XPENDING {scene.orders} {scene.group}",
        "An order that was billed before is done, too: what does it still need?",
    )  # fmt: skip


class Reconcile(Exercise):
    id = "13-reconcile"
    goal = (
        "each of the five orders in the stream has exactly one invoice. At present one has "
        "two, and one has none. Leave the stream as it is."
    )
    given = (
        "task.redis, task.orders (5 orders, all acknowledged by billing), and "
        "task.invoices, the key of a Redis list with the contents of the billed orders"
    )
    minutes = 5
    hints = (
        "Two records exist: XRANGE shows what was ordered, and LRANGE what was billed. Print "
        "both, with Message.from_fields(fields).content for the orders.",
        "LREM takes elements out of a list. Its count says how many, and 0 means all of them.",
        "LREM with the count 1 for the order that is there twice; RPUSH for the one that is "
        "missing.",
    )
    solution = """\
from collections import Counter
from redisflow_lab import Message

entries = task.redis.xrange(task.orders)
ordered = [Message.from_fields(fields).content for _, fields in entries]
billed = Counter(t.decode() for t in task.redis.lrange(task.invoices, 0, -1))
for content in ordered:
    if billed[content] == 0:
        task.redis.rpush(task.invoices, content)
    if billed[content] > 1:
        task.redis.lrem(task.invoices, billed[content] - 1, content)"""
    wrong = (
        Wrong(
            "all orders were billed again",
            "from redisflow_lab import Message\n"
            "for _, fields in task.redis.xrange(task.orders):\n"
            "    task.redis.rpush(task.invoices, Message.from_fields(fields).content)",
            "Which one order is not billed yet?",
        ),
        Wrong(
            "only the missing invoice was written",
            'task.redis.rpush(task.invoices, "1004: 1 x Beloved")',
            "The customer of this order still pays twice",
        ),
        Wrong(
            "both invoices were taken away",
            'task.redis.lrem(task.invoices, 0, "1002: 1 x Emma")',
            "A count of 0 takes all of them",
        ),
        Wrong(
            "only the second invoice was taken away",
            'task.redis.lrem(task.invoices, 1, "1002: 1 x Emma")',
            "XRANGE shows what was ordered",
        ),
        Wrong(
            "the new invoice is only the number of the order",
            """\
task.redis.lrem(task.invoices, 1, "1002: 1 x Emma")
task.redis.rpush(task.invoices, "1004")""",
            "found also '1004'",
        ),
    )
    why = (
        "Neither fault shows in XPENDING or in the lag. You find a duplicate or a gap only by "
        "comparing the effects with the stream, so keep the stream for as long as you may have "
        "to."
    )

    _ORDERS = (
        "1001: 1 x Dune", "1002: 1 x Emma", "1003: 1 x Ulysses", "1004: 1 x Beloved",
        "1005: 1 x Persuasion",
    )  # fmt: skip

    def set(self, scene: Scene) -> None:
        publish(scene, *self._ORDERS)
        scene.redis.xgroup_create(scene.orders, scene.group, id="0")
        ids: Any = [f"{number}-0" for number in range(1, 6)]
        scene.redis.xreadgroup(scene.group, "alice", {scene.orders: ">"})
        scene.redis.xack(scene.orders, scene.group, *ids)
        for content in (
            "1001: 1 x Dune", "1002: 1 x Emma", "1002: 1 x Emma", "1003: 1 x Ulysses",
            "1005: 1 x Persuasion",
        ):  # fmt: skip
            scene.redis.rpush(scene.invoices, content)

    def is_attempted(self, scene: Scene) -> bool:
        counts = {"1001": 1, "1002": 2, "1003": 1, "1005": 1}
        return invoices_by_number(scene) != counts or scene.redis.xlen(scene.orders) != 5

    def check(self, scene: Scene) -> None:
        expect(
            5, scene.redis.xlen(scene.orders), "orders", f"XLEN {scene.orders}",
            "Repair the invoices, and leave the stream as it is.",
        )  # fmt: skip
        for number in ("1001", "1003", "1005"):
            expect_one_invoice(
                scene,
                number,
                {
                    0: "This order had its invoice. Was it taken away by mistake?",
                    2: "This order had its invoice already. Which one order is not billed yet?",
                },
            )
        expect_one_invoice(
            scene,
            "1002",
            {
                0: "Both invoices are gone. A count of 0 takes all of them. Which takes one?",
                2: "The customer of this order still pays twice. Which command takes one "
                "element out of a list?",
            },
        )
        expect_one_invoice(
            scene,
            "1004",
            {
                0: "XRANGE shows what was ordered, and this order has no invoice. Which "
                "command wrote the others?",
                2: "One invoice is enough for this order.",
            },
        )
        expect_invoices(scene, self._ORDERS, "Each order has one invoice, with its content.")


class ChooseKey(Exercise):
    id = "13-choose-key"
    goal = (
        "each of the three orders has exactly one invoice, the group billing has acknowledged "
        'all four entries, and for each order a key task.key("done:<order number>") exists '
        "that expires."
    )
    given = (
        "task.redis, task.orders (4 entries; the customer of 1001 clicked twice), "
        "and task.invoices, the key of a Redis list for the contents of the billed orders. "
        "There is no group yet: xgroup_create makes it, or ensure_group() of a "
        "RedisStreamConsumer"
    )
    minutes = 5
    hints = (
        "What do the two entries of order 1001 have in common that no other entry has?",
        'The part before the colon is the order number. With handle_once, task.key("done") is '
        "the scope, and key= a function of the delivery.",
        "handle_once(invoice, task.redis, task.key('done'), key=order_number) makes the "
        "handler; a RedisStreamConsumer on task.orders needs ensure_group() and then "
        "read_new(handler).",
    )
    solution = """\
from redisflow_lab import RedisStreamConsumer, handle_once

def invoice(pipeline, delivery):
    pipeline.rpush(task.invoices, delivery.message.content)

def number(delivery):
    return delivery.message.content.split(":")[0]

once = handle_once(invoice, task.redis, task.key("done"), key=number)
carol = RedisStreamConsumer(task.redis, task.orders, "billing", "carol", block_ms=50)
carol.ensure_group()
carol.read_new(once)"""
    _BEGIN = """\
from redisflow_lab import Message
r = task.redis
r.xgroup_create(task.orders, "billing", id="0")
for entry_id, fields in r.xreadgroup("billing", "bob", {task.orders: ">"})[0][1]:
    order = Message.from_fields(fields).content
"""
    wrong = (
        Wrong(
            "the key is the entry id",
            _BEGIN + '    if r.set(task.key("done:" + entry_id.decode()), 1, nx=True, ex=60):\n'
            "        r.rpush(task.invoices, order)\n"
            '    r.xack(task.orders, "billing", entry_id)',
            "Two entries carry this order",
        ),
        Wrong(
            "the key is the book",
            _BEGIN
            + '    if r.set(task.key("done:" + order.split(" x ")[1]), 1, nx=True, ex=60):\n'
            "        r.rpush(task.invoices, order)\n"
            '    r.xack(task.orders, "billing", entry_id)',
            "Another order has the same key",
        ),
        Wrong(
            "the second entry is skipped and not acknowledged",
            _BEGIN + '    if r.set(task.key("done:" + order[:4]), 1, nx=True, ex=60):\n'
            "        r.rpush(task.invoices, order)\n"
            '        r.xack(task.orders, "billing", entry_id)',
            "what does it still need?",
        ),
        Wrong(
            "the keys never expire",
            _BEGIN + '    if r.set(task.key("done:" + order[:4]), 1, nx=True):\n'
            "        r.rpush(task.invoices, order)\n"
            '    r.xack(task.orders, "billing", entry_id)',
            "never expires",
        ),
        Wrong(
            "the invoices were written by hand",
            _BEGIN + '    if entry_id != b"3-0":\n'
            "        r.rpush(task.invoices, order)\n"
            '    r.xack(task.orders, "billing", entry_id)',
            "a third click",
        ),
    )
    why = (
        "The entry id is too narrow a key: a second click has another one. The book is too "
        "wide: two customers share it. (SET NX before RPUSH passes here as well, and still "
        "loses an order in a crash: stage 8 of your own consumer kills it there.)"
    )

    def set(self, scene: Scene) -> None:
        publish(scene, "1001: 1 x Dune", "1002: 1 x Emma", "1001: 1 x Dune", "1003: 1 x Emma")

    def is_attempted(self, scene: Scene) -> bool:
        return bool(scene.groups() or scene.billed())

    def check(self, scene: Scene) -> None:
        for number in ("1001", "1002", "1003"):
            expect_one_invoice(
                scene,
                number,
                {
                    0: "Another order has the same key, or no consumer has billed this one. "
                    "What identifies an order?",
                    2: "Two entries carry this order. Does your key show that both are the "
                    "same order?",
                },
            )
        expect_all_acknowledged(scene)
        for number in ("1001", "1002", "1003"):
            key = scene.key(f"done:{number}")
            seconds: Any = scene.redis.ttl(key)
            if seconds == -2:
                raise NotYetError(
                    f"Expected the key {key}, found none (EXISTS {key}).\n"
                    "The invoices are right. What would keep a third click from being billed?"
                )
            if seconds == -1:
                raise NotYetError(
                    f"Expected a key that expires, but {key} never expires (TTL {key}).\n"
                    "A million orders leave a million keys. Which option of SET ends them?"
                )


CHAPTER = Chapter(
    file="13_duplicates.ipynb",
    title="Make the effect happen once",
    goal="Write a handler whose effect in Redis happens once per order, in spite of crashes, "
    "claims and second clicks.",
    reading=16,
    predicting=3,
    extra=9,
    builds_on=("05", "12"),
    mistakes=(
        "Redis can be configured for exactly-once delivery.",
        "SET NX before the work makes a handler safe.",
        "The entry id identifies an order.",
        "A dead letter was not handled.",
    ),
    skippable="What is called extra: two at the same time, three lives, and a dead letter that "
    "was billed. Then the task on cleaning up.",
    surprise=(
        "Setting the key first loses the order: zero invoices, although a key says that it is "
        "done."
    ),
    trouble=(
        "If an invoice too many is there, a cell ran twice on the same keys: begin the "
        "section again."
    ),
    predictions={
        "13-restart": (
            "The group remembers who has an order, and whether it was acknowledged. It does "
            "not know what the handler did: 1002 was pending, so it was delivered and "
            "billed again."
        ),
        "13-bill-then-set": (
            "The key looks like protection, but it was never set: Alice died one line before. "
            "Her second life found no key, and billed again."
        ),
        "13-set-then-bill": (
            "Setting the key first looks like a lock, and it does keep out duplicates. But the "
            "key survives the crash, and the second life takes it for a finished order."
        ),
        "13-one-write": (
            "It is tempting to think that RPUSH has run, since it stands above the crash. "
            "It was only collected in the client, and went with the process."
        ),
        "13-slow-alice": (
            "Alice had already looked, so it seems too late to stop her. WATCH still guards "
            "the key after the look: it changed, and EXEC ran nothing of hers."
        ),
        "13-two-clicks": (
            "The orders are the same to you and to the customer. To a key that is named after "
            "the entry id they are two, since each XADD makes a new id."
        ),
        "13-dead-letter": (
            "A dead letter sounds like work that was not done. This one was done: the process "
            "died after the effect, and only the deduplication key knew."
        ),
    },
    exercises=(Reconcile, ChooseKey),
)
