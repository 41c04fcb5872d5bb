"""Exercises and predictions of chapter 42: routing and several streams."""

from typing import Any

from redisflow_lab.consumer import RedisStreamConsumer
from redisflow_lab.dead_letters import DeadLetters, Reason
from redisflow_lab.interfaces import Delivery
from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import (
    Exercise,
    NotYetError,
    Wrong,
    counted,
    expect,
    expect_invoices,
)
from redisflow_lab.lab.workshop.scene import Scene, content_of
from redisflow_lab.message import Message
from redisflow_lab.router import Router

PLACED, GIFT = "order.placed", "order.gift"


class Deploy(Exercise):
    id = "42-deploy"
    goal = (
        "a consumer of billing bills both gifts, which are no dead letters any more, and the "
        "order that waits. The order that failed stays a dead letter."
    )
    given = (
        "task.redis, task.orders (billing has read it with a router that knew only "
        f"{PLACED}: two orders of the type {GIFT} are dead letters, and so is one that "
        f"failed. 5-0, of the type {PLACED}, was not read yet), task.bill (a handler: it takes "
        "a delivery, and bills either type)"
    )
    minutes = 4
    hints = (
        "A dead letter has a reason: iterate over DeadLetters(task.redis, task.orders).",
        "redrive takes letter ids. Give it those with the reason unknown-type. Then a consumer "
        "has to read what was written.",
        "The consumer is RedisStreamConsumer(task.redis, task.orders, 'billing', 'alice'), and "
        "its read_new is given a Router that has a handler for each of the two types.",
    )
    _LETTERS = (
        "from redisflow_lab import RedisStreamConsumer, Router\n"
        "from redisflow_lab.dead_letters import DeadLetters\n"
        "\n"
        "letters = DeadLetters(task.redis, task.orders)\n"
        'gifts = [x.letter_id for x in letters if x.reason == "unknown-type"]\n'
    )
    _READ = (
        'alice = RedisStreamConsumer(task.redis, task.orders, "billing", "alice")\n'
        "alice.read_new(router)"
    )
    solution = (
        f"{_LETTERS}letters.redrive(*gifts)\n"
        "\n"
        f'router = Router({{"{PLACED}": task.bill, "{GIFT}": task.bill}})\n{_READ}'
    )
    wrong = (
        Wrong(
            "everything was redriven",
            f"{_LETTERS}letters.redrive(*[x.letter_id for x in letters])\n"
            f'router = Router({{"{PLACED}": task.bill, "{GIFT}": task.bill}})\n{_READ}',
            "was redriven too",
        ),
        Wrong(
            "redriven, and read by no consumer",
            f"{_LETTERS}letters.redrive(*gifts)",
            "no consumer of billing has read",
        ),
        Wrong(
            "read by the old router",
            f"{_LETTERS}letters.redrive(*gifts)\n"
            f'router = Router({{"{PLACED}": task.bill}})\n{_READ}',
            "dead-lettered again",
        ),
        Wrong(
            "read by a router that knows the new type only",
            f"{_LETTERS}letters.redrive(*gifts)\n"
            f'router = Router({{"{GIFT}": task.bill}})\n{_READ}',
            "5-0 was dead-lettered",
        ),
        Wrong(
            "billed by hand",
            f"{_LETTERS}"
            "for letter in letters:\n"
            f'    if letter.reason == "unknown-type":\n'
            '        content = "1 x Emma" if "2-0" == letter.entry_id else "1 x Beloved"\n'
            "        task.redis.rpush(task.invoices, content)",
            "are still dead letters",
        ),
        Wrong(
            "a handler that does nothing",
            f"{_LETTERS}letters.redrive(*gifts)\n"
            f'router = Router({{"{PLACED}": task.bill, "{GIFT}": lambda _: None}})\n{_READ}',
            "Does the handler of",
        ),
    )
    why = (
        "An unknown type is no fault of the message: it waits as a dead letter, with its type, "
        "until a program knows it. A redrive before the deployment only makes it a dead letter "
        "again."
    )

    _GIFTS = ("2-0", "4-0")
    _FAILED, _WAITS = "3-0", "5-0"

    def set(self, scene: Scene) -> None:
        contents = ("1 x Dune", "1 x Emma", "two x Ulysses", "1 x Beloved")
        for number, content in enumerate(contents, start=1):
            kind = GIFT if f"{number}-0" in self._GIFTS else PLACED
            fields: Any = {"type": kind, **Message("web", content).to_fields()}
            scene.redis.xadd(scene.orders, fields, id=f"{number}-0")

        def bill(delivery: Delivery) -> None:
            int(delivery.message.content.split()[0])
            scene.bill(delivery)

        alice = RedisStreamConsumer(
            scene.redis, scene.orders, scene.group, "alice", max_deliveries=1
        )
        alice.ensure_group()
        alice.read_new(Router({PLACED: bill}))
        fields = {"type": PLACED, **Message("web", "1 x Persuasion").to_fields()}
        scene.redis.xadd(scene.orders, fields, id=self._WAITS)

    def is_attempted(self, scene: Scene) -> bool:
        letters = [letter.entry_id for letter in self._letters(scene)]
        found = letters, scene.ids(), scene.unread(), scene.billed()
        ids = [f"{number}-0" for number in range(1, 6)]
        return found != (["2-0", "3-0", "4-0"], ids, [self._WAITS], ["1 x Dune"])

    def check(self, scene: Scene) -> None:
        letters = DeadLetters(scene.redis, scene.orders)
        command = f"XRANGE {letters.dead_stream} - +"
        by_entry = {letter.entry_id: letter for letter in letters}
        if self._FAILED not in by_entry:
            raise NotYetError(
                f"The order that failed, 3-0, was redriven too ({command}).\n"
                "A new router does not repair it: it fails again, or is billed as it is. Run "
                "the cell with exercise(...) again, and choose by the reason."
            )
        unknown = {
            entry_id
            for entry_id, letter in by_entry.items()
            if letter.reason is Reason.UNKNOWN_TYPE
        }
        if left := unknown.intersection(self._GIFTS):
            raise NotYetError(
                f"Expected no dead letter of the type {GIFT}, and {len(left)} are still dead "
                f"letters ({command}).\n"
                "Their data is still in them. Which method of DeadLetters writes "
                "them to the stream again?"
            )
        if unread := scene.unread():
            raise NotYetError(
                f"{counted(len(unread), 'order is', 'orders are')} in the stream, and no "
                f"consumer of billing has read them (XINFO GROUPS {scene.orders}).\n"
                "A redriven order is a new entry: who handles it?"
            )
        if self._WAITS in unknown:
            raise NotYetError(
                f"The order 5-0 was dead-lettered: its type, {PLACED}, was not known "
                f"({command}).\n"
                "A new version knows the new type, and still the old ones. Run the cell with "
                "exercise(...) again."
            )
        if unknown:
            raise NotYetError(
                f"Orders of the type {GIFT} were dead-lettered again ({command}).\n"
                "The consumer that read them did not know their type either. Which handlers "
                "does its router have?"
            )
        meaning = f"Does the handler of {GIFT} bill? task.bill does."
        billed = ("1 x Dune", "1 x Emma", "1 x Beloved", "1 x Persuasion")
        expect_invoices(scene, billed, meaning)
        command = f"XPENDING {scene.orders} {scene.group}"
        meaning = "Acknowledge what was billed, or let read_new do both."
        expect(0, len(scene.pending()), "pending orders", command, meaning)

    @staticmethod
    def _letters(scene: Scene) -> DeadLetters:
        return DeadLetters(scene.redis, scene.orders)


class Backlog(Exercise):
    id = "42-backlog"
    goal = (
        "orders and returns are billed, at most five orders before the first return, and at "
        "most five returns before the first order. Nothing is pending."
    )
    given = (
        'task.redis, task.orders (200 orders), task.key("returns") (20 returns; the group '
        "billing exists on both and has read neither), task.bill (a handler, which takes a "
        "delivery and bills both)"
    )
    minutes = 3
    hints = (
        "Which command reads from both streams at once, and what does its COUNT count?",
        "MultiStreamConsumer(task.redis, [one, other], 'billing', 'alice') takes turns. With "
        "XREADGROUP the loop is yours, and so is the XACK.",
        "One call of alice.read_new(task.bill) is enough, with the two streams task.orders and "
        "task.key('returns').",
    )
    solution = """\
from redisflow_lab import MultiStreamConsumer

streams = [task.orders, task.key("returns")]
alice = MultiStreamConsumer(task.redis, streams, "billing", "alice")
alice.read_new(task.bill)"""
    _ONE = (
        "from redisflow_lab import Message, RedisStreamConsumer\n"
        "def consumer(stream, batch):\n"
        "    return RedisStreamConsumer(\n"
        '        task.redis, stream, "billing", "alice", batch=batch)\n'
    )
    _RAW = (
        "from redisflow_lab import Message\n"
        'streams = {task.orders: ">", task.key("returns"): ">"}\n'
        'found = task.redis.xreadgroup("billing", "alice", streams, count=COUNT)\n'
        "for stream, entries in found:\n"
        "    for entry_id, fields in entries:\n"
        "        content = Message.from_fields(fields).content\n"
        "        task.redis.rpush(task.invoices, content)\n"
    )
    wrong = (
        Wrong(
            "one stream after the other",
            f"{_ONE}"
            "consumer(task.orders, 500).read_new(task.bill)\n"
            'consumer(task.key("returns"), 10).read_new(task.bill)',
            "waited for 200 orders",
        ),
        Wrong(
            "one read of 50, handled as it came",
            _RAW.replace("COUNT", "50")
            + '        task.redis.xack(stream, "billing", entry_id)',
            "waited for 50 orders",
        ),
        Wrong(
            "orders alone",
            f"{_ONE}consumer(task.orders, 5).read_new(task.bill)",
            "No return is billed",
        ),
        Wrong(
            "returns alone",
            f'{_ONE}consumer(task.key("returns"), 5).read_new(task.bill)',
            "No order is billed",
        ),
        Wrong(
            "the returns first",
            f"{_ONE}"
            'consumer(task.key("returns"), 10).read_new(task.bill)\n'
            "consumer(task.orders, 10).read_new(task.bill)",
            "waited for 10 returns",
        ),
        Wrong(
            "billed, and not acknowledged",
            _RAW.replace("COUNT", "5"),
            "found 10 (",
        ),
        Wrong(
            "acknowledged, and not billed",
            "from redisflow_lab import MultiStreamConsumer\n"
            'streams = [task.orders, task.key("returns")]\n'
            'alice = MultiStreamConsumer(task.redis, streams, "billing", "alice")\n'
            "alice.read_new(lambda delivery: None)",
            "there are no invoices",
        ),
    )
    why = (
        "COUNT is for each stream, so one read takes from both however long one of them is. "
        "Who is handled first is then a question of your loop: fair turns answer it."
    )

    _ORDERS, _RETURNS, _MAX_BEFORE = 200, 20, 5

    def set(self, scene: Scene) -> None:
        scene.publish(self._ORDERS)
        for number in range(1, self._RETURNS + 1):
            fields: Any = Message("web", f"return {number}").to_fields()
            scene.redis.xadd(scene.key("returns"), fields, id=f"{number}-0")
        for stream in (scene.orders, scene.key("returns")):
            scene.redis.xgroup_create(stream, scene.group, id="0")

    def is_attempted(self, scene: Scene) -> bool:
        waiting = self._pending(scene)
        return bool(scene.billed() or waiting) or len(scene.unread()) != self._ORDERS

    def check(self, scene: Scene) -> None:
        command = f"LRANGE {scene.invoices} 0 -1"
        returns = {f"return {number}" for number in range(1, self._RETURNS + 1)}
        orders = {content_of(number) for number in range(1, self._ORDERS + 1)}
        billed = [content for content in scene.billed() if content in returns | orders]
        kinds = ["return" if content in returns else "order" for content in billed]
        if not kinds and not self._pending(scene):
            raise NotYetError(
                f"Entries were acknowledged, and there are no invoices ({command}).\n"
                "The handler that bills is task.bill. Run the cell with exercise(...) again."
            )
        for one, other in (("order", "return"), ("return", "order")):
            if one not in kinds:
                raise NotYetError(
                    f"No {one} is billed ({command}).\n"
                    "Both streams have some. Run the cell with exercise(...) again, and read "
                    "from both."
                )
            if (before := kinds.index(one)) > self._MAX_BEFORE:
                raise NotYetError(
                    f"The first {one} waited for {before} {other}s ({command}), and at most "
                    f"{self._MAX_BEFORE} were allowed.\n"
                    "Run the cell with exercise(...) again: how many does one read take, and "
                    "which of what it took is handled first?"
                )
        meaning = "Acknowledge each one on its own stream, or let read_new do it."
        pending = f"XPENDING {scene.orders} {scene.group}, and the same of returns"
        expect(0, self._pending(scene), "pending entries", pending, meaning)

    @staticmethod
    def _pending(scene: Scene) -> int:
        rows: Any = scene.redis.xpending(scene.key("returns"), scene.group)
        return len(scene.pending()) + int(rows["pending"])


CHAPTER = Chapter(
    file="42_routing_and_several_streams.ipynb",
    title="Route messages by type, and read several streams",
    goal=(
        "Let one stream carry several types, let one consumer read several streams, and choose "
        "between a group and a stream for each reader."
    ),
    reading=17,
    extra=3,
    predicting=4,
    builds_on=("02", "12", "31"),
    mistakes=(
        "A program that skips a type it does not know will get it after its next release.",
        "An unknown type has to be retried, like a failure.",
        "A redriven message is in its old place in the stream again.",
        "COUNT is for the whole command, whatever the number of streams.",
        "What was written first is handled first, also in another stream.",
        "A group receives only the types that it has handlers for.",
    ),
    skippable="What is called extra: what copies of a stream cost.",
    surprise="The return is handled before the order that it is of.",
    trouble=(
        "A cell that raises a NameError was run out of sequence: run the chapter from its "
        "first cell."
    ),
    predictions={
        "42-skipped": (
            "The new version knows the type, so one expects it to receive what it knows. But "
            "the old version has acknowledged the entry, and the group's cursor is past it."
        ),
        "42-deliveries": (
            "Five is the limit for failures, which may end by themselves. The same program "
            "will never know this type, so the first delivery is enough."
        ),
        "42-redriven": (
            "The cancellation was written before the second order, so one expects it to come "
            "before it again. But a redrive writes a new entry, at the end of the stream."
        ),
        "42-turns": (
            "COUNT 10 is for each stream, so the returns are in the first reply. But they come "
            "after the ten orders there, and the loop handles them as they come."
        ),
        "42-filter": (
            "It needs only the cancellations, so one expects the orders to pass it by. But a "
            "group has no filter: every order is delivered to it as well, and is a type that "
            "its router does not know."
        ),
    },
    exercises=(Deploy, Backlog),
)
