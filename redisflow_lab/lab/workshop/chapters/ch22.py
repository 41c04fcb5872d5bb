"""Exercises and predictions of chapter 22: claim, give back and publish once with Redis 8."""

from typing import Any

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import (
    Exercise,
    NotYetError,
    Wrong,
    counted,
    expect,
)
from redisflow_lab.lab.workshop.scene import Scene
from redisflow_lab.message import Message

HOUR = 3_600_000  # in ms, as Redis counts


def deliver(scene: Scene, consumer: str, count: int) -> None:
    """Deliver so many new orders to a consumer."""
    scene.redis.xreadgroup(scene.group, consumer, {scene.orders: ">"}, count=count)


def age(scene: Scene, consumer: str, entry_id: str, deliveries: int) -> None:
    """Make a pending order two hours old, and delivered so often."""
    scene.redis.xclaim(
        scene.orders, scene.group, consumer, 0, [entry_id],
        idle=2 * HOUR, retrycount=deliveries, justid=True,
    )  # fmt: skip


class Limit(Exercise):
    id = "22-limit"
    goal = (
        "bob has read once with CLAIM. An order that had been delivered 5 times before is "
        "copied to the stream orders:dead, with its id as dead:id, and not billed. The others "
        "that he got are billed: their content is pushed to task.invoices. All of these are "
        "acknowledged."
    )
    given = (
        'task.redis, task.orders (five), task.invoices, task.key("orders:dead"). With alice: '
        "1-0, delivered 5 times, and 2-0, 4 times, both idle for two hours. carol is busy with "
        "3-0. New: 4-0 and 5-0"
    )
    minutes = 6
    needs = ("XREADGROUP CLAIM",)
    hints = (
        "Take the function consume from above, with the keys of the task, and look at the "
        "fourth part.",
        "An order arrives with the number of its deliveries before this one: 5 is too many.",
        'In one pipeline, if before >= 5: xadd(task.key("orders:dead"), {**fields, "dead:id": '
        "entry_id}). Otherwise: rpush(task.invoices, Message.from_fields(fields).content). "
        "Then xack, for both.",
    )
    solution = """\
from redisflow_lab import Message

found = task.redis.xreadgroup(
    "billing", "bob", {task.orders: ">"}, claim_min_idle_time=3_600_000
)
for entry_id, fields, idle, before in found[0][1]:
    with task.redis.pipeline() as commands:  # MULTI
        if before >= 5:
            letter = {**fields, "dead:id": entry_id}
            commands.xadd(task.key("orders:dead"), letter)
        else:
            text = Message.from_fields(fields).content
            commands.rpush(task.invoices, text)
        commands.xack(task.orders, "billing", entry_id)
        commands.execute()"""
    wrong = (
        Wrong(
            "the limit is off by one, as XPENDING counts",
            solution.replace("before >= 5", "before > 5"),
            "1-0 was billed",
        ),
        Wrong(
            "the limit is off by one, the other way",
            solution.replace("before >= 5", "before + 1 >= 5"),
            "2-0 is dead-lettered",
        ),
        Wrong(
            "an order is taken from carol",
            solution.replace("3_600_000", "0"),
            "3-0 was taken from carol",
        ),
        Wrong(
            "no order is claimed",
            solution.replace(", claim_min_idle_time=3_600_000", "")
            .replace("fields, idle, before", "fields")
            .replace("before >= 5", "False"),
            "Still with alice, and idle for two hours: 1-0, 2-0",
        ),
        Wrong(
            "the dead letter is not acknowledged",
            solution.replace("    commands.xack", "        commands.xack"),
            "1-0 is still pending with bob",
        ),
        Wrong(
            "the poison order is dropped",
            solution.replace('commands.xadd(task.key("orders:dead"), letter)', "pass"),
            "1-0 is lost",
        ),
        Wrong(
            "the dead letter does not say which order it is of",
            solution.replace('{**fields, "dead:id": entry_id}', "fields"),
            "does not say which order it is of",
        ),
    )
    why = (
        "The reply to CLAIM counts the deliveries before this one, XPENDING counts this one as "
        "well. A limit is off by one if it is moved from one to the other as it is."
    )

    def set(self, scene: Scene) -> None:
        scene.publish(5)
        scene.redis.xgroup_create(scene.orders, scene.group, id="0")
        deliver(scene, "alice", 2)
        deliver(scene, "carol", 1)
        age(scene, "alice", "1-0", 5)
        age(scene, "alice", "2-0", 4)

    def is_attempted(self, scene: Scene) -> bool:
        owners = [(row.entry_id, row.consumer) for row in scene.pending()]
        return bool(scene.billed()) or owners != [
            ("1-0", "alice"), ("2-0", "alice"), ("3-0", "carol")
        ]  # fmt: skip

    def dead(self, scene: Scene) -> list[str]:
        """The content of each dead letter."""
        return [Message.from_fields(fields).content for _, fields in self.letters(scene)]

    def letters(self, scene: Scene) -> list[Any]:
        """The entries of the dead-letter stream."""
        found: Any = scene.redis.xrange(scene.key("orders:dead"))
        return [*found]

    def check(self, scene: Scene) -> None:
        command = f"XPENDING {scene.orders} {scene.group} - + 10"
        owners = {row.entry_id: row.consumer for row in scene.pending()}
        if owners.pop("3-0", "") != "carol":
            raise NotYetError(
                f"3-0 was taken from carol, who is working on it ({command}).\n"
                "For how long does an order have to be idle before bob may claim it?"
            )
        if hers := [entry_id for entry_id, owner in owners.items() if owner == "alice"]:
            raise NotYetError(
                f"Still with alice, and idle for two hours: {', '.join(hers)} ({command}).\n"
                "Which argument makes a read claim them?"
            )
        if owners:
            entry_id, owner = next(iter(owners.items()))
            raise NotYetError(
                f"{entry_id} is still pending with {owner} ({command}).\n"
                "The dead letter is done, and so is a billed order: acknowledge each. What bob "
                "has got is not idle any more, so run the cell with exercise(...) before that."
            )
        self.check_effects(scene)

    def check_effects(self, scene: Scene) -> None:
        poison, last_attempt = "1 x Dune", "1 x Emma"
        billed, dead = scene.billed(), self.dead(scene)
        command = f"LRANGE {scene.invoices} 0 -1"
        if poison in billed:
            raise NotYetError(
                f"1-0 was billed ({command}): it had been delivered 5 times before.\n"
                "With which number does its sixth delivery arrive?"
            )
        if last_attempt in dead:
            raise NotYetError(
                f"2-0 is dead-lettered (XRANGE {scene.key('orders:dead')} - +): it had been "
                "delivered 4 times before.\nIs its fifth delivery one too many?"
            )
        if poison not in dead:
            raise NotYetError(
                f"1-0 is lost: it is neither billed nor in {scene.key('orders:dead')}.\n"
                "Publish its fields there before you acknowledge it."
            )
        ids = [fields.get(b"dead:id") for _, fields in self.letters(scene)]
        if ids != [b"1-0"]:
            raise NotYetError(
                "The dead letter does not say which order it is of "
                f"(XRANGE {scene.key('orders:dead')} - +).\n"
                "Chapter 12 writes the id of the order as dead:id. Run the cell with "
                "exercise(...) again."
            )
        expected = sorted((last_attempt, "1 x Beloved", "1 x Persuasion"))
        expect(expected, sorted(billed), "as invoices", command, "Bill each order once.")


class Retry(Exercise):
    id = "22-retry"
    goal = (
        "all 150 orders were published twice by the producer web: first 1 to 150, then 1 to "
        "150 again, with the same keys. The stream has 150 entries."
    )
    given = "task.redis, task.orders (an empty stream; the content of an entry does not matter)"
    minutes = 4
    extra = True
    needs = ("XADD IDMP", "XCFGSET")
    hints = (
        "For how many keys of one producer is there room, unless you say otherwise?",
        "Make room for 150 keys. When is the right moment for that?",
        "xcfgset(task.orders, idmp_maxsize=...) first. Then two rounds of xadd(..., idmp=...).",
    )
    solution = (
        "task.redis.xcfgset(task.orders, idmp_maxsize=150)\n"
        "for number in [*range(1, 151)] * 2:\n"
        '    key = ("web", str(number))\n'
        '    task.redis.xadd(task.orders, {"n": number}, idmp=key)'
    )
    wrong = (
        Wrong(
            "no more room than there is by default",
            "for number in [*range(1, 151)] * 2:\n"
            '    task.redis.xadd(task.orders, {"n": number}, idmp=("web", str(number)))',
            "The stream has room for 100 keys",
        ),
        Wrong(
            "more room too late",
            "for attempt in (1, 2):\n"
            "    for number in range(1, 151):\n"
            '        task.redis.xadd(task.orders, {"n": number}, idmp=("web", str(number)))\n'
            "    task.redis.xcfgset(task.orders, idmp_maxsize=150)",
            "What does XCFGSET with another value do",
        ),
        Wrong(
            "no key",
            "for number in [*range(1, 151)] * 2:\n"
            '    task.redis.xadd(task.orders, {"n": number})',
            "The server was given no key",
        ),
        Wrong(
            "published once",
            "for number in range(1, 151):\n"
            '    task.redis.xadd(task.orders, {"n": number}, idmp=("web", str(number)))',
            "No order was published again",
        ),
        Wrong(
            "another producer",
            "task.redis.xcfgset(task.orders, idmp_maxsize=150)\n"
            'for producer in ("web", "mobile"):\n'
            "    for number in range(1, 151):\n"
            '        task.redis.xadd(task.orders, {"n": number}, idmp=(producer, str(number)))',
            "2 producers",
        ),
    )
    why = (
        "The server remembers as many keys as it has room for. A producer needs room for all "
        "that it may still publish again, and it needs it before its first order."
    )

    def set(self, scene: Scene) -> None:
        scene.redis.xgroup_create(scene.orders, scene.group, id="0", mkstream=True)

    def is_attempted(self, scene: Scene) -> bool:
        about = scene.redis.xinfo_stream(scene.orders)
        return bool(about["entries-added"]) or about["idmp-maxsize"] != 100

    def check(self, scene: Scene) -> None:
        about = scene.redis.xinfo_stream(scene.orders)
        command = f"XINFO STREAM {scene.orders}"
        if about["length"] and not about["iids-added"]:
            raise NotYetError(
                f"The server was given no key: iids-added is 0 ({command}).\n"
                "Which option of XADD names the producer and the key?"
            )
        if (producers := about["pids-tracked"]) > 1:
            raise NotYetError(
                f"The keys came from {producers} producers: see pids-tracked ({command}).\n"
                "The server keeps the keys of each apart. Both rounds are web's."
            )
        if about["length"] > 150:
            raise NotYetError(self.reason_for_duplicates(about["length"], about, command))
        expect(150, about["length"], "entries", command, "Begin anew, with 150 orders.")
        if about["iids-duplicates"] < 150:
            recognised = about["iids-duplicates"]
            raise NotYetError(
                f"No order was published again, or not all: {recognised} of 150 were "
                f"recognised (iids-duplicates in {command}).\nPublish all a second time."
            )

    def reason_for_duplicates(self, length: int, about: dict[str, int], command: str) -> str:
        """What to say of too many entries."""
        found = f"Expected 150 entries, found {length} ({command}). Begin anew.\n"
        if about["idmp-maxsize"] < 150:
            return (
                f"{found}The stream has room for {counted(about['idmp-maxsize'], 'key')} of a "
                "producer: which ones does it still know when the second round begins?"
            )
        return (
            f"{found}There is room for {counted(about['idmp-maxsize'], 'key')} now. What does "
            "XCFGSET with another value do to the known ones? Or did the keys of the rounds "
            "differ?"
        )


class Shutdown(Exercise):
    id = "22-shutdown"
    goal = (
        "alice is shut down: her name is gone from the group, and no order is lost. Each of "
        "her orders is pending without an owner: 1-0, which she tried, as delivered once, and "
        "the two that she did not begin as delivered 0 times."
    )
    given = "task.redis, task.orders (1-0, 2-0 and 3-0, delivered to alice once)"
    minutes = 4
    needs = ("XNACK",)
    hints = (
        "Two words of XNACK: one lets the delivery count, the other takes it back.",
        "Her name can be removed as soon as nothing belongs to it: in which order?",
        'xnack(task.orders, "billing", WORD, ids...) twice, then xgroup_delconsumer.',
    )
    solution = (
        'task.redis.xnack(task.orders, "billing", "FAIL", "1-0")\n'
        'task.redis.xnack(task.orders, "billing", "SILENT", "2-0", "3-0")\n'
        'task.redis.xgroup_delconsumer(task.orders, "billing", "alice")'
    )
    wrong = (
        Wrong(
            "her name is removed first",
            'task.redis.xgroup_delconsumer(task.orders, "billing", "alice")',
            "found 0",
        ),
        Wrong(
            "acknowledged what she tried",
            'task.redis.xack(task.orders, "billing", "1-0")\n'
            'task.redis.xnack(task.orders, "billing", "SILENT", "2-0", "3-0")\n'
            'task.redis.xgroup_delconsumer(task.orders, "billing", "alice")',
            "found 2",
        ),
        Wrong(
            "everything failed",
            'task.redis.xnack(task.orders, "billing", "FAIL", "1-0", "2-0", "3-0")\n'
            'task.redis.xgroup_delconsumer(task.orders, "billing", "alice")',
            "as the delivery count of 2-0",
        ),
        Wrong(
            "everything is silent",
            'task.redis.xnack(task.orders, "billing", "SILENT", "1-0", "2-0", "3-0")\n'
            'task.redis.xgroup_delconsumer(task.orders, "billing", "alice")',
            "as the delivery count of 1-0",
        ),
        Wrong(
            "her name stays",
            'task.redis.xnack(task.orders, "billing", "FAIL", "1-0")\n'
            'task.redis.xnack(task.orders, "billing", "SILENT", "2-0", "3-0")',
            "alice is still in the group",
        ),
        Wrong(
            "made to look old",
            'task.redis.xclaim(task.orders, "billing", "alice", 0, ["2-0", "3-0"], '
            "idle=3_600_000, retrycount=0, justid=True)\n"
            'task.redis.xnack(task.orders, "billing", "FAIL", "1-0")',
            "belongs to alice",
        ),
    )
    why = (
        "What is given back belongs to no consumer, so it outlives the name. FAIL counts an "
        "attempt, SILENT does not: what was never begun must not come nearer to the limit."
    )

    def set(self, scene: Scene) -> None:
        scene.publish(3)
        scene.redis.xgroup_create(scene.orders, scene.group, id="0")
        deliver(scene, "alice", 3)

    def is_attempted(self, scene: Scene) -> bool:
        state = [(row.consumer, row.deliveries, row.idle_ms < HOUR) for row in scene.pending()]
        return state != [("alice", 1, True)] * 3

    def check(self, scene: Scene) -> None:
        command = f"XPENDING {scene.orders} {scene.group} - + 10"
        pending = scene.pending()
        meaning = "Orders are lost. What takes an order off the pending list?"
        expect(3, len(pending), "pending orders", command, meaning)
        for row in pending:
            if row.consumer:
                raise NotYetError(
                    f"{row.entry_id} belongs to {row.consumer} ({command}).\n"
                    "It would be deleted with that name. Which command takes the owner away?"
                )
        for row, deliveries in zip(pending, (1, 0, 0), strict=True):
            meaning = "Which word of XNACK lets a delivery count, and which one takes it back?"
            what = f"as the delivery count of {row.entry_id}"
            expect(deliveries, row.deliveries, what, command, meaning)
        names = scene.redis.xinfo_consumers(scene.orders, scene.group)
        if b"alice" in [row["name"] for row in names]:
            raise NotYetError(
                f"alice is still in the group (XINFO CONSUMERS {scene.orders} {scene.group}).\n"
                "Nothing belongs to her any more: her name can be removed."
            )


CHAPTER = Chapter(
    file="22_redis_8_claim_and_publish_once.ipynb",
    title="Claim, give back and publish once (Redis 8)",
    goal="Claim, publish once and give back with one command each, and know their limits.",
    reading=16,
    predicting=4,
    extra=12,
    builds_on=("10", "12", "13"),
    mistakes=(
        "The delivery count in the reply to CLAIM is the one of XPENDING.",
        "XNACK ... FATAL keeps an order from being delivered again.",
        "The server recognises a repeated order however late it comes.",
        "More room for keys can be made at any time with XCFGSET.",
    ),
    skippable=(
        "What is called extra: what CLAIM takes first, IDMPAUTO, room for more keys, the "
        "helper, and what FAIL does to the pause."
    ),
    surprise="XNACK with FATAL hands the order out again like any other.",
    trouble="It needs Redis 8.10, as chapter 21 does.",
    predictions={
        "22-bob": (
            "CLAIM looks at how long an order has been idle, not at whose it is: 2-0 is busy. "
            "And it does not replace the read: what is new comes after what was claimed."
        ),
        "22-changed": (
            "One expects an error, or both. The server compares producer and key, and takes "
            "the second call for a retry of the first: its body is dropped."
        ),
        "22-auto": (
            "The bytes decide. Two messages of the same text differ in created_at, and two "
            "orders of different people may be the same bytes."
        ),
        "22-room": (
            "A time of 100 seconds sounds like a promise. But there is room for two keys, and "
            "the third order took the place of the first."
        ),
        "22-back": (
            "It is not new: > gives what was never delivered. It is not Alice's: 0 gives what "
            "is pending with her. It is pending without an owner, and CLAIM takes it at once."
        ),
        "22-fatal": (
            "The word sounds like an end. Redis has no delivery limit and no dead letters: it "
            "writes a very large number, and hands the order out like any other."
        ),
        "22-lost": (
            "XCLAIM with a large idle time leaves the order with Alice, and what belongs to a "
            "name is deleted with it. XNACK takes it from her, and leaves it pending."
        ),
    },
    exercises=(Limit, Retry, Shutdown),
    needs=("XREADGROUP CLAIM", "XADD IDMP", "XCFGSET", "XNACK"),
)
