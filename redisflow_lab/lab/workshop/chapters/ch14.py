"""Exercises and predictions of chapter 14: effects outside Redis, and keyed publishes."""

from collections import Counter
from typing import Any

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import Exercise, NotYetError, Wrong, expect
from redisflow_lab.lab.workshop.scene import Scene
from redisflow_lab.message import Message
from redisflow_lab.producer import RedisStreamProducer

NUMBERS = ("1001", "1002", "1003")
STRANDED = ("1-0", "2-0")
"""Pending with alice at the beginning of two of the tasks."""


def publish(scene: Scene, *contents: str) -> None:
    """Publish these orders with the ids 1-0, 2-0, ..."""
    for number, content in enumerate(contents, start=1):
        fields: Any = Message("web", content).to_fields()
        scene.redis.xadd(scene.orders, fields, id=f"{number}-0")


def strand_two(scene: Scene) -> None:
    """The group, and the first two entries pending with alice."""
    scene.redis.xgroup_create(scene.orders, scene.group, id="0")
    scene.redis.xreadgroup(scene.group, "alice", {scene.orders: ">"}, count=2)


def is_as_stranded(scene: Scene) -> bool:
    """Whether the group still is as `strand_two` left it."""
    rows = [(row.entry_id, row.deliveries) for row in scene.pending()]
    return rows == [("1-0", 1), ("2-0", 1)] and len(unread(scene)) == 2


def unread(scene: Scene) -> list[Any]:
    """The entries that the group has not read."""
    groups = scene.redis.xinfo_groups(scene.orders)
    after = {row["name"].decode(): row["last-delivered-id"].decode() for row in groups}
    entries: Any = scene.redis.xrange(scene.orders, f"({after.get(scene.group, '0-0')}", "+")
    return [*entries]


def expect_all_acknowledged(scene: Scene, meaning: str) -> None:
    """Raise NotYetError unless the group has read and acknowledged each entry.

    meaning: of entries that were delivered again and are still pending
    """
    expect(
        0, len(unread(scene)), "unread entries of billing", f"XINFO GROUPS {scene.orders}",
        "Which entries has the group not read yet?",
    )  # fmt: skip
    pending = scene.pending()
    if any(row.deliveries == 1 and row.entry_id in STRANDED for row in pending):
        meaning = (
            "What alice left was not delivered again. How does a consumer read what is pending "
            "with its name?"
        )
    command = f"XPENDING {scene.orders} billing - + 10"
    expect(0, len(pending), "pending entries", command, meaning)


class KnownKey(Exercise):
    id = "14-known-key"
    goal = (
        "the bank has exactly one charge for each of the three orders, with the order "
        "number as the key, and the group billing has nothing pending and nothing unread."
    )
    given = (
        "task.redis, task.orders (4 entries; 1-0 and 2-0 are pending with alice, who died, and "
        'the customer of 1002 clicked twice), and task.key("bank"), the key of a hash'
    )
    minutes = 5
    hints = (
        "Two of the four entries are pending with alice. Read `0` as alice, and then `>`.",
        "HSETNX answers 0 for order 1001: alice had charged it before she died. What may be "
        "done with an order that is charged?",
        "For each entry: hsetnx(bank, order number, content), and xack whatever it answers.",
    )
    _LOOP = """\
from redisflow_lab import Message
db = task.redis
for start in ("0", ">"):
    found = db.xreadgroup("billing", "alice", {task.orders: start})
    for entry_id, fields in found[0][1] if found else []:
        order = Message.from_fields(fields).content
"""
    solution = (
        _LOOP + '        db.hsetnx(task.key("bank"), order.split(":")[0], order)  # 0 is fine\n'
        '        db.xack(task.orders, "billing", entry_id)'
    )
    wrong = (
        Wrong(
            "the key is the entry id",
            _LOOP + '        db.hsetnx(task.key("bank"), entry_id, order)\n'
            '        db.xack(task.orders, "billing", entry_id)',
            "Is that the order, or only its entry?",
        ),
        Wrong(
            "a known key is taken for an error",
            _LOOP + '        if db.hsetnx(task.key("bank"), order.split(":")[0], order):\n'
            '            db.xack(task.orders, "billing", entry_id)',
            "What does its answer mean?",
        ),
        Wrong(
            "what alice left was not read",
            _LOOP.replace('("0", ">")', '(">",)')
            + '        db.hsetnx(task.key("bank"), order.split(":")[0], order)\n'
            '        db.xack(task.orders, "billing", entry_id)',
            "was not delivered again",
        ),
        Wrong(
            "acknowledged without a charge",
            _LOOP + '        db.xack(task.orders, "billing", entry_id)',
            "The customer got the books for nothing",
        ),
        Wrong(
            "the charges are empty",
            _LOOP + '        db.hsetnx(task.key("bank"), order.split(":")[0], "")\n'
            '        db.xack(task.orders, "billing", entry_id)',
            "found an empty one",
        ),
    )
    why = (
        "A known key means that the work is done, so acknowledge. The bank keeps key and "
        "charge together, and needs no deduplication key in Redis."
    )

    def set(self, scene: Scene) -> None:
        publish(scene, "1001: 1 x Dune", "1002: 1 x Emma", "1002: 1 x Emma", "1003: 1 x She")
        strand_two(scene)
        scene.redis.hset(scene.key("bank"), "1001", "1001: 1 x Dune")

    def is_attempted(self, scene: Scene) -> bool:
        return not is_as_stranded(scene) or scene.redis.hlen(scene.key("bank")) != 1

    def check(self, scene: Scene) -> None:
        bank = scene.key("bank")
        found: Any = scene.redis.hgetall(bank)
        charges = {key.decode(errors="replace"): charge for key, charge in found.items()}
        keys = {*charges}
        if others := keys - {*NUMBERS}:
            raise NotYetError(
                f"Expected the keys {', '.join(NUMBERS)} at the bank, found also "
                f"{', '.join(sorted(others))[:80]} (HGETALL {bank}).\n"
                "Is that the order, or only its entry? The bank charges once for each key."
            )
        expect_all_acknowledged(
            scene, "The bank knows the key of these orders. What does its answer mean?"
        )
        if missing := {*NUMBERS} - keys:
            raise NotYetError(
                f"Expected a charge for order {min(missing)}, found none (HGETALL {bank}).\n"
                "The customer got the books for nothing. What comes before XACK?"
            )
        for number in NUMBERS:
            if not charges[number].strip():
                raise NotYetError(
                    f"Expected a charge for order {number}, found an empty one "
                    f"(HGET {bank} {number}).\n"
                    "The bank keeps the content of the order as its charge. HSET "
                    "replaces the empty one."
                )


class Outbox(Exercise):
    id = "14-outbox"
    goal = (
        "each of the three orders has exactly one invoice, and exactly one entry in the stream "
        'task.key("outbox") with a field order that holds its number, and its deduplication '
        'key task.key("done:<order number>") exists; the group billing has nothing pending and '
        "nothing unread."
    )
    given = (
        "task.redis, task.orders (4 entries; 1-0 and 2-0 are pending with alice, and the "
        "customer of 1002 clicked twice), task.invoices, the key of a Redis list with the "
        "contents of the billed orders. alice had finished 1001, with invoice, letter and the "
        'deduplication key task.key("done:1001")'
    )
    minutes = 6
    hints = (
        "Everything that belongs to one order is queued on one pipeline: RPUSH, XADD, and SET.",
        'handle_once with the scope task.key("done") and the order number as key finds the '
        "deduplication key that alice left.",
        "The effect: pipeline.rpush(task.invoices, content) and pipeline.xadd(task.key('outbox'"
        "), {'order': number}). Then, as alice, replay_pending(handler) and read_new(handler).",
    )
    _BEGIN = """\
from redisflow_lab import RedisStreamConsumer, handle_once
def number(delivery):
    return delivery.message.content.split(":")[0]
def bill(pipeline, delivery):
    pipeline.rpush(task.invoices, delivery.message.content)
"""
    _LETTER = '    pipeline.xadd(task.key("outbox"), {"order": number(delivery)})\n'
    _END = """\
once = handle_once(bill, task.redis, task.key("done"), key=number)
alice = RedisStreamConsumer(task.redis, task.orders, "billing", "alice", block_ms=50)
alice.replay_pending(once)
alice.read_new(once)"""
    solution = _BEGIN + _LETTER + _END
    wrong = (
        Wrong(
            "the letter is written outside of the transaction",
            _BEGIN + _END.replace("alice.replay", "def both(delivery):\n    once(delivery)\n"
            '    task.redis.xadd(task.key("outbox"), {"order": number(delivery)})\n'
            "alice.replay").replace("(once)", "(both)"),
            "Which command wrote it outside of the transaction?",
        ),
        Wrong(
            "invoices without letters",
            _BEGIN + _END,
            "no letter will ever be sent",
        ),
        Wrong(
            "no deduplication at all",
            _BEGIN.replace("pipeline, ", "").replace("pipeline.", "task.redis.")
            + _LETTER.replace("pipeline.", "task.redis.")
            + _END.replace("(once)", "(bill)"),
            "It was billed before alice died",
        ),
        Wrong(
            "what alice left was not read",
            _BEGIN + _LETTER + _END.replace("alice.replay_pending(once)\n", ""),
            "was not delivered again",
        ),
        Wrong(
            "the key is the entry id",
            _BEGIN + _LETTER + _END.replace(
                "key=number",
                "key=lambda d: number(d) if number(d) == '1001' else d.entry_id",
            ),
            "Two entries carry this order",
        ),
        Wrong(
            "it looks among the invoices, and leaves no key",
            _BEGIN.replace("pipeline, ", "").replace(
                "    pipeline.", "    if delivery.message.content.encode() in (\n"
                "            task.redis.lrange(task.invoices, 0, -1)):\n        return\n"
                "    task.redis.")
            + _LETTER.replace("pipeline.", "task.redis.")
            + _END.replace("(once)", "(bill)"),
            "a list only grows",
        ),
    )  # fmt: skip
    why = (
        "Invoice, letter and deduplication key are one write, so a letter exists if and "
        "only if its invoice does. (Three writes one after the other pass here as well, and "
        "still lose a letter in a crash between them.) The relay may still send twice."
    )

    def set(self, scene: Scene) -> None:
        publish(scene, "1001: 1 x Dune", "1002: 1 x Emma", "1002: 1 x Emma", "1003: 1 x She")
        strand_two(scene)
        scene.redis.rpush(scene.invoices, "1001: 1 x Dune")
        scene.redis.xadd(scene.key("outbox"), {"order": "1001"})
        scene.redis.set(scene.key("done:1001"), "1-0", ex=604_800)

    def is_attempted(self, scene: Scene) -> bool:
        outbox = scene.redis.xlen(scene.key("outbox"))
        return not is_as_stranded(scene) or len(scene.billed()) != 1 or outbox != 1

    def check(self, scene: Scene) -> None:
        invoices = Counter(content.split(":")[0] for content in scene.billed())
        entries: Any = scene.redis.xrange(scene.key("outbox"))
        letters = Counter(fields.get(b"order", b"").decode() for _, fields in entries)
        too_many = {
            "1001": "It was billed before alice died. What did she leave that says so?",
            "1002": "Two entries carry this order. What do they have in common?",
            "1003": "One invoice is enough.",
        }
        for number, meaning in too_many.items():
            if invoices[number] > 1:
                command = f"LRANGE {scene.invoices} 0 -1"
                expect(1, invoices[number], f"invoice for order {number}", command, meaning)
        for number in NUMBERS:
            what = f"letter for order {number}"
            meaning = (
                "It was written although the invoice existed. Which command wrote it outside "
                "of the transaction?"
            )
            if letters[number] < 1 <= invoices[number]:
                meaning = (
                    "It has its invoice, and is handled: no letter will ever be sent. What "
                    "must be in the same MULTI?"
                )
            if letters[number] or invoices[number]:
                expect(1, letters[number], what, f"XRANGE {scene.key('outbox')} - +", meaning)
        expect_all_acknowledged(scene, "An order that was billed before is done, too.")
        for number in NUMBERS:
            command = f"LRANGE {scene.invoices} 0 -1"
            expect(
                1, invoices[number], f"invoice for order {number}", command,
                "It was acknowledged and never billed.",
            )  # fmt: skip
        for number in NUMBERS:
            key = scene.key(f"done:{number}")
            expect(
                1, scene.redis.exists(key), f"deduplication key of order {number}",
                f"EXISTS {key}",
                "To look among the invoices takes longer with each order, as a list only "
                "grows. What belongs in the same MULTI as invoice and letter?",
            )  # fmt: skip


class Import(Exercise):
    id = "14-import"
    goal = (
        "the stream has five entries, one for each line of the file, and each was published by "
        "the producer web with its order number as the key. Run the whole file again: you do "
        "not know where the import was killed."
    )
    given = (
        'task.redis, task.key("file") (the key of a Redis list of 5 lines: LRANGE … 0 -1), '
        "task.orders (what a RedisStreamProducer has published of them before it was killed)"
    )
    minutes = 5
    extra = True
    hints = (
        "Publish every line again. What makes publish() recognise a line that is there "
        "already?",
        "The key must be the same in each run, and so must the producer in the message.",
        'producer.publish(Message("web", line), key=line.split(":")[0]), for each line.',
    )
    _LOOP = """\
from redisflow_lab import Message, RedisStreamProducer
producer = RedisStreamProducer(task.redis, task.orders)
for line in task.redis.lrange(task.key("file"), 0, -1):
    order = line.decode()
"""
    solution = _LOOP + '    producer.publish(Message("web", order), key=order.split(":")[0])'
    wrong = (
        Wrong(
            "published again without a key",
            _LOOP + '    producer.publish(Message("web", order))',
            "nothing that identifies it",
        ),
        Wrong(
            "under another producer",
            _LOOP + '    producer.publish(Message("web-2", order), key=order.split(":")[0])',
            "belongs to the producer",
        ),
        Wrong(
            "under a key that differs from that of the first run",
            _LOOP + '    producer.publish(Message("web", order), key=order)',
            "What was the key in the first run?",
        ),
        Wrong(
            "only the missing lines, without a key",
            _LOOP.replace("0, -1", "3, -1") + '    producer.publish(Message("web", order))',
            "would a third run",
        ),
    )
    why = (
        "With a key from the order itself, a producer may start over at any time. It needs no "
        "record of how far it came, which a crash could leave wrong."
    )
    LINES = (
        "1001: 1 x Dune", "1002: 1 x Emma", "1003: 1 x Ulysses", "1004: 1 x Beloved",
        "1005: 1 x Persuasion",
    )  # fmt: skip

    def set(self, scene: Scene) -> None:
        scene.redis.rpush(scene.key("file"), *self.LINES)
        producer = RedisStreamProducer(scene.redis, scene.orders)
        for line in self.LINES[:3]:
            producer.publish(Message("web", line), key=line.split(":")[0])

    def is_attempted(self, scene: Scene) -> bool:
        return scene.redis.xlen(scene.orders) != 3

    def check(self, scene: Scene) -> None:
        begin = f"{scene.orders}:published:"
        keys = {key.decode().removeprefix(begin) for key in scene.redis.scan_iter(f"{begin}*")}
        entries: Any = scene.redis.xrange(scene.orders)
        published = Counter(Message.from_fields(fields).content for _, fields in entries)
        expected = {f"web:{line.split(':')[0]}" for line in self.LINES}
        meaning = "It was published with nothing that identifies it. Which argument does?"
        if others := keys - expected:
            meaning = (
                "What was the key in the first run? Look at the name of a Redis key that it "
                f"left, {begin}web:1001: it is the part after the last colon."
            )
            if not min(others).startswith("web:"):
                meaning = "A key belongs to the producer that the message names. Who was it?"
        for line in self.LINES:
            expect(
                1, published[line], f"entry with {line!r}",
                f"XRANGE {scene.orders} - +",
                meaning if published[line] > 1 else "This line of the file was not published.",
            )  # fmt: skip
        expect(
            5, len(keys & expected), "keys of published orders",
            f"SCAN 0 MATCH {begin}* COUNT 1000",
            "The stream is right. But what would a third run of the whole file write?",
        )  # fmt: skip


CHAPTER = Chapter(
    file="14_effects_outside_redis.ipynb",
    title="Keep effects outside Redis from repeating",
    goal="Say for an effect in another system, and for a publish, whether it can be made to "
    "happen once, and do it where it can.",
    reading=14,
    predicting=3,
    extra=10,
    builds_on=("13",),
    mistakes=(
        "What stands between multi() and execute() is part of the transaction.",
        "An outbox sends each letter exactly once.",
        "A call to xadd that raises no error writes one entry.",
        "An answer that says the key is known is an error.",
    ),
    skippable="What is called extra: publishing with a key. Consumers do without it.",
    surprise="The charge stands inside the transaction, and the customer is charged twice.",
    trouble=(
        "The bank is a file in a folder that goes with the kernel. After a restart of the "
        "kernel, run the chapter from its first cell."
    ),
    predictions={
        "14-charges": (
            "The line stands between multi() and execute(), but the bank is not in that "
            "pipeline. It was told in the first life, and the deduplication key was not set."
        ),
        "14-bank-key": (
            "Alice asked three times for a charge, and a refusal looks like a failure. The "
            "bank has one row for the key, and the handler returned, so each entry was "
            "acknowledged."
        ),
        "14-letters": (
            "The order was delivered twice, but its letter is in the same transaction as the "
            "deduplication key: the second delivery found the key and queued nothing."
        ),
        "14-mails": (
            "There is one letter in the outbox, so one mail seems sure. But the relay is a "
            "consumer like any other: sent and not acknowledged is delivered again."
        ),
        "14-script": (
            "The reply was lost, not the write. The retry found the key that the first try had "
            "set, and got the id that was lost."
        ),
    },
    exercises=(KnownKey, Outbox, Import),
)
