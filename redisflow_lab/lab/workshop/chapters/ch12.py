"""Exercises and predictions of chapter 12: poison messages and dead letters."""

from typing import Any

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import Exercise, NotYetError, Wrong, expect
from redisflow_lab.lab.workshop.scene import Scene
from redisflow_lab.message import Message, MessageDecodeError

DEAD = "orders:dead"


def publish(scene: Scene, contents: tuple[str, ...]) -> None:
    """Publish these orders, with the ids 1-0, 2-0, ..., for the group "billing"."""
    for number, content in enumerate(contents, start=1):
        fields: Any = Message("mobile", content).to_fields()
        scene.redis.xadd(scene.orders, fields, id=f"{number}-0")
    scene.redis.xgroup_create(scene.orders, scene.group, id="0")


def dead_letters(scene: Scene) -> list[dict[bytes, bytes]]:
    """The fields of each dead letter, in order."""
    if scene.redis.type(scene.key(DEAD)) != b"stream":
        return []
    found: Any = scene.redis.xrange(scene.key(DEAD))
    return [fields for _, fields in found]


def dead_ids(scene: Scene) -> list[str]:
    """The entry each dead letter is of; "?" where it does not say."""
    found = dead_letters(scene)
    return [fields.get(b"dead:id", b"?").decode(errors="replace") for fields in found]


def content(fields: dict[bytes, bytes]) -> str:
    """The content of an order, or of the order that a dead letter is of."""
    try:
        return Message.from_fields(fields).content
    except MessageDecodeError:
        return "an entry that cannot be read"


class Exactly(Exercise):
    id = "12-exactly"
    goal = (
        "the one order over the limit of 3 deliveries is in orders:dead, with all its fields "
        "and its id as dead:id, and is no longer pending. The others stay pending as they are."
    )
    given = (
        "task.redis, task.orders (3 of its orders are pending with alice of the group "
        'billing), task.key("orders:dead")'
    )
    minutes = 5
    hints = (
        "XPENDING with a range shows the delivery counts, and changes none of them.",
        "XRANGE reads one order, task.redis.xrange(task.orders, id, id), and delivers nothing.",
        "In one pipeline: xadd of the fields and dead:id to orders:dead, then xack.",
    )
    solution = """\
db, letters = task.redis, task.key("orders:dead")
for row in db.xpending_range(task.orders, "billing", "-", "+", 10):
    if row["times_delivered"] > 3:
        entry_id = row["message_id"]
        [(_, fields)] = db.xrange(task.orders, entry_id, entry_id)
        with db.pipeline() as commands:
            commands.xadd(letters, {**fields, "dead:id": entry_id})
            commands.xack(task.orders, "billing", entry_id)
            commands.execute()"""
    wrong = (
        Wrong(
            "acknowledged, and kept nowhere",
            'task.redis.xack(task.orders, "billing", "4-0")',
            "the order is lost",
        ),
        Wrong(
            "copied, and still pending",
            """\
[(_, fields)] = task.redis.xrange(task.orders, "4-0", "4-0")
task.redis.xadd(task.key("orders:dead"), {**fields, "dead:id": "4-0"})""",
            "is still pending",
        ),
        Wrong(
            "the order behind the failing one looked guilty too",
            """\
for entry_id in ("2-0", "4-0"):
    [(_, fields)] = task.redis.xrange(task.orders, entry_id, entry_id)
    task.redis.xadd(task.key("orders:dead"), {**fields, "dead:id": entry_id})
    task.redis.xack(task.orders, "billing", entry_id)""",
            "Three deliveries are allowed",
        ),
        Wrong(
            "the orders were read again to find it",
            """\
found = task.redis.xreadgroup("billing", "alice", {task.orders: "0"})
entry_id, fields = found[0][1][2]
task.redis.xadd(task.key("orders:dead"), {**fields, "dead:id": entry_id})
task.redis.xack(task.orders, "billing", entry_id)""",
            "counts as a delivery",
        ),
        Wrong(
            "the dead letter has the id and not the order",
            """\
task.redis.xadd(task.key("orders:dead"), {"dead:id": "4-0"})
task.redis.xack(task.orders, "billing", "4-0")""",
            "cannot be sent again",
        ),
        Wrong(
            "only the id was kept, and the order was deleted",
            """\
task.redis.xadd(task.key("orders:dead"), {"dead:id": "4-0"})
task.redis.xack(task.orders, "billing", "4-0")
task.redis.xdel(task.orders, "4-0")""",
            "4-0 is deleted from the stream",
        ),
    )
    why = (
        "Look first, with commands that deliver nothing: XPENDING and XRANGE. Then write the "
        "copy and acknowledge in one MULTI, so that the order is always in exactly one place."
    )

    _POISON, _CONTENT = "4-0", "two x Beloved"
    _PENDING = (("2-0", 3), ("3-0", 1), ("4-0", 5))

    def set(self, scene: Scene) -> None:
        publish(scene, ("1 x Dune", "3 x Emma", "1 x Ulysses", self._CONTENT))
        redis: Any = scene.redis
        redis.xreadgroup(scene.group, "alice", {scene.orders: ">"})
        redis.xack(scene.orders, scene.group, "1-0")
        for entry_id, count in self._PENDING:
            redis.xclaim(
                scene.orders, scene.group, "alice", 0, [entry_id], retrycount=count, justid=True
            )

    def is_attempted(self, scene: Scene) -> bool:
        untouched = self._pending(scene) == [*self._PENDING]
        return bool(scene.redis.exists(scene.key(DEAD))) or not untouched

    def check(self, scene: Scene) -> None:
        letters, ids = dead_letters(scene), dead_ids(scene)
        command = f"XRANGE {scene.key(DEAD)} - +"
        pending = dict(self._pending(scene))
        if self._POISON not in ids and self._POISON not in pending:
            raise NotYetError(
                f"{self._POISON} is no longer pending, and {command} has no dead letter whose "
                "dead:id it is.\nIf it was only acknowledged, the order is lost. Run the cell "
                "with exercise(...) again: what has to be written first?"
            )
        meaning = "Three deliveries are allowed, and more are not. Which order had more?"
        expect([self._POISON], ids, "as dead:id", command, meaning)
        found: Any = scene.redis.xrange(scene.orders, self._POISON, self._POISON)
        if found and not found[0][1].items() <= letters[0].items():
            raise NotYetError(
                f"The dead letter does not have the fields of {self._POISON} ({command}).\n"
                "Without them the order cannot be sent again. Which command reads an entry?"
            )
        if not found and content(letters[0]) != self._CONTENT:
            raise NotYetError(
                f"{self._POISON} is deleted from the stream (XRANGE {scene.orders} - +), and "
                f"its dead letter does not have its fields ({command}).\n"
                "They are in neither place. Run the cell with exercise(...) again: what has to "
                "be in the dead letter before the order is deleted?"
            )
        command = f"XPENDING {scene.orders} {scene.group} - + 10"
        if self._POISON in pending:
            raise NotYetError(
                f"{self._POISON} is dead-lettered, and it is still pending ({command}).\n"
                "It will be delivered again, and dead-lettered again. What ends that?"
            )
        counts = [f"{entry_id}: {count}" for entry_id, count in pending.items()]
        expected = [f"{entry_id}: {count}" for entry_id, count in self._PENDING[:2]]
        meaning = (
            "Reading with 0 and claiming each counts as a delivery. Which commands only look? "
            "Run the cell with exercise(...) again."
        )
        expect(expected, counts, "deliveries", command, meaning)

    def _pending(self, scene: Scene) -> list[tuple[str, int]]:
        return [(row.entry_id, row.deliveries) for row in scene.pending()]


class Redrive(Exercise):
    id = "12-redrive"
    goal = (
        "the database is back. What the outage dead-lettered is redriven unchanged and billed, "
        "once each, and no longer a dead letter. The poison message stays a dead letter."
    )
    given = (
        'task.redis, task.orders, task.key("orders:dead") (3 dead letters), task.invoices '
        "(the key of a Redis list), task.bill (a handler: it pushes the invoice of a "
        "delivery), and task.worker(name, handler), which starts a consumer in a process"
    )
    minutes = 5
    hints = (
        "Each dead letter says what happened: print x.error of each x in "
        "DeadLetters(task.redis, task.orders).",
        "redrive takes letter ids. Give it those whose error is a ConnectionError.",
        "A redriven order is a new entry: a consumer has to read it before it is billed.",
    )
    solution = """\
from redisflow_lab.dead_letters import DeadLetters

letters = DeadLetters(task.redis, task.orders)
outage = [x.letter_id for x in letters if "ConnectionError" in x.error]
letters.redrive(*outage)
task.worker("alice", task.bill).wait_for("acked", len(outage))"""
    _BEGIN = """\
from redisflow_lab import Message
from redisflow_lab.dead_letters import DeadLetters
letters = DeadLetters(task.redis, task.orders)
letters.redrive(*[x.letter_id for x in letters if "Connection" in x.error])
"""
    wrong = (
        Wrong(
            "all of them",
            """\
from redisflow_lab.dead_letters import DeadLetters
letters = DeadLetters(task.redis, task.orders)
letters.redrive(*[x.letter_id for x in letters])""",
            "was redriven too",
        ),
        Wrong(
            "written again, and not deleted",
            """\
for _, fields in task.redis.xrange(task.key("orders:dead")):
    if fields[b"dead:error"].startswith(b"ConnectionError"):
        task.redis.xadd(task.orders, {"data": fields[b"data"]})
task.worker("alice", task.bill).wait_for("acked", 2)""",
            "will redrive them a second time",
        ),
        Wrong(
            "deleted, and not written",
            """\
for letter_id, fields in task.redis.xrange(task.key("orders:dead")):
    if fields[b"dead:error"].startswith(b"ConnectionError"):
        task.redis.xdel(task.key("orders:dead"), letter_id)""",
            "in neither of the two streams",
        ),
        Wrong(
            "redriven, and not handled",
            """\
from redisflow_lab.dead_letters import DeadLetters
letters = DeadLetters(task.redis, task.orders)
letters.redrive(*[x.letter_id for x in letters if "Connection" in x.error])""",
            "Who reads",
        ),
        Wrong(
            "billed by hand, and still dead letters",
            """\
for content in ("1 x Emma", "1 x Ulysses"):
    task.redis.rpush(task.invoices, content)""",
            "by hand",
        ),
        Wrong(
            "redriven and billed, and not acknowledged",
            _BEGIN
            + """\
found = task.redis.xreadgroup("billing", "alice", {task.orders: ">"})
for _, fields in found[0][1]:
    task.redis.rpush(task.invoices, Message.from_fields(fields).content)""",
            "is billed, and still pending",
        ),
        Wrong(
            "written again by hand, and redriven",
            _BEGIN
            + """\
alice = task.worker("alice", task.bill)
alice.wait_for("acked", 2)
alice.stop()
again = task.redis.xrange(task.orders, "2-0", "2-0")[0][1]
task.redis.xadd(task.orders, again)""",
            "found 2",
        ),
        Wrong(
            "redriven, and billed by hand",
            _BEGIN + 'task.redis.rpush(task.invoices, "1 x Emma", "1 x Ulysses")',
            "and no consumer has read it",
        ),
    )
    why = (
        "The error tells an outage from a poison message: the first are redriven unchanged, "
        "the second needs a repair. Redriving is writing and deleting in one step, and a "
        "redriven order is a new entry that a consumer has to read."
    )

    _OUTAGE = ("1 x Emma", "1 x Ulysses")
    _POISON = "two x Beloved"

    def set(self, scene: Scene) -> None:
        publish(scene, ("1 x Dune", "1 x Emma", self._POISON, "1 x Ulysses"))
        redis: Any = scene.redis
        found = redis.xreadgroup(scene.group, "alice", {scene.orders: ">"})
        outage = "ConnectionError: the database does not answer"
        poison = "ValueError: invalid literal for int() with base 10: 'two'"
        for (entry_id, fields), error in zip(
            found[0][1], (None, outage, poison, outage), strict=True
        ):
            redis.xack(scene.orders, scene.group, entry_id)
            if error:
                reasons = {
                    "dead:stream": scene.orders,
                    "dead:id": entry_id,
                    "dead:group": scene.group,
                    "dead:consumer": "alice",
                    "dead:deliveries": 3,
                    "dead:reason": "failed",
                    "dead:error": error,
                    "dead:at": "2026-03-02T03:14:00+00:00",
                }
                redis.xadd(scene.key(DEAD), {**fields, **reasons})

    def is_attempted(self, scene: Scene) -> bool:
        letters = len(dead_letters(scene))
        return bool(letters != 3 or scene.redis.xlen(scene.orders) != 4 or scene.billed())

    def check(self, scene: Scene) -> None:
        letters = [content(fields) for fields in dead_letters(scene)]
        new: Any = scene.redis.xrange(scene.orders, "(4-0")
        sent = [content(fields) for _, fields in new]
        command = f"XRANGE {scene.key(DEAD)} - +"
        if self._POISON in sent or self._POISON not in letters:
            raise NotYetError(
                f"{self._POISON!r} was redriven too, or deleted ({command}).\nIt fails again, "
                "as it is. Which error does its dead letter have? Run the cell with "
                "exercise(...) again."
            )
        for order in self._OUTAGE:
            if order in letters and order in sent:
                raise NotYetError(
                    f"{order!r} is in orders again, and still a dead letter ({command}).\n"
                    "The next person will redrive them a second time. What does redrive do "
                    "besides XADD?"
                )
            if order not in letters and order not in sent:
                raise NotYetError(
                    f"{order!r} is in neither of the two streams ({command}).\nIt was "
                    "deleted before it was written. Run the cell with exercise(...) again."
                )
        if scene.billed() and not sent:
            raise NotYetError(
                f"Billed by hand (LRANGE {scene.invoices} 0 -1): the orders are still dead "
                f"letters ({command}).\nAnother person will redrive them, and they are billed "
                "twice. How does an order get back into the stream?"
            )
        expect([self._POISON], letters, "as dead letters", command, "Which others are there?")
        command = f"XRANGE {scene.orders} (4-0 +"
        for order in self._OUTAGE:
            expect(
                1, sent.count(order), f"new entry of {order!r}", command,
                "It was written more than once, and each entry will be billed. Run the cell "
                "with exercise(...) again.",
            )  # fmt: skip
        meaning = (
            f"Redriven orders are new entries. Who reads {scene.orders}, and how often was "
            "each redriven?"
        )
        command = f"LRANGE {scene.invoices} 0 -1"
        expect([*self._OUTAGE], sorted(scene.billed()), "as invoices", command, meaning)
        self._check_handled(scene)

    @staticmethod
    def _check_handled(scene: Scene) -> None:
        """Raise NotYetError if a redriven order is unread or pending."""
        for entry_id in scene.unread():
            raise NotYetError(
                f"{entry_id} was redriven, and no consumer has read it "
                f"(XINFO GROUPS {scene.orders}).\n"
                "The next consumer will bill it a second time. Run the cell with exercise(...) "
                "again, and let a consumer bill what it is given."
            )
        for row in scene.pending():
            raise NotYetError(
                f"{row.entry_id} is billed, and still pending with {printable(row.consumer)} "
                f"(XPENDING {scene.orders} {scene.group} - + 10).\n"
                "It will be delivered and billed again. What tells Redis that the work is done?"
            )


CHAPTER = Chapter(
    file="12_poison_and_dead_letters.ipynb",
    title="Dead-letter a poison message",
    goal="End a message that fails forever, and lose neither it nor a good one.",
    reading=17,
    predicting=3,
    extra=8,
    builds_on=("10", "11"),
    mistakes=(
        "Redis stops delivering a message that failed often enough.",
        "The delivery limit counts what the handler did, so a message that was never handled "
        "cannot reach it.",
        "A database outage does no harm, since the orders are retried.",
        "A redriven message is delivered only to the group that dead-lettered it.",
    ),
    skippable="What is called extra: one order at a time, what waiting costs, the helper, "
    "and who else reads the stream.",
    surprise=(
        "Four good orders are dead-lettered by a database outage, and a neighbour of a poison "
        "message nearly is."
    ),
    trouble=(
        "The log lines of failing handlers are meant to be there, and are kept quiet. A "
        "traceback in the notebook is not."
    ),
    predictions={
        "12-deliveries": (
            "Five is the number of retries. The first read is a delivery as well, so the "
            "count is one higher than the retries."
        ),
        "12-limit": (
            "The handler is called three times, and many stop counting there. This loop "
            "looks at the count when the order is delivered again, and that delivery counts."
        ),
        "12-neighbour": (
            "Redis counts what it delivers, not what a handler does. Both orders were claimed "
            "in each sweep, so both used up their deliveries."
        ),
        "12-outage": (
            "The orders are good, so one expects them to survive. But each was delivered and "
            "failed three times, and the limit asks for no reason."
        ),
        "12-patient": (
            "A pause and a new try feel like a delivery. But only a read or a claim raises the "
            "count, and each order was read once."
        ),
        "12-parcels": (
            "Many expect a redriven order to go to the group that failed. It is a new entry "
            "of the stream, and each group reads each entry."
        ),
    },
    exercises=(Exactly, Redrive),
)
