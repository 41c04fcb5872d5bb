"""Exercises and predictions of chapter 41: partitions on a Redis Cluster."""

from typing import Any

from redisflow_lab.interfaces import Delivery
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
from redisflow_lab.partitions import partition_of, partition_streams
from redisflow_lab.partitions.counting import count_key
from redisflow_lab.partitions.ownership import Member, owner_key

PARTITIONS = 4
AGAIN = "Run the cell with exercise(...) again."


def partitions_of(scene: Scene) -> list[str]:
    """The streams of the scene's partitions."""
    return partition_streams(scene.orders, PARTITIONS)


def write(scene: Scene, stream: str, contents: list[str]) -> None:
    """Publish orders with the ids 1-0, 2-0, ..."""
    for number, content in enumerate(contents, 1):
        fields: Any = Message("web", content).to_fields()
        scene.redis.xadd(stream, fields, id=f"{number}-0")


class Place(Exercise):
    id = "41-place"
    goal = (
        "each order of task.orders is also in the partition of its customer, one of four, and "
        "the orders of each customer are there in their order."
    )
    given = (
        "task.redis, task.orders (a stream of twelve orders; the content of each is the "
        "customer and a number, such as ada 1)"
    )
    minutes = 3
    hints = (
        "Read the old stream from its beginning, and publish each order to the partitions.",
        "task.redis.xrange(task.orders) gives pairs of id and fields, and "
        "Message.from_fields(fields) the message. What is the partition_key?",
        "PartitionedProducer(task.redis, task.orders, partitions=4), and for each message "
        "publish(message, partition_key=customer): the customer is the first word of its "
        "content.",
    )
    solution = """\
from redisflow_lab import Message
from redisflow_lab.partitions import PartitionedProducer

producer = PartitionedProducer(task.redis, task.orders, partitions=4)
for _, fields in task.redis.xrange(task.orders):
    message = Message.from_fields(fields)
    customer, _ = message.content.split()
    producer.publish(message, partition_key=customer)"""
    _START = """\
from redisflow_lab import Message
from redisflow_lab.partitions import PartitionedProducer, partition_of
producer = PartitionedProducer(task.redis, task.orders, partitions=4)
messages = [Message.from_fields(each) for _, each in task.redis.xrange(task.orders)]
"""
    wrong = (
        Wrong(
            "the whole content is the key",
            f"{_START}for each in messages:\n"
            "    producer.publish(each, partition_key=each.content)",
            "are in more than one partition",
        ),
        Wrong(
            "the newest first",
            f"{_START}for each in reversed(messages):\n"
            "    producer.publish(each, partition_key=each.content.split()[0])",
            "are not in their order",
        ),
        Wrong(
            "another hash",
            f"{_START}for each in messages:\n"
            "    number = len(each.content.split()[0]) % 4\n"
            '    task.redis.xadd("{%s:%d}" % (task.orders, number), each.to_fields())',
            "another program would look",
        ),
        Wrong(
            "copied twice",
            f"{_START}for each in messages + messages:\n"
            "    producer.publish(each, partition_key=each.content.split()[0])",
            "found 2 (",
        ),
        Wrong(
            "the first ten only",
            f"{_START}for each in messages[:10]:\n"
            "    producer.publish(each, partition_key=each.content.split()[0])",
            "found 0 (",
        ),
        Wrong(
            "six partitions, as in the chapter",
            _START.replace("=4", "=6") + "for each in messages:\n"
            "    producer.publish(each, partition_key=each.content.split()[0])",
            "has 6 partitions",
        ),
        Wrong(
            "streams without braces",
            f"{_START}for each in messages:\n"
            "    number = partition_of(each.content.split()[0], 4)\n"
            '    task.redis.xadd(f"{task.orders}:{number}", each.to_fields())',
            "are named",
        ),
    )
    why = (
        "The key says what has to stay in order. One that is too fine, such as the number of "
        "the order, spreads best and keeps no order at all."
    )

    _CUSTOMERS = ("ada", "ben", "noa", "will")
    _EACH = 3

    def set(self, scene: Scene) -> None:
        contents = [
            f"{name} {number}"
            for number in range(1, self._EACH + 1)
            for name in self._CUSTOMERS
        ]
        write(scene, scene.orders, contents)

    def is_attempted(self, scene: Scene) -> bool:
        return [name for name, _ in scene.types()] != [scene.orders]

    def check(self, scene: Scene) -> None:
        streams = partitions_of(scene)
        if stored := scene.redis.get(count_key(scene.orders)):
            self._expect_count(scene, stored.decode())  # type: ignore[union-attr]
        if not any(scene.redis.exists(stream) for stream in streams):
            raise NotYetError(
                f"The streams of the partitions are named {streams[0]} to {streams[-1]}, and "
                f"there is none (EXISTS {streams[0]}).\n"
                "The braces belong to the name: they are the hash tag. PartitionedProducer "
                "knows the names."
            )
        found = {stream: self._contents(scene, stream) for stream in streams}
        for name in self._CUSTOMERS:
            holders = [
                stream
                for stream, contents in found.items()
                if any(content.startswith(f"{name} ") for content in contents)
            ]
            if len(holders) > 1:
                raise NotYetError(
                    f"The orders of {name} are in more than one partition: "
                    f"{', '.join(holders)} (XRANGE {holders[0]} - +).\n"
                    "Different consumers read them, in any order. What do all orders of "
                    f"{name} have in common? {AGAIN}"
                )
            right = streams[partition_of(name, PARTITIONS)]
            if holders and holders != [right]:
                raise NotYetError(
                    f"The orders of {name} are in {holders[0]} (XRANGE {holders[0]} - +), and "
                    f"another program would look for them in {right}.\n"
                    f"The number is the CRC-32 of the key, modulo {PARTITIONS}. {AGAIN}"
                )
            self._expect_orders(name, found[right], right)

    @staticmethod
    def _expect_count(scene: Scene, stored: str) -> None:
        if stored != str(PARTITIONS):
            key = count_key(scene.orders)
            raise NotYetError(
                f"{scene.orders} has {stored} partitions (GET {key}), and the goal says "
                f"{PARTITIONS}.\n"
                f"With another number, most customers are in another partition. {AGAIN}"
            )

    def _expect_orders(self, name: str, contents: list[str], stream: str) -> None:
        command = f"XRANGE {stream} - +"
        expected = [f"{name} {number}" for number in range(1, self._EACH + 1)]
        there = [content for content in contents if content.startswith(f"{name} ")]
        for content in expected:
            meaning = f"Each order of the old stream is copied once. {AGAIN}"
            expect(1, there.count(content), f"order {content!r}", command, meaning)
        if there != expected:
            raise NotYetError(
                f"The orders of {name} are not in their order: {', '.join(there)} "
                f"({command}).\nFrom which end was the old stream read? {AGAIN}"
            )

    @staticmethod
    def _contents(scene: Scene, stream: str) -> list[str]:
        entries: Any = scene.redis.xrange(stream)
        return [Message.from_fields(fields).content for _, fields in entries]


class Missing(Exercise):
    id = "41-missing"
    goal = "the six orders that wait are billed, by the member that is missing."
    given = (
        "task.redis, task.orders (a stream in four partitions, with the group billing; member "
        "0 of 2 is running, and member 1 was never started), task.bill, task.invoices "
        "(the key of a list, with the content of each order that was billed; it is empty)"
    )
    minutes = 4
    has_orders = False
    hints = (
        "Which partitions does member 1 of 2 read? PartitionedConsumer knows.",
        "run(handler, stop=...) goes on until the event `stop` is set. Within this chapter, "
        "`with consuming(..., handler=task.bill):` does both, and within it "
        "lab.wait_until(...) can wait for six invoices: task.redis.llen(task.invoices).",
        'PartitionedConsumer(task.redis, task.orders, "billing", partitions=4, member=1, '
        "of=2), with task.bill as its handler, until there are six invoices.",
    )
    solution = """\
from threading import Event
from redisflow_lab.partitions import PartitionedConsumer

stop = Event()


def bill_six(delivery):
    task.bill(delivery)
    if task.redis.llen(task.invoices) >= 6:
        stop.set()


PartitionedConsumer(
    task.redis, task.orders, "billing", partitions=4, member=1, of=2
).run(bill_six, stop=stop)"""
    _RUN = """\
from threading import Event
from redisflow_lab.partitions import PartitionedConsumer
stop = Event()
def bill(delivery):
    task.bill(delivery)
    if task.redis.llen(task.invoices) >= most:
        stop.set()
def run(member, of):
    PartitionedConsumer(
        task.redis, task.orders, "billing",
        partitions=4, member=member, of=of, block_ms=100,
    ).run(bill, stop=stop)
"""
    _READ = """\
for number in (1, 3):
    stream = "{%s:%d}" % (task.orders, number)
    found = task.redis.xreadgroup("billing", "owner", {stream: ">"})
"""
    wrong = (
        Wrong(
            "one of four",
            f"{_RUN}most = 3\nrun(1, 4)",
            "3 orders of partition 3 are not read",
        ),
        Wrong(
            "one process for all of them, beside the one that runs",
            f"{_RUN}most = 6\nrun(0, 1)",
            "was read by member 0 of 1",
        ),
        Wrong(
            "one process for all of them",
            f"{_RUN}most = 6\nfor number in (0, 2):\n"
            '    task.redis.delete("{%s:%d}:owner:billing" % (task.orders, number))\n'
            "run(0, 1)",
            "is no longer read by member 0 of 2",
        ),
        Wrong("read by hand, and not acknowledged", _READ, "orders of partition 1 are pending"),
        Wrong(
            "read and acknowledged, and not billed",
            f"{_READ}    for entry_id, _ in found[0][1]:\n"
            '        task.redis.xack(stream, "billing", entry_id)',
            "found 0 (",
        ),
        Wrong(
            "the group was moved to the end of one",
            'task.redis.xgroup_setid("{%s:1}" % task.orders, "billing", "$")\n'
            f"{_RUN}most = 3\nrun(1, 2)",
            "1 invoice 'order 1', found none",
        ),
    )
    why = (
        "Nothing is rebalanced: the partitions waited for exactly this member, however long "
        "it was away. `of` has to be the same number in each process."
    )

    _WAITING = 3

    def set(self, scene: Scene) -> None:
        scene.redis.set(f"{scene.orders}:partitions", PARTITIONS)
        for number, stream in enumerate(partitions_of(scene)):
            write(scene, stream, self._in(number))
            start = "$" if number % 2 == 0 else "0"
            scene.redis.xgroup_create(stream, scene.group, id=start)
            if number % 2 == 0:
                scene.redis.set(owner_key(stream, scene.group), "0 2 running")

    def bill(self, scene: Scene, delivery: Delivery) -> None:
        reader: Any = scene.redis.get(owner_key(delivery.stream, scene.group)) or b""
        scene.redis.hset(scene.key("readers"), delivery.stream, reader)
        scene.bill(delivery)

    def _in(self, number: int) -> list[str]:
        """The contents in a partition: the orders 1 to 3 are in 1, and 4 to 6 in 3."""
        first = {1: 1, 3: 1 + self._WAITING}.get(number, 7)
        return [f"order {each}" for each in range(first, first + self._WAITING)]

    def is_attempted(self, scene: Scene) -> bool:
        streams = partitions_of(scene)
        return (
            [self._unread(scene, stream) for stream in streams] != [0, 3, 0, 3]
            or bool(scene.billed())
            or not all(
                scene.redis.exists(owner_key(stream, scene.group)) for stream in streams[::2]
            )
        )

    def check(self, scene: Scene) -> None:
        streams = partitions_of(scene)
        for stream in streams[::2]:
            key = owner_key(stream, scene.group)
            if scene.redis.get(key) != b"0 2 running":
                raise NotYetError(
                    f"{stream} is no longer read by member 0 of 2 (GET {key}).\n"
                    f"That member was running, and its partitions had no lag. {AGAIN}"
                )
        for number in (1, 3):
            self._expect_done(scene, number, streams[number])
        contents = [*self._in(1), *self._in(3)]
        missing = [content for content in contents if content not in scene.billed()]
        if 0 < len(missing) < len(contents):
            raise NotYetError(
                f"Expected 1 invoice {missing[0]!r}, found none "
                f"(LRANGE {scene.invoices} 0 -1).\n"
                "The group has passed this order, and no consumer was given it. Nothing is "
                f"lost as long as no one moves the group. {AGAIN}"
            )
        expect_invoices(
            scene, contents, f"Each order is billed once, with task.bill as handler. {AGAIN}"
        )
        for number in (1, 3):
            self._expect_member(scene, streams[number])

    @staticmethod
    def _expect_member(scene: Scene, stream: str) -> None:
        readers = scene.key("readers")
        value: Any = scene.redis.hget(readers, stream)
        reader = str(Member.parsed(value)) if value else "no member"
        if reader != "member 1 of 2":
            raise NotYetError(
                f"{stream} was read by {reader}, and the goal says by the member that is "
                f"missing (HGETALL {readers}, which task.bill has written).\n"
                f"Each process has a number of its own, and the same `of`. {AGAIN}"
            )

    def _expect_done(self, scene: Scene, number: int, stream: str) -> None:
        if unread := self._unread(scene, stream):
            raise NotYetError(
                f"{unread} orders of partition {number} are not read (XINFO GROUPS {stream}).\n"
                "Did a consumer of task.orders, in four partitions, run for long enough? "
                "Member m of n reads the partitions m, m+n, and so on: how many processes "
                "share them here?"
            )
        summary: Any = scene.redis.xpending(stream, scene.group)
        if pending := summary["pending"]:
            raise NotYetError(
                f"{pending} orders of partition {number} are pending "
                f"(XPENDING {stream} {scene.group}).\n"
                "They were read, and not acknowledged. PartitionedConsumer does both, and "
                "replays what was pending when it starts."
            )

    def _unread(self, scene: Scene, stream: str) -> int:
        rows: Any = scene.redis.xinfo_groups(stream)
        read = {row["name"].decode(): row["last-delivered-id"].decode() for row in rows}
        start = f"({read.get(scene.group, '0-0')}"
        entries: Any = scene.redis.xrange(stream, start, "+")
        return len(entries)


CHAPTER = Chapter(
    file="41_redis_cluster.ipynb",
    title="Spread a stream over a Redis Cluster",
    goal="Divide a stream into partitions, and say what still works when a part is missing.",
    reading=18,
    predicting=4,
    extra=2,
    builds_on=("02", "12"),
    mistakes=(
        "A cluster spreads the entries of one stream over its nodes.",
        "Keys with a common beginning, such as orders and orders:dead, are on one node.",
        "The members share the partitions of one that is gone, as consumers of a group do.",
        "A hot key that is divided into three is on three partitions.",
        "Partitions can be added later.",
    ),
    skippable="What is called extra: a slot moves.",
    surprise="A stream in a cluster of three primaries is on one of them.",
    trouble=(
        "After an error in the middle of a cell, run `lab.repair()`: it resumes and starts "
        "each node, and makes node-1 a primary again."
    ),
    predictions={
        "41-nodes": (
            "A cluster spreads keys, not what is in them. A stream is one key, so all its "
            "entries are in one slot, on one primary."
        ),
        "41-again": (
            "It is tempting to expect the partition to wait for order 2. But the consumer has "
            "read orders 3 and 4 with it, and a failed order is retried later, when it has "
            "been idle."
        ),
        "41-others": (
            "The cluster is not one system that works or stands still: each shard works by "
            "itself, and so does the thread of each partition. Two of six partitions are on "
            "node-1, so eight of twelve customers are served, and four wait."
        ),
        "41-away": (
            "In a consumer group, and in Kafka, the remaining consumers take over. Here a "
            "deployment has assigned the partitions, and nothing assigns them anew: those of "
            "member 1 wait."
        ),
        "41-hot": (
            "Three keys sound like three partitions. But each key is placed by its hash alone, "
            "which knows nothing of the others: two of them have the same remainder."
        ),
        "41-count": (
            "One seventh sounds right, because one of seven partitions is new. But a customer "
            "stays only if the hash has the same remainder for 6 and for 7, which is so for "
            "one in seven: the others move."
        ),
    },
    exercises=(Place, Missing),
)
