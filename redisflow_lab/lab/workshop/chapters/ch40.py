"""Exercises and predictions of chapter 40: replication and failover."""

from collections import Counter
from typing import Any

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
from redisflow_lab.producer import RedisStreamProducer

TO_WRITE, MAX_LAG = "min-replicas-to-write", "min-replicas-max-lag"
DEFAULTS = {TO_WRITE: 0, MAX_LAG: 10}


def settings(scene: Scene) -> dict[str, dict[str, int]]:
    """The limits for writes of each node that runs and has data, by its name."""
    found = {}
    for name, node in scene.nodes.items():
        if name.startswith("node-") and node.status == "running":
            with node.connect() as client:
                values: Any = client.config_get("min-replicas-*")
                found[name] = {setting: int(values[setting]) for setting in DEFAULTS}
    return found


class Replicated(Exercise):
    """An exercise on a primary with a replica."""

    def restore(self, scene: Scene) -> None:
        """Let the primary take writes again, whatever an answer to 40-refuse has set."""
        for name in settings(scene):
            with scene.nodes[name].connect() as client:
                for setting, value in DEFAULTS.items():
                    client.config_set(setting, value)


class Undone(Replicated):
    id = "40-undone"
    goal = "each of the five orders has exactly one invoice, and no order is pending."
    given = (
        "task.redis, task.orders (alice of the group billing had billed and acknowledged the "
        "orders 1-0 to 4-0; then a failover came), task.invoices (the key of a list with "
        "the content of each order that was billed; it stands for a database of its own, from "
        "which a failover of Redis takes nothing)"
    )
    minutes = 4
    hints = (
        "What is pending, and what has an invoice? XPENDING and LRANGE show it. An order can "
        "be both.",
        "Read alice's pending orders with `0`, as after a crash. Look for the content of each "
        "in task.invoices before you bill it.",
        "For each: if content.encode() is not in task.redis.lrange(task.invoices, 0, -1), push "
        "it with rpush: Redis answers bytes. Acknowledge it in both cases.",
    )
    solution = """\
from redisflow_lab import Message

r = task.redis
[[_, entries]] = r.xreadgroup("billing", "alice", {task.orders: "0"})
for entry_id, fields in entries:
    content = Message.from_fields(fields).content
    if content.encode() not in r.lrange(task.invoices, 0, -1):
        r.rpush(task.invoices, content)
    r.xack(task.orders, "billing", entry_id)"""
    _READ = (
        "from redisflow_lab import Message\n"
        'found = task.redis.xreadgroup("billing", "alice", {task.orders: "0"})[0][1]\n'
    )
    wrong = (
        Wrong(
            "all that is pending was billed",
            f"{_READ}for entry_id, fields in found:\n"
            "    content = Message.from_fields(fields).content\n"
            "    task.redis.rpush(task.invoices, content)\n"
            '    task.redis.xack(task.orders, "billing", entry_id)',
            "found 2 (LRANGE",
        ),
        Wrong(
            "all that is pending was taken for billed",
            f"{_READ}for entry_id, _ in found:\n"
            '    task.redis.xack(task.orders, "billing", entry_id)',
            "found 0 (LRANGE",
        ),
        Wrong(
            "the missing one was billed, and nothing acknowledged",
            f"{_READ}task.redis.rpush(\n"
            "    task.invoices, Message.from_fields(found[-1][1]).content)",
            "found 3 (XPENDING",
        ),
        Wrong(
            "the group was created anew behind the last order",
            'task.redis.xgroup_destroy(task.orders, "billing")\n'
            'task.redis.xgroup_create(task.orders, "billing", id="$")',
            "is no longer pending, and it has no invoice",
        ),
    )
    why = (
        "A failover undoes acknowledgements, so an order that is delivered again may be billed "
        "already. Ask the store that has the invoices, and not Redis, whether it is."
    )

    _ACKNOWLEDGED, _BILLED = 2, 4

    def set(self, scene: Scene) -> None:
        scene.publish(len(BOOKS))
        scene.redis.xgroup_create(scene.orders, scene.group, id="0")
        scene.redis.xreadgroup(scene.group, "alice", {scene.orders: ">"})
        done = [f"{number}-0" for number in range(1, self._ACKNOWLEDGED + 1)]
        scene.redis.xack(scene.orders, scene.group, *done)
        billed = [content_of(number) for number in range(1, self._BILLED + 1)]
        scene.redis.rpush(scene.invoices, *billed)

    def is_attempted(self, scene: Scene) -> bool:
        return (len(scene.pending()), len(scene.billed())) != (3, self._BILLED)

    def check(self, scene: Scene) -> None:
        expect_kept(scene, [f"{number}-0" for number in range(1, 6)])
        if content_of(5) not in scene.billed() and scene.group in scene.groups():
            rows: Any = scene.redis.xinfo_groups(scene.orders)
            if not scene.pending() and rows[0]["consumers"] == 0:
                raise NotYetError(
                    f"5-0 is no longer pending, and it has no invoice "
                    f"(XINFO CONSUMERS {scene.orders} {scene.group}).\n"
                    "A group that is made anew forgets what was pending. Run the cell with "
                    "exercise(...) again: bill what is missing, and acknowledge."
                )
        meaning = (
            "Some of what is pending was billed before the failover, and some was not. Which "
            "store knows? Its answers are bytes: compare content.encode(). Run the cell with "
            "exercise(...) again."
        )
        expect_invoices(scene, [content_of(number) for number in range(1, 6)], meaning)
        command = f"XPENDING {scene.orders} {scene.group} - + 10"
        meaning = "What is billed has to be acknowledged, too, or it is delivered again."
        expect(0, len(scene.pending()), "pending orders", command, meaning)


class Again(Replicated):
    id = "40-again"
    goal = (
        "each of the eight orders in web's own table is in the stream exactly once, and "
        "publishing the table again, with its numbers as keys, would add none."
    )
    given = (
        "task.redis, task.orders, task.key('sent') (a hash, and web's own table: the number of "
        "each order that it has published, and its content. It published each with its number "
        "as the key. Then a failover came)"
    )
    minutes = 3
    hints = (
        "Do you have to know which ones are missing? What does publish do with a key that it "
        "has seen?",
        "A failover that loses an order also loses the note of its key: they were written "
        "together. So publish each order of the table again, with its number as the key.",
        "task.redis.hgetall(task.key('sent')) gives numbers and contents as bytes: decode() "
        "both. The message is Message('web', content), as before.",
    )
    solution = """\
from redisflow_lab import Message, RedisStreamProducer

web = RedisStreamProducer(task.redis, task.orders)
sent = task.redis.hgetall(task.key("sent"))
for number, content in sent.items():
    message = Message("web", content.decode())
    web.publish(message, key=number.decode())"""
    _BEGIN = (
        "from redisflow_lab import Message, RedisStreamProducer\n"
        "web = RedisStreamProducer(task.redis, task.orders)\n"
        'sent = task.redis.hgetall(task.key("sent"))\n'
        "for number, content in sent.items():\n"
        "    number, content = number.decode(), content.decode()\n"
    )
    wrong = (
        Wrong(
            "published again without a key",
            f'{_BEGIN}    web.publish(Message("web", content))',
            "without its key",
        ),
        Wrong(
            "published again with keys of another form",
            f'{_BEGIN}    web.publish(Message("web", content), key="order-" + number)',
            "with a key that is not its number",
        ),
        Wrong(
            "published again under another name",
            f'{_BEGIN}    web.publish(Message("mobile", content), key=number)',
            "with another producer than web",
        ),
        Wrong(
            "only the missing ones, without their keys",
            f"{_BEGIN}    if int(number) > task.redis.xlen(task.orders):\n"
            '        web.publish(Message("web", content))',
            "has no note of its key",
        ),
        Wrong(
            "only the last two",
            f'{_BEGIN}    if number in ("7", "8"):\n'
            '        web.publish(Message("web", content), key=number)',
            "found 0 (XRANGE",
        ),
    )
    why = (
        "The entry and the note of its key are written in one step, and a replica gets both or "
        "neither. So nobody has to find out what was lost: publish again, with the same keys."
    )

    _ALL, _KEPT = 8, 5

    def set(self, scene: Scene) -> None:
        web = RedisStreamProducer(scene.redis, scene.orders)
        for number in range(1, self._KEPT + 1):
            web.publish(Message("web", self._content(number)), key=str(number))
        sent: Any = {str(n): self._content(n) for n in range(1, self._ALL + 1)}
        scene.redis.hset(scene.key("sent"), mapping=sent)

    @staticmethod
    def _content(number: int) -> str:
        return f"{number} x Dune"

    def is_attempted(self, scene: Scene) -> bool:
        return len(scene.ids()) != self._KEPT or self._marks(scene) != self._KEPT

    def check(self, scene: Scene) -> None:
        found: Any = scene.redis.xrange(scene.orders)
        messages = [Message.from_fields(fields) for _, fields in found]
        contents = Counter(message.content for message in messages)
        twice = [content for content, count in contents.items() if count > 1]
        command = f"XRANGE {scene.orders} - +"
        if twice:
            if any(message.producer != "web" for message in messages):
                how = "with another producer than web"
                why = "The key of a message belongs to its producer: same key, same producer."
            elif self._marks(scene) > self._ALL:
                how = "with a key that is not its number"
                why = "Redis recognises an order only by the same key as before."
            else:
                how = "without its key"
                why = "A customer would get two parcels. What keeps a publish from doubling?"
            raise NotYetError(
                f"{twice[0]} is in the stream {contents[twice[0]]} times: it was published "
                f"again {how} ({command}).\n{why} Run the cell with exercise(...) again."
            )
        for number in range(1, self._ALL + 1):
            content = self._content(number)
            meaning = (
                "It was acknowledged to web, and the failover has lost it. Compare the table "
                "with the stream."
            )
            expect(1, contents[content], f"order {content!r}", command, meaning)
            key = f"{scene.orders}:published:web:{number}"
            if not scene.redis.exists(key):
                raise NotYetError(
                    f"{content} is in the stream, and Redis has no note of its key "
                    f"(EXISTS {key}).\n"
                    "Published again with its number as the key, it would come twice. Run the "
                    "cell with exercise(...) again."
                )

    @staticmethod
    def _marks(scene: Scene) -> int:
        """How many keys of publishes Redis remembers."""
        return sum(":published:" in key for key, _ in scene.types())


class Refuse(Replicated):
    id = "40-refuse"
    extra = True
    goal = (
        "whichever of the two servers is the primary refuses writes when no replica has "
        "confirmed anything for two seconds, and takes them otherwise."
    )
    given = (
        "task.redis, task.orders, task.nodes['node-1'] and task.nodes['node-2'], as in "
        "lab.nodes: each has connect()"
    )
    minutes = 3
    hints = (
        "Two settings: how many replicas, and how many seconds since each has confirmed last. "
        "CONFIG GET min-replicas-* shows them.",
        "A setting belongs to one server, and is not replicated. Who is the primary after the "
        "next failover?",
        "For each of node-1 and node-2: task.nodes[name].connect().config_set(...), with 1 for "
        "min-replicas-to-write and 2 for min-replicas-max-lag.",
    )
    solution = """\
for name in ("node-1", "node-2"):
    server = task.nodes[name].connect()
    server.config_set("min-replicas-to-write", 1)
    server.config_set("min-replicas-max-lag", 2)"""
    _BOTH = 'for name in ("node-1", "node-2"):\n    server = task.nodes[name].connect()\n'
    wrong = (
        Wrong(
            "the primary alone",
            'task.redis.config_set("min-replicas-to-write", 1)\n'
            'task.redis.config_set("min-replicas-max-lag", 2)',
            "The present replica has min-replicas-to-write 0",
        ),
        Wrong(
            "both servers were to have confirmed",
            f'{_BOTH}    server.config_set("min-replicas-to-write", 2)\n'
            '    server.config_set("min-replicas-max-lag", 2)',
            "refuses every write",
        ),
        Wrong(
            "the default of ten seconds is left",
            f'{_BOTH}    server.config_set("min-replicas-to-write", 1)',
            "for up to 10 s",
        ),
        Wrong(
            "no lag at all is allowed",
            f'{_BOTH}    server.config_set("min-replicas-to-write", 1)\n'
            '    server.config_set("min-replicas-max-lag", 0)',
            "0 turns the limit off",
        ),
    )
    why = (
        "Both settings are needed on each server that may become the primary. A failover can "
        "then lose what was written within the lag, and no more: that is a bound, not nothing."
    )

    def set(self, scene: Scene) -> None:
        scene.publish(1)

    def is_attempted(self, scene: Scene) -> bool:
        return any(found != DEFAULTS for found in settings(scene).values())

    def check(self, scene: Scene) -> None:
        found = settings(scene)
        if len(found) < 2:
            raise NotYetError(
                f"Expected two servers that run, found {len(found)} (lab.servers()).\n"
                "Start the other one: lab.nodes['node-1'].start(), or 'node-2'."
            )
        for name, values in found.items():
            where = self._where(scene, name)
            to_write, max_lag = values[TO_WRITE], values[MAX_LAG]
            command = f"CONFIG GET min-replicas-* on {name}"
            if to_write > 1:
                raise NotYetError(
                    f"{where} asks for {to_write} replicas, and has one at most: as the "
                    f"primary it refuses every write ({command}).\n"
                    "The primary does not count itself. How many replicas has it?"
                )
            if to_write == 0:
                raise NotYetError(
                    f"{where} has {TO_WRITE} 0, expected 1 on both servers ({command}).\n"
                    "A setting is not replicated, and after the next failover the other server "
                    "is the primary."
                )
            if max_lag == 0:
                raise NotYetError(
                    f"{where} has {MAX_LAG} 0, and 0 turns the limit off ({command}).\n"
                    "It is the number of seconds that a replica may be silent."
                )
            if max_lag != 2:
                raise NotYetError(
                    f"{where} goes on taking writes for up to {max_lag} s after its replica "
                    f"fell silent ({command}).\n"
                    "The goal says two seconds. Which setting is that?"
                )

    @staticmethod
    def _where(scene: Scene, name: str) -> str:
        """What a node is now, in words."""
        with scene.nodes[name].connect() as client:
            info: Any = client.info("replication")
        return "The present replica" if info["role"] == "slave" else "The primary"


CHAPTER = Chapter(
    file="40_replicate_and_fail_over.ipynb",
    title="Replicate and fail over",
    goal="Say which acknowledged orders a failover loses, and bound the loss.",
    reading=18,
    predicting=4,
    extra=5,
    builds_on=("03", "05", "12", "14"),
    mistakes=(
        "An id from XADD means that the order is on both servers.",
        "A failover that was planned loses nothing.",
        "After a partition, the two servers merge what each has written.",
        "WAIT makes a write safe, or takes it back when it times out.",
        "A failover can lose orders, but what was acknowledged stays acknowledged.",
    ),
    skippable="What is called extra: the last exercise, and delivery counts.",
    surprise=(
        "A planned failover loses 50 orders of a client that did everything right, and no "
        "error says so."
    ),
    trouble=(
        "A failover takes two to three seconds, so some cells do. Cutting connections needs "
        "Linux: elsewhere `lab.partition` says so. The chapter starts servers of its own, also "
        "with REDISFLOW_URL and REDISFLOW_SERVER=docker."
    ),
    predictions={
        "40-cut": (
            "A primary that cannot reach its replica has a reason to refuse, or to wait. But "
            "it answers as soon as it has written the order itself, and sends it to its "
            "replicas after that: so all 50 are acknowledged."
        ),
        "40-killed": (
            "An id, and an XACK that answers 1, look like promises. Both were given "
            "by the primary alone, and the replica had neither."
        ),
        "40-planned": (
            "Nothing failed, so one expects nothing to be lost. But the client kept its "
            "connection to a server that was no longer the primary and did not know it yet."
        ),
        "40-both": (
            "It is tempting to add up what both accepted. There is no merge: the old primary "
            "takes a copy of the new one, and everything else it had is deleted."
        ),
        "40-wait": (
            "An error usually means that nothing was written. WAIT comes after the write, and "
            "only counts: the order is in the stream, and consumers read it."
        ),
    },
    exercises=(Undone, Again, Refuse),
)
