"""Exercises and predictions of chapter 03: a consumer that is away, a server that is killed."""

from typing import Any

from redis.exceptions import NoPermissionError

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import (
    Exercise,
    NotYetError,
    Wrong,
    expect,
    expect_invoices,
    expect_kept,
)
from redisflow_lab.lab.workshop.scene import Scene, content_of


def _billing(scene: Scene) -> dict[str, Any]:
    """What XINFO GROUPS says of the group billing. Raises NotYetError if there is none."""
    rows: Any = scene.redis.xinfo_groups(scene.orders)
    found: list[dict[str, Any]] = [row for row in rows if row["name"] == b"billing"]
    if not found:
        raise NotYetError(
            f"Expected a group 'billing', found none (XINFO GROUPS {scene.orders}).\n"
            "A worker creates it when it starts; by hand it is XGROUP CREATE."
        )
    return found[0]


class Away(Exercise):
    id = "03-away"
    goal = (
        "alice has billed the three orders and is stopped. Then two more orders are published, "
        "and wait for her: the lag of billing is 2, and nothing is pending."
    )
    given = (
        "task.redis, task.orders (3 orders, no group yet), the handler task.bill, and "
        "task.worker(name, handler)"
    )
    minutes = 3
    hints = (
        "Four steps: start alice, wait, stop her, publish.",
        "task.worker('alice', task.bill) returns a worker, as lab.worker does.",
        "Publish with RedisStreamProducer(task.redis, task.orders), after alice.stop().",
    )
    solution = """\
from redisflow_lab import Message, RedisStreamProducer
alice = task.worker("alice", task.bill)
alice.wait_for("acked", 3)
alice.stop()
producer = RedisStreamProducer(task.redis, task.orders)
producer.publish(Message("web", "1 x Kim"))
producer.publish(Message("web", "1 x She"))"""
    _PUBLISH = """
from redisflow_lab import Message, RedisStreamProducer
web = RedisStreamProducer(task.redis, task.orders)
def publish():
    web.publish(Message("web", "1 x Kim"))
    web.publish(Message("web", "1 x She"))
"""
    wrong = (
        Wrong(
            "alice was not stopped before",
            _PUBLISH
            + """
alice = task.worker("alice", task.bill)
publish()
alice.wait_for("acked", 5)
alice.stop()
""",
            "Was she still running",
        ),
        Wrong(
            "nothing was published",
            """
            alice = task.worker("alice", task.bill)
            alice.wait_for("acked", 3)
            alice.stop()
            """,
            "Who publishes the other two",
        ),
        Wrong(
            "the two orders were read",
            _PUBLISH
            + """
alice = task.worker("alice", task.bill)
alice.wait_for("acked", 3)
alice.stop()
publish()
task.redis.xreadgroup("billing", "alice", {task.orders: ">"})
""",
            "A read makes an order pending",
        ),
        Wrong(
            "alice never ran",
            _PUBLISH + 'publish()\ntask.redis.xgroup_create(task.orders, "billing", id="0")',
            "has to run first",
        ),
        Wrong(
            "the invoices are not those of the orders",
            _PUBLISH
            + """
task.redis.xgroup_create(task.orders, "billing", id="0")
task.redis.xreadgroup("billing", "alice", {task.orders: ">"})
task.redis.xack(task.orders, "billing", "1-0", "2-0", "3-0")
task.redis.rpush(task.invoices, "1-0", "2-0", "3-0")
publish()
""",
            "found also '1-0'",
        ),
        Wrong(
            "the two new entries are no Messages",
            """
            alice = task.worker("alice", task.bill)
            alice.wait_for("acked", 3)
            alice.stop()
            for book in ("Kim", "She"):
                task.redis.xadd(task.orders, {"order": f"1 x {book}"})
            """,
            "cannot decode it",
        ),
    )
    why = (
        "Lag is work that has no owner yet. It costs nothing but memory: whichever consumer of "
        "the group asks next is given it, in the order in which it was written."
    )

    def set(self, scene: Scene) -> None:
        scene.publish(3)

    def is_attempted(self, scene: Scene) -> bool:
        return bool(scene.groups()) or scene.redis.xlen(scene.orders) != 3

    def check(self, scene: Scene) -> None:
        old = ("1-0", "2-0", "3-0")
        expect_kept(scene, old)
        expect(
            5, scene.redis.xlen(scene.orders), "entries in the stream", f"XLEN {scene.orders}",
            "Three were there at the start. Who publishes the other two, and when?",
        )  # fmt: skip
        group, billed = _billing(scene), len(scene.billed())
        meaning = "Was she still running when the last two were published? Stop her before."
        if billed < 3:
            meaning = "alice has to run first, until she has acknowledged three orders."
        expect(3, billed, "invoices", f"LLEN {scene.invoices}", meaning)
        expect(
            0, group["pending"], "pending orders", f"XPENDING {scene.orders} billing",
            "A read makes an order pending. Here, no consumer may read the last two.",
        )  # fmt: skip
        meaning = "Not delivered to any consumer: that is what lag counts."
        expect(2, group["lag"], "as lag", f"XINFO GROUPS {scene.orders}", meaning)
        expect_invoices(
            scene, map(content_of, (1, 2, 3)), "alice bills each of the three orders once."
        )
        for entry_id in scene.ids():
            if entry_id not in old and scene.content(entry_id) is None:
                raise NotYetError(
                    f"Expected an order in {entry_id}, and it is no Message "
                    f"(XRANGE {scene.orders} {entry_id} {entry_id}).\n"
                    "alice will be given it, and cannot decode it. What publishes a Message?"
                )


class Backlog(Exercise):
    id = "03-backlog"
    goal = (
        "Your own loop, with reads of at most ten orders (COUNT 10), has billed all 25 orders "
        "once each: lag is 0, and nothing is pending."
    )
    given = (
        "task.redis, task.orders (25 orders; the group billing is at 0), and task.invoices, "
        "the key of a Redis list to which the content of each order is pushed."
    )
    minutes = 3
    hints = (
        "How does the loop know that there is nothing left to read?",
        "XREADGROUP with > answers an empty list when everything was delivered.",
        "consume returns how many orders it was given: call it until that is 0.",
    )
    solution = """\
from redisflow_lab import Message
new = {task.orders: ">"}
while found := task.redis.xreadgroup("billing", "alice", new, count=10):
    for entry_id, fields in found[0][1]:
        content = Message.from_fields(fields).content
        task.redis.rpush(task.invoices, content)
        task.redis.xack(task.orders, "billing", entry_id)"""
    _START = """
from redisflow_lab import Message
r, orders = task.redis, task.orders
def read(start=">"):
    found = r.xreadgroup("billing", "alice", {orders: start}, count=10)
    return found[0][1] if found else []
def bill(fields):
    r.rpush(task.invoices, Message.from_fields(fields).content)
"""
    wrong = (
        Wrong(
            "one read was made",
            _START
            + """
for entry_id, fields in read():
    bill(fields)
    r.xack(orders, "billing", entry_id)
""",
            "Read again until",
        ),
        Wrong(
            "nothing is acknowledged",
            _START
            + """
while entries := read():
    for entry_id, fields in entries:
        bill(fields)
""",
            "25 billed orders",
        ),
        Wrong(
            "only the last order of each read is acknowledged",
            _START
            + """
while entries := read():
    for entry_id, fields in entries:
        bill(fields)
    r.xack(orders, "billing", entry_id)
""",
            "the id of each order",
        ),
        Wrong(
            "it read its pending orders instead of new ones",
            _START
            + """
while entries := read("0"):
    for entry_id, fields in entries:
        bill(fields)
        r.xack(orders, "billing", entry_id)
""",
            "No order was delivered",
        ),
        Wrong(
            "they were acknowledged and not billed",
            _START
            + """
while entries := read():
    r.xack(orders, "billing", *[entry_id for entry_id, _ in entries])
""",
            "without an invoice",
        ),
        Wrong(
            "the entry ids were pushed",
            _START
            + """
while entries := read():
    for entry_id, fields in entries:
        r.rpush(task.invoices, entry_id)
        r.xack(orders, "billing", entry_id)
""",
            "found also '1-0'",
        ),
        Wrong(
            "one order was billed 25 times",
            _START
            + """
while entries := read():
    first = first if "first" in globals() else entries[0][1]
    for entry_id, fields in entries:
        bill(first)
        r.xack(orders, "billing", entry_id)
""",
            "found 25",
        ),
    )
    why = (
        "The same loop serves new orders and a backlog: it reads until a read is empty. COUNT "
        "bounds what is in flight at once, and so what a crash can leave pending."
    )

    def set(self, scene: Scene) -> None:
        scene.publish(25)
        scene.redis.xgroup_create(scene.orders, "billing", id="0")
        run, reads = self._reads(scene)
        scene.redis.hset(scene.key("reads"), mapping={"run": run, "reads": reads})

    def is_attempted(self, scene: Scene) -> bool:
        group = _billing(scene) if scene.groups() else None
        if group is None or scene.billed():
            return True
        return bool(group["consumers"] or group["pending"] or group["lag"] != 25)

    def check(self, scene: Scene) -> None:
        group, billed, pending = _billing(scene), len(scene.billed()), len(scene.pending())
        position = group["last-delivered-id"].decode()
        groups = f"XINFO GROUPS {scene.orders}"
        if position == "0-0":
            meaning = "No order was delivered: which id asks for new ones?"
            expect(0, group["lag"], "as lag", groups, meaning)
        expect(
            "25-0", position, "as the last delivered id", groups,
            "A read of ten takes ten. Read again until a read is empty.",
        )  # fmt: skip
        if pending:
            meaning = (
                f"All {pending} billed orders would be billed again. Where is XACK?"
                if pending == 25
                else "XACK needs the id of each order. It does not acknowledge those before it."
            )
            command = f"XPENDING {scene.orders} billing"
            expect(0, pending, "pending orders", command, meaning)
        meaning = (
            "Orders were acknowledged without an invoice: they are lost."
            if billed < 25
            else "Some orders were billed twice. Run the cell with exercise(...) to begin anew."
        )
        expect(25, billed, "invoices", f"LLEN {scene.invoices}", meaning)
        expect_invoices(
            scene, map(content_of, range(1, 26)),
            "Some orders have no invoice, and others have too many. Which fields did the loop "
            "bill?",
        )  # fmt: skip
        self._check_reads(scene)

    def _check_reads(self, scene: Scene) -> None:
        """Three reads at least deliver 25 orders, ten at a time.

        Other clients of the server may read too, so more reads prove nothing, and are let
        pass. So is what cannot be counted: the server was started again, or its counts reset.
        """
        known: Any = scene.redis.hgetall(scene.key("reads"))
        run, reads = self._reads(scene)
        since = reads - int(known.get(b"reads", 0))
        if known.get(b"run") == run.encode() and 0 < since < 3:
            raise NotYetError(
                f"Expected at least 3 reads for 25 orders, found {since} "
                "(INFO commandstats, cmdstat_xreadgroup).\n"
                "Reads of at most ten orders bound what a crash leaves pending: which argument "
                "of XREADGROUP limits a read? Run the cell with exercise(...) again."
            )

    @staticmethod
    def _reads(scene: Scene) -> tuple[str, int]:
        """The run of the server, and how often it has executed XREADGROUP in it.

        No run where the user may not send INFO, as on a shared server.
        """
        try:
            server: Any = scene.redis.info("server")
            commands: Any = scene.redis.info("commandstats")
        except NoPermissionError:
            return "", 0
        return server.get("run_id", ""), commands.get("cmdstat_xreadgroup", {}).get("calls", 0)


class Survives(Exercise):
    id = "03-survives"
    goal = (
        "In the group billing, 1-0 is acknowledged, 2-0 and 3-0 are pending with bob, and 4-0 "
        "is unread. It must be so after the server was killed."
    )
    given = "task.redis, task.orders (4 orders, no group yet)"
    minutes = 2
    hints = (
        "By hand, with the three commands of chapter 02: no worker is needed.",
        "COUNT limits what a read delivers. How many orders may bob be given?",
        "Create the group at 0, read with count=3 as bob, and acknowledge 1-0.",
    )
    solution = """\
task.redis.xgroup_create(task.orders, "billing", id="0")
task.redis.xreadgroup("billing", "bob", {task.orders: ">"}, count=3)
task.redis.xack(task.orders, "billing", "1-0")"""
    wrong = (
        Wrong(
            "all four were delivered",
            """
            task.redis.xgroup_create(task.orders, "billing", id="0")
            task.redis.xreadgroup("billing", "bob", {task.orders: ">"})
            task.redis.xack(task.orders, "billing", "1-0")
            """,
            "4-0 is not unread",
        ),
        Wrong(
            "the group was created at the end",
            """
            task.redis.xgroup_create(task.orders, "billing")
            task.redis.xreadgroup("billing", "bob", {task.orders: ">"}, count=3)
            """,
            "bob has never been given",
        ),
        Wrong(
            "nothing was acknowledged",
            """
            task.redis.xgroup_create(task.orders, "billing", id="0")
            task.redis.xreadgroup("billing", "bob", {task.orders: ">"}, count=3)
            """,
            "1-0 is not acknowledged",
        ),
        Wrong(
            "a worker has handled them",
            """
            task.redis.xgroup_create(task.orders, "billing", id="0")
            bob = task.worker("bob", task.bill)
            bob.wait_for("acked", 4)
            bob.stop()
            """,
            "acknowledges all that it is given",
        ),
        Wrong(
            "another consumer read them",
            """
            task.redis.xgroup_create(task.orders, "billing", id="0")
            task.redis.xreadgroup("billing", "alice", {task.orders: ">"}, count=3)
            task.redis.xack(task.orders, "billing", "1-0")
            """,
            "Under which name",
        ),
        Wrong(
            "the unread order was deleted",
            """
            task.redis.xgroup_create(task.orders, "billing", id="0")
            task.redis.xreadgroup("billing", "bob", {task.orders: ">"}, count=3)
            task.redis.xack(task.orders, "billing", "1-0")
            task.redis.xdel(task.orders, "4-0")
            """,
            "Expected 4-0 in the stream",
        ),
    )
    why = (
        "Pending entries, their owners and the position of the group are data of the stream, "
        "so what protects the orders protects them, too."
    )

    def set(self, scene: Scene) -> None:
        scene.publish(4)

    def is_attempted(self, scene: Scene) -> bool:
        return bool(scene.groups())

    def check(self, scene: Scene) -> None:
        expect_kept(scene, ("2-0", "3-0", "4-0"))
        position = _billing(scene)["last-delivered-id"].decode()
        found = [(row.entry_id, row.consumer) for row in scene.pending()]
        if found == [("2-0", "bob"), ("3-0", "bob")] and position == "3-0":
            return
        shown = ", ".join(f"{entry_id} with {name}" for entry_id, name in found)
        raise NotYetError(
            "Expected the position 3-0, and 2-0 and 3-0 pending with bob; found the position "
            f"{position}, and pending {shown or 'nothing'} (XINFO GROUPS {scene.orders}, "
            f"XPENDING {scene.orders} billing - + 10).\n{self._meaning(scene, position, found)}"
        )

    @staticmethod
    def _meaning(scene: Scene, position: str, found: list[tuple[str, str]]) -> str:
        if not found and scene.billed():
            return "A worker acknowledges all that it is given. Which commands read by hand?"
        if not found:
            return "Either all is acknowledged, or bob has never been given an order."
        if position == "4-0":
            return "4-0 is not unread: it was delivered, too. What limits a read?"
        if any(name != "bob" for _, name in found):
            return "Under which name did you read?"
        if "1-0" in [entry_id for entry_id, _ in found]:
            return "1-0 is not acknowledged. What did XACK answer?"
        return "Which orders may be delivered, and which one is acknowledged?"


CHAPTER = Chapter(
    file="03_offline_persistence.ipynb",
    title="Stop the consumer, kill the server",
    goal="Say what waits, and what is remembered, while a consumer or the server is away.",
    reading=17,
    predicting=3,
    builds_on=("02",),
    mistakes=(
        "Orders that arrive while no consumer runs become pending.",
        "A restarted consumer begins with the first order, or with the next new one.",
        "Redis keeps everything in memory, so a killed server has lost it all.",
        "A server that takes snapshots loses the last orders, and nothing else.",
    ),
    skippable="The section on how safe the file is, and one of the first two tasks.",
    surprise="The server is killed and the pending list is still there, with its owners.",
    trouble=(
        "The chapter kills its server. If a cell was interrupted while it was down, "
        "`lab.server.start()` brings it back. Even if you use a shared "
        "server, this chapter starts its own."
    ),
    predictions={
        "03-away": (
            "Pending begins with a delivery, and there was no consumer to deliver to. What is "
            "written and not delivered is lag, whether a consumer runs or not."
        ),
        "03-back": (
            "The position belongs to the group and stays on the server. A new process of the "
            "group goes on after the last order that was delivered, whatever its name is."
        ),
        "03-aof": (
            "Reading and acknowledging change the stream's groups, so they are written to the "
            "append-only file as XADD is. At start, the server executes all of it again."
        ),
        "03-snapshot": (
            "Everything is as it was at the snapshot: five entries, three of them pending. The "
            "acknowledgements came later, so they are gone as the later orders are."
        ),
    },
    exercises=(Away, Backlog, Survives),
)
