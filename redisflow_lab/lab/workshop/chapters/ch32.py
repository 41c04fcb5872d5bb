"""Exercises and predictions of chapter 32: throughput, and what it costs."""

from collections import Counter
from typing import Any

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import (
    Exercise,
    NotYetError,
    Wrong,
    counted,
    expect,
    expect_kept,
    expect_no_more,
)
from redisflow_lab.lab.workshop.scene import Scene
from redisflow_lab.message import Message, MessageDecodeError


def publish(scene: Scene, count: int) -> None:
    """Publish "order 1", "order 2", ... with the ids 1-0, 2-0, ..., in one pipeline."""
    pipe = scene.redis.pipeline(transaction=False)
    for number in range(1, count + 1):
        fields: Any = Message("web", f"order {number}").to_fields()
        pipe.xadd(scene.orders, fields, id=f"{number}-0")
    pipe.execute()


def content(fields: dict[bytes, bytes]) -> str:
    """The content of an order."""
    try:
        return Message.from_fields(fields).content
    except MessageDecodeError:
        return "an entry that is no message"


def pending_ids(scene: Scene) -> list[str]:
    """The ids of the pending orders; empty if there is no group."""
    if scene.group not in scene.groups():
        return []
    rows: Any = scene.redis.xpending_range(scene.orders, scene.group, "-", "+", 1_000)
    return [row["message_id"].decode() for row in rows]


def reads(scene: Scene) -> int:
    """How often the server has read from a connection of any client."""
    stats: Any = scene.redis.info("stats")
    return int(stats.get("total_reads_processed", 0))


class Burst(Exercise):
    id = "32-publish"
    goal = (
        "the stream holds 3,000 orders with generated ids, order 1 to order 3000 in this "
        "sequence, and at most ten round trips brought them there."
    )
    given = "task.redis, task.orders (an empty stream)"
    minutes = 3
    extra = True
    hints = (
        "How many XADD can be under way before the client waits for an answer?",
        "Both ways of the chapter will do: a pipeline, or publish_many.",
        "RedisStreamProducer(task.redis, task.orders).publish_many(...) takes a generator of "
        "messages, and sends 500 of them in one packet.",
    )
    solution = """\
from redisflow_lab import Message, RedisStreamProducer

sold = (Message("web", f"order {n}") for n in range(1, 3_001))
RedisStreamProducer(task.redis, task.orders).publish_many(sold)"""
    wrong = (
        Wrong(
            "one at a time",
            """\
from redisflow_lab import Message
for n in range(1, 3_001):
    fields = Message("web", f"order {n}").to_fields()
    task.redis.xadd(task.orders, fields)""",
            "came in far too many round trips",
        ),
        Wrong(
            "with ids of one's own",
            """\
from redisflow_lab import Message
pipe = task.redis.pipeline(transaction=False)
for n in range(1, 3_001):
    fields = Message("web", f"order {n}").to_fields()
    pipe.xadd(task.orders, fields, id=f"{n}-0")
pipe.execute()""",
            "was chosen by the client",
        ),
        Wrong(
            "the cell was run twice",
            """\
from redisflow_lab import Message, RedisStreamProducer
web = RedisStreamProducer(task.redis, task.orders)
for _ in range(2):
    web.publish_many(Message("web", f"order {n}") for n in range(1, 3_001))""",
            "found 6000",
        ),
        Wrong(
            "only the first packet",
            """\
from redisflow_lab import Message, RedisStreamProducer
web = RedisStreamProducer(task.redis, task.orders)
web.publish_many(Message("web", f"order {n}") for n in range(1, 501))""",
            "found 500",
        ),
        Wrong(
            "counted from 0",
            """\
from redisflow_lab import Message, RedisStreamProducer
web = RedisStreamProducer(task.redis, task.orders)
web.publish_many(Message("web", f"order {n}") for n in range(3_000))""",
            "as the first order",
        ),
    )
    why = (
        "The server executes 3,000 XADD in any case. The client decides how often it waits for "
        "an answer: 3,000 times, or six."
    )

    _COUNT = 3_000
    _MAX_MS = 50
    """A packet of 500 is written within a few milliseconds. One at a time, 3,000 orders took
    100 ms or more on every machine that was tried."""

    def set(self, scene: Scene) -> None:
        scene.redis.xgroup_create(scene.orders, scene.group, id="0", mkstream=True)
        scene.redis.set(scene.key("reads"), reads(scene))

    def is_attempted(self, scene: Scene) -> bool:
        return bool(scene.redis.xlen(scene.orders))

    def check(self, scene: Scene) -> None:
        entries: Any = scene.redis.xrange(scene.orders)
        again = "Run the cell with exercise(...) again, and publish each of them once."
        command = f"XLEN {scene.orders}"
        expect(self._COUNT, len(entries), "orders", command, again)
        command = f"XRANGE {scene.orders} - + COUNT 1"
        first = content(entries[0][1])
        expect("order 1", first, "as the first order", command, again)
        numbers = range(1, self._COUNT + 1)
        for number, (entry_id, fields) in zip(numbers, entries, strict=True):
            what = f"as the content of {entry_id.decode()}"
            command = f"XRANGE {scene.orders} {entry_id.decode()} + COUNT 1"
            expect(f"order {number}", content(fields), what, command, again)
        times = {int(entry_id.split(b"-")[0]) for entry_id, _ in entries}
        if min(times) < 10**12:
            raise NotYetError(
                f"The id {entries[0][0].decode()} was chosen by the client "
                f"(XRANGE {scene.orders} - + COUNT 1).\n"
                "A generated id says in which millisecond the order was written. Run the cell "
                "with exercise(...) again, and leave the ids to the server."
            )
        if len(times) > self._MAX_MS:
            noted: Any = scene.redis.get(scene.key("reads"))
            raise NotYetError(
                f"The orders came in far too many round trips: the server has read "
                f"{reads(scene) - int(noted or 0):,} times from a connection since the task "
                "was set (INFO stats, total_reads_processed), and the orders are spread over "
                f"{len(times)} different milliseconds (XRANGE {scene.orders} - +).\n"
                "Ten packets need a few dozen reads. For how many answers did the client "
                "wait? Run the cell with exercise(...) again."
            )


class AcknowledgeMany(Exercise):
    id = "32-acknowledge"
    goal = (
        "each order that has an invoice is acknowledged, with at most ten XACK commands in "
        "all. The others stay pending."
    )
    given = (
        "task.redis, task.orders (500 orders, all pending with alice of the group 'billing', "
        "who was killed), task.invoices (the key of a Redis list with the content of "
        "each order that was billed)"
    )
    minutes = 4
    hints = (
        "XRANGE reads all orders, and Message.from_fields(fields).content is what the list of "
        "invoices holds, as bytes.",
        "Collect the ids of those that are in the list. Acknowledge nothing in the loop.",
        'One call takes all of them: task.redis.xack(task.orders, "billing", *ids).',
    )
    solution = """\
from redisflow_lab import Message

billed = {*task.redis.lrange(task.invoices, 0, -1)}
ids = [
    entry_id
    for entry_id, fields in task.redis.xrange(task.orders)
    if Message.from_fields(fields).content.encode() in billed
]
task.redis.xack(task.orders, "billing", *ids)"""
    _BEGIN = """\
from redisflow_lab import Message
billed = {*task.redis.lrange(task.invoices, 0, -1)}
orders = task.redis.xrange(task.orders)
ids = [i for i, f in orders if Message.from_fields(f).content.encode() in billed]
"""
    wrong = (
        Wrong(
            "a pipeline of single XACK",
            _BEGIN
            + """\
pipe = task.redis.pipeline(transaction=False)
for entry_id in ids:
    pipe.xack(task.orders, "billing", entry_id)
pipe.execute()""",
            "A pipeline saves waiting",
        ),
        Wrong(
            "all of them",
            """\
ids = [entry_id for entry_id, _ in task.redis.xrange(task.orders)]
task.redis.xack(task.orders, "billing", *ids)""",
            "has no invoice",
        ),
        Wrong(
            "the first hundred",
            _BEGIN + 'task.redis.xack(task.orders, "billing", *ids[:100])',
            "has an invoice, and is still pending",
        ),
        Wrong(
            "the missing ones were billed as well",
            _BEGIN
            + """\
for _, fields in orders:
    if Message.from_fields(fields).content.encode() not in billed:
        task.redis.rpush(task.invoices, Message.from_fields(fields).content)
task.redis.xack(task.orders, "billing", *ids)""",
            "Nothing was to be billed",
        ),
        Wrong(
            "the consumer was deleted",
            'task.redis.xgroup_delconsumer(task.orders, "billing", "alice")',
            "The consumer alice is gone",
        ),
    )
    why = (
        "XACK takes many ids: one command, one round trip, and one line in the append-only "
        "file. A pipeline of single ones saves only the round trips."
    )

    _COUNT, _MAX_CALLS = 500, 10
    _NOT_BILLED = ("73-0", "268-0", "441-0")

    def set(self, scene: Scene) -> None:
        publish(scene, self._COUNT)
        redis: Any = scene.redis
        redis.xgroup_create(scene.orders, scene.group, id="0")
        redis.xreadgroup(scene.group, "alice", {scene.orders: ">"}, count=self._COUNT)
        redis.rpush(scene.invoices, *self._billed())
        redis.set(scene.key("xack-calls"), self._calls(scene))

    def _billed(self) -> list[str]:
        numbers = range(1, self._COUNT + 1)
        return [f"order {n}" for n in numbers if f"{n}-0" not in self._NOT_BILLED]

    @staticmethod
    def _calls(scene: Scene) -> int:
        """How many XACK the server has executed for all of its clients."""
        stats: Any = scene.redis.info("commandstats")
        return int(stats.get("cmdstat_xack", {}).get("calls", 0))

    def is_attempted(self, scene: Scene) -> bool:
        return len(pending_ids(scene)) != self._COUNT or scene.billed() != self._billed()

    def check(self, scene: Scene) -> None:
        expect_kept(scene, [f"{n}-0" for n in range(1, self._COUNT + 1)])
        expect_no_more(scene, self._COUNT)
        again = "Run the cell with exercise(...) again."
        if scene.billed() != self._billed():
            raise NotYetError(
                f"The list of invoices has changed (LLEN {scene.invoices}).\n"
                f"Nothing was to be billed here: only acknowledge what was. {again}"
            )
        pending = pending_ids(scene)
        command = f"XPENDING {scene.orders} {scene.group} - + {self._COUNT}"
        if not self._is_there(scene):
            raise NotYetError(
                f"The consumer alice is gone (XINFO CONSUMERS {scene.orders} {scene.group}), "
                f"and all that was pending with her.\nThree of the orders were not billed, and "
                f"no consumer will be given them again. {again}"
            )
        if lost := [entry_id for entry_id in self._NOT_BILLED if entry_id not in pending]:
            raise NotYetError(
                f"{lost[0]} has no invoice, and is no longer pending ({command}).\n"
                f"It will never be billed. Which orders are in the list? {again}"
            )
        if left := [entry_id for entry_id in pending if entry_id not in self._NOT_BILLED]:
            raise NotYetError(
                f"{left[0]} has an invoice, and is still pending: the first of "
                f"{counted(len(left), 'such order')} ({command}).\nWhat is redelivered is "
                "billed a second time."
            )
        self._check_calls(scene, again)

    @staticmethod
    def _is_there(scene: Scene) -> bool:
        """Whether alice is still a consumer of the group."""
        if scene.group not in scene.groups():
            return False
        rows: Any = scene.redis.xinfo_consumers(scene.orders, scene.group)
        return b"alice" in {row["name"] for row in rows}

    def _check_calls(self, scene: Scene, again: str) -> None:
        """Raise NotYetError if there were too many XACK since the task was set."""
        noted: Any = scene.redis.get(scene.key("xack-calls"))
        before = int(noted or 0)
        now = self._calls(scene)
        calls = now - before if now >= before else now  # a server counts anew when it restarts
        if calls > self._MAX_CALLS:
            raise NotYetError(
                f"The right orders are acknowledged, and the server executed {calls} XACK for "
                "it (INFO commandstats).\nA pipeline saves waiting, and no commands. How many "
                f"ids does one XACK take? {again}"
            )


class Bound(Exercise):
    id = "32-bound"
    goal = (
        "alice is killed before an acknowledgement, and had the largest batch and the largest "
        "ack_every that keep two promises. Whatever a crash leaves pending is worked off in at "
        "most 6 seconds, and at most one of these is spent on orders that are billed already. "
        "Billing takes 0.25 seconds for each order."
    )
    given = (
        "task.redis, task.orders (100 orders, no group yet), task.invoices, task.bill, and "
        'task.worker("alice", task.bill, crash="before-ack", after=20, ...).wait_end()'
    )
    minutes = 4
    hints = (
        "One option bounds what is pending after a crash, and the other bounds how many of "
        "those are billed already.",
        "How many orders are worked off in 6 seconds, at 0.25 seconds each? And in one second?",
        "batch is 6 / 0.25, and ack_every is 1 / 0.25. Both are options of task.worker.",
    )
    solution = """\
task.worker(
    "alice", task.bill, crash="before-ack", after=20, batch=24, ack_every=4
).wait_end()"""
    _WORKER = 'task.worker("alice", task.bill, crash="before-ack", after=20'
    wrong = (
        Wrong(
            "each order acknowledged by itself",
            f"{_WORKER}).wait_end()",
            "left 1 order pending",
        ),
        Wrong(
            "a batch of a hundred",
            f"{_WORKER}, batch=100, ack_every=4).wait_end()",
            "too long for the first promise",
        ),
        Wrong(
            "acknowledged too rarely",
            f"{_WORKER}, batch=24, ack_every=8).wait_end()",
            "too long for the second promise",
        ),
        Wrong(
            "a smaller batch, such as that of the chapter",
            f"{_WORKER}, batch=10, ack_every=4).wait_end()",
            "left 6 orders pending",
        ),
        Wrong(
            "more than a second's orders acknowledged together",
            f"{_WORKER}, batch=24, ack_every=5).wait_end()",
            "left 19 orders pending",
        ),
        Wrong(
            "killed after the acknowledgement",
            'task.worker("alice", task.bill, crash="after-ack", after=20, batch=24, '
            "ack_every=4).wait_end()",
            "came after an acknowledgement",
        ),
        Wrong(
            "killed at the fourth order",
            'task.worker("alice", task.bill, crash="before-ack", after=4, batch=24, '
            "ack_every=4).wait_end()",
            "after=20 kills her",
        ),
        Wrong(
            "not killed",
            'alice = task.worker("alice", task.bill, batch=24, ack_every=4)\n'
            'alice.wait_for("acked", 100)\n'
            "alice.stop()",
            "Nothing is pending",
        ),
    )
    why = (
        "batch bounds what a crash strands, and ack_every what it repeats. 6 s / 0.25 s = 24 "
        "and 1 s / 0.25 s = 4: the promises give the options, and no benchmark is needed."
    )

    _COUNT, _KILLED_AT = 100, 20
    _SECONDS_EACH, _SECONDS_PENDING, _SECONDS_BILLED = 0.25, 6, 1
    _LEFT = (20, 4)
    """Pending, and billed of those, with batch=24 and ack_every=4: killed at the eighth order
    of a half, of which four are acknowledged. Of all other options, only batch=25 leaves as
    much, whose halves are those of 24."""

    def set(self, scene: Scene) -> None:
        publish(scene, self._COUNT)

    def is_attempted(self, scene: Scene) -> bool:
        return bool(scene.groups() or scene.billed())

    def check(self, scene: Scene) -> None:
        again = "Run the cell with exercise(...) again."
        expect_no_more(scene, self._COUNT)
        billed = Counter(scene.billed())
        if twice := [order for order, count in billed.items() if count > 1]:
            raise NotYetError(
                f"{counted(len(twice), 'order was', 'orders were')} billed more than once "
                f"(LRANGE {scene.invoices} 0 -1).\nA second worker went on after the first. "
                f"{again}"
            )
        pending = pending_ids(scene)
        command = f"XPENDING {scene.orders} {scene.group} - + 100"
        if billed and not pending:
            raise NotYetError(
                f"Nothing is pending ({command}).\nNo consumer was killed with work in flight. "
                f"Which argument of task.worker kills it? {again}"
            )
        if len(billed) != self._KILLED_AT:
            raise NotYetError(
                f"Expected {self._KILLED_AT} invoices, found {len(billed)} "
                f"(LLEN {scene.invoices}).\nafter=20 kills her when she has billed the "
                f"twentieth order. {again}"
            )
        repeated = len(billed.keys() & {scene.content(entry_id) for entry_id in pending})
        self._compare(len(pending), repeated, command, again)

    def _compare(self, pending: int, repeated: int, command: str, again: str) -> None:
        if repeated == 0:
            raise NotYetError(
                f"None of the pending orders has an invoice ({command}).\nThe crash came after "
                f"an acknowledgement. Which crash point comes before it? {again}"
            )
        if (seconds := repeated * self._SECONDS_EACH) > self._SECONDS_BILLED:
            raise NotYetError(
                f"{repeated} of the pending orders have an invoice ({command}).\nTo bill them "
                f"again takes {seconds:g} s, too long for the second promise. How many may be "
                f"billed before she acknowledges? {again}"
            )
        if (seconds := pending * self._SECONDS_EACH) > self._SECONDS_PENDING:
            raise NotYetError(
                f"{pending} orders are pending ({command}).\nTo work them off takes "
                f"{seconds:g} s, too long for the first promise. How many may one consumer "
                f"have in flight? {again}"
            )
        if (pending, repeated) != self._LEFT:
            raise NotYetError(
                f"The crash left {counted(pending, 'order')} pending, {repeated} of them "
                f"billed ({command}).\nWith the options that the promises ask for, it leaves "
                f"{self._LEFT[0]}, {self._LEFT[1]} of them billed. How many orders take 6 "
                f"seconds, and how many take one? {again}"
            )


CHAPTER = Chapter(
    file="32_throughput.ipynb",
    title="Find where the time of a message goes",
    goal="Say which round trips a message costs, save them, and bound what a crash then costs.",
    reading=17,
    predicting=4,
    extra=10,
    builds_on=("01", "02", "03", "04"),
    mistakes=(
        "A pipeline is faster because the server executes fewer commands.",
        "A batch is free, since nothing is lost in a crash.",
        "Two consumers are twice as fast, whatever the handler does.",
        "A group handles the orders of a stream in sequence, however many consumers it has.",
    ),
    skippable="What is called extra: publishing, the order of invoices, computing, the disk.",
    surprise="The server works for a few of each hundred milliseconds; the rest is waiting.",
    trouble=(
        "Milliseconds differ on each machine; the claims below them have wide margins. If one "
        "of them is not as printed, the machine stalled for a moment: run the cell again."
    ),
    predictions={
        "32-commands": (
            "A pipeline is one packet, so it looks like one command. But it is only a way of "
            "sending: the server executes and answers each XADD in it."
        ),
        "32-reads": (
            "1,000 and 10 are the reads that bring orders. A loop learns that there are no "
            "more only from a read that brings none, and that is a round trip as well."
        ),
        "32-crash": (
            "Pending is not what is left to do. It is what was delivered and not acknowledged: "
            "three orders that are billed already, and two that were never begun."
        ),
        "32-consumers": (
            "100 orders a second, for 0.05 s each: five are in work at any time. One consumer "
            "has one in work, so four are too few, however fast the server is."
        ),
        "32-place": (
            "Redis hands out entries in the order of the stream, and it does not wait for one "
            "to be done before it hands out the next, to another consumer."
        ),
    },
    exercises=(Burst, AcknowledgeMany, Bound),
)
