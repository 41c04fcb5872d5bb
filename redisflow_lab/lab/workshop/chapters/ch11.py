"""Exercises and predictions of chapter 11: leases, and how to hand them over."""

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import (
    Exercise,
    NotYetError,
    Wrong,
    expect,
    expect_invoices,
)
from redisflow_lab.lab.workshop.scene import Scene, content_of

_HOUR_MS = 3_600_000
_AGAIN = "Run the cell with exercise(...) again."


def _give_alice(scene: Scene, count: int) -> None:
    """So many orders, all pending with alice."""
    scene.publish(count)
    scene.redis.xgroup_create(scene.orders, scene.group, id="0")
    scene.redis.xreadgroup(scene.group, "alice", {scene.orders: ">"}, count=count)


class Renew(Exercise):
    id = "11-renew"
    goal = (
        "alice renews her lease on each order that she still owns, so that no order has been "
        "idle for an hour or more. bob keeps his orders, nothing is acknowledged, and no "
        "delivery is counted."
    )
    given = (
        "task.redis, task.orders (1-0 to 5-0, pending in the group 'billing'; two hours have "
        "passed for alice's orders, and bob has claimed some of them a moment ago). The script "
        "of the lesson works here as well: renew(keys=[task.orders], args=[...])."
    )
    minutes = 5
    hints = (
        "The script of the lesson renews one order, if it is alice's. Which ones may you give "
        "it?",
        "It is harmless to ask for an order that is bob's: the script answers 0.",
        "For each of the five ids: renew(keys=[task.orders], args=['billing', 'alice', id]).",
    )
    solution = (
        'renew_all = task.redis.register_script("""\n'
        "local group, name = ARGV[1], ARGV[2]\n"
        "local mine = redis.call(\n"
        "    'XPENDING', KEYS[1], group, '-', '+', 100, name)\n"
        "for _, row in ipairs(mine) do\n"
        "    redis.call('XCLAIM', KEYS[1], group, name, 0, row[1], 'JUSTID')\n"
        "end\n"
        '""")\n'
        'renew_all(keys=[task.orders], args=["billing", "alice"])'
    )
    wrong = (
        Wrong(
            "all that was delivered to her",
            """
            ids = ["1-0", "2-0", "3-0", "4-0", "5-0"]
            task.redis.xclaim(task.orders, "billing", "alice", 0, ids, justid=True)
            """,
            "2-0 was bob's",
        ),
        Wrong(
            "a claim that is a delivery",
            """
            ids = ["1-0", "3-0", "5-0"]
            task.redis.xclaim(task.orders, "billing", "alice", 0, ids)
            """,
            "1-0 was delivered 2 times",
        ),
        Wrong(
            "only one order",
            'task.redis.xclaim(task.orders, "billing", "alice", 0, ["1-0"], justid=True)',
            "3-0 has been idle",
        ),
        Wrong(
            "acknowledged",
            'task.redis.xack(task.orders, "billing", "1-0", "3-0", "5-0")',
            "1-0 is no longer pending",
        ),
    )
    why = (
        "XCLAIM with min-idle 0 takes an order from any owner. So ask the server for what you "
        "own now, in the script that renews. (XPENDING and then XCLAIM pass here as well, "
        "since no other consumer claims in between. In production one may.)"
    )
    owners = {"1-0": "alice", "2-0": "bob", "3-0": "alice", "4-0": "bob", "5-0": "alice"}

    def set(self, scene: Scene) -> None:
        _give_alice(scene, 5)
        stream, group, redis = scene.orders, scene.group, scene.redis
        redis.xclaim(
            stream, group, "alice", 0, list(self.owners), idle=2 * _HOUR_MS, justid=True
        )
        redis.xclaim(stream, group, "bob", _HOUR_MS, ["2-0", "4-0"])

    def is_attempted(self, scene: Scene) -> bool:
        rows = scene.pending()
        return {row.entry_id: row.consumer for row in rows} != self.owners or any(
            row.deliveries != self._deliveries(row.entry_id)
            or (row.consumer == "alice" and row.idle_ms < _HOUR_MS)
            for row in rows
        )

    def check(self, scene: Scene) -> None:
        rows = {row.entry_id: row for row in scene.pending()}
        command = f"XPENDING {scene.orders} {scene.group} - + 10"
        for entry_id, owner in self.owners.items():
            row = rows.get(entry_id)
            if row is None:
                raise NotYetError(
                    f"{entry_id} is no longer pending ({command}).\n"
                    f"{_AGAIN} A lease is renewed while the work goes on, before XACK."
                )
            if row.consumer != owner:
                raise NotYetError(
                    f"{entry_id} was {owner}'s, and is pending with {row.consumer} "
                    f"({command}).\n"
                    f"{_AGAIN} Which orders does each of them own at this moment?"
                )
            if row.deliveries != self._deliveries(entry_id):
                raise NotYetError(
                    f"{entry_id} was delivered {row.deliveries} times ({command}).\n"
                    f"{_AGAIN} Which option of XCLAIM does not send the order?"
                )
        for row in rows.values():
            if row.idle_ms >= _HOUR_MS:
                raise NotYetError(
                    f"{row.entry_id} has been idle for an hour or more ({command}), and any "
                    "consumer may claim it.\n"
                    "Are there more orders of alice's than the ones that you renewed?"
                )

    def _deliveries(self, entry_id: str) -> int:
        return 2 if self.owners[entry_id] == "bob" else 1


class Shutdown(Exercise):
    id = "11-shutdown"
    goal = (
        "alice reads all five orders at once and shuts down at SIGTERM while she handles her "
        "second one. Two orders are billed and acknowledged. Three are pending with her and "
        "have been idle for an hour already, so that a consumer with min_idle_ms=3_600_000 may "
        "claim them now."
    )
    given = (
        "task.orders (five orders, no group yet), task.worker('alice', handler, "
        "min_idle_ms=3_600_000). In your handler, bill_one(delivery) bills, and "
        "delivery.entry_id is the id of the order, a string such as '2-0'. Wait for her before "
        "you check: alice.wait_end()."
    )
    minutes = 4
    hints = (
        "A worker drains and hands over by itself at SIGTERM. Who sends it, and when?",
        "The handler runs in alice's process and may signal it: os.kill(os.getpid(), ...).",
        "Bill, and send signal.SIGTERM if delivery.entry_id == '2-0'. Then start the worker "
        "with that handler and min_idle_ms, and call wait_end().",
    )
    solution = (
        "import os, signal\n\n"
        "bill_one = task.bill\n\n"
        "def handler(delivery):\n"
        "    bill_one(delivery)\n"
        '    if delivery.entry_id == "2-0":\n'
        "        os.kill(os.getpid(), signal.SIGTERM)\n\n"
        'alice = task.worker("alice", handler, min_idle_ms=3_600_000)\n'
        "alice.wait_end()"
    )
    wrong = (
        Wrong(
            "SIGKILL",
            """
            task.worker(
                "alice", task.bill, crash="after-ack", after=2, min_idle_ms=3_600_000
            ).wait_end()
            """,
            "idle for less than an hour",
        ),
        Wrong(
            "SIGKILL from the handler",
            """
            import os, signal

            bill = task.bill

            def handler(delivery):
                bill(delivery)
                if delivery.entry_id == "2-0":
                    os.kill(os.getpid(), signal.SIGKILL)

            task.worker("alice", handler, min_idle_ms=3_600_000).wait_end()
            """,
            "2-0 is billed, and pending",
        ),
        Wrong(
            "stopped when all was done",
            """
            alice = task.worker("alice", task.bill, min_idle_ms=3_600_000)
            alice.wait_for("acked", 5)
            alice.stop()
            """,
            "found 5",
        ),
        Wrong(
            "one order a read",
            """
            import os, signal

            bill = task.bill

            def handler(delivery):
                bill(delivery)
                if delivery.entry_id == "2-0":
                    os.kill(os.getpid(), signal.SIGTERM)

            task.worker("alice", handler, min_idle_ms=3_600_000, batch=1).wait_end()
            """,
            "were not delivered",
        ),
        Wrong(
            "one order was billed twice, and the other not at all",
            """
            import os, signal

            bill = task.bill

            def handler(delivery):
                if delivery.entry_id == "1-0":
                    bill(delivery)
                    bill(delivery)
                else:
                    os.kill(os.getpid(), signal.SIGTERM)

            task.worker("alice", handler, min_idle_ms=3_600_000).wait_end()
            """,
            "Expected 1 invoice '1 x Dune', found 2",
        ),
    )
    why = (
        "A process that is told to stop knows that it will not go on, and can say so: the idle "
        "time is a lease that its owner may also end."
    )

    def set(self, scene: Scene) -> None:
        scene.publish(5)

    def is_attempted(self, scene: Scene) -> bool:
        return bool(scene.groups() or scene.billed())

    def check(self, scene: Scene) -> None:
        meaning = f"{_AGAIN} At which order should the handler send the signal?"
        expect(2, len(scene.billed()), "invoices", f"LLEN {scene.invoices}", meaning)
        rows = {row.entry_id: row for row in scene.pending()}
        command = f"XPENDING {scene.orders} {scene.group} - + 10"
        if "2-0" in rows:
            raise NotYetError(
                f"2-0 is billed, and pending ({command}).\n"
                f"{_AGAIN} Which signal lets the process finish the order and acknowledge it?"
            )
        if not rows:
            raise NotYetError(
                f"Expected 3 pending orders, found 0: three were not delivered ({command}).\n"
                f"{_AGAIN} How many orders does one read of alice's deliver?"
            )
        expect(3, len(rows), "pending orders", command, f"{_AGAIN} Which orders are billed?")
        for row in rows.values():
            if row.consumer != "alice":
                raise NotYetError(
                    f"{row.entry_id} is pending with {row.consumer!r} ({command}).\n"
                    f"{_AGAIN} Leave the rest with alice: it is only handed over."
                )
            if row.idle_ms < _HOUR_MS:
                raise NotYetError(
                    f"{row.entry_id} has been idle for less than an hour ({command}): the next "
                    "consumer has to wait.\n"
                    f"{_AGAIN} Did alice have the time to hand over, and with which "
                    "min_idle_ms?"
                )
        done = [number for number in range(1, 6) if f"{number}-0" not in rows]
        expect_invoices(
            scene, map(content_of, done),
            f"{_AGAIN} Bill each delivery once, also the one during which the signal comes.",
        )  # fmt: skip


CHAPTER = Chapter(
    file="11_leases.ipynb",
    title="Keep your lease, and hand it over",
    goal="Choose a min-idle time, renew and hand over leases, and shut down gracefully.",
    reading=16,
    predicting=5,
    extra=7,
    builds_on=("04", "05", "10"),
    mistakes=(
        "An order is claimed only from consumers that have crashed.",
        "The min-idle time has to be longer than one handler takes, whatever the batch.",
        "Deleting a consumer gives its pending orders back to the group.",
        "A process that takes SIGTERM has nothing more to do for the next one.",
    ),
    skippable="What is called extra: deleting a consumer, the replay of the handover, and "
    "the helper.",
    surprise="A heartbeat that comes too late takes the order away from its new owner.",
    trouble=(
        "If a worker does not end, `lab.close()` ends all of them; then run the chapter from "
        "its first cell."
    ),
    predictions={
        "11-slow": (
            "Alice has not crashed, so it looks as if she kept her order. But Bob was given it "
            "too, and each of them billed it. He acknowledged first, and nothing was pending "
            "any more when her XACK came."
        ),
        "11-batch": (
            "Four seconds are far less than thirty. But the idle time of all ten orders began "
            "with the read, and at second 30 Alice has acknowledged seven."
        ),
        "11-heartbeat": (
            "In chapter 10 a claim counted as a delivery, because the order was sent. JUSTID "
            "does not send it. And the claim starts the idle time again, so Bob finds nothing."
        ),
        "11-too-late": (
            "It seems that a heartbeat can only renew what you have. XCLAIM does not know what "
            "you mean: it claims, from any owner, and min-idle 0 always holds."
        ),
        "11-deleted": (
            "It looks as if the orders went back to the group. They were delivered, so `>` "
            "passes over them; they are not pending, so there is nothing to replay or claim."
        ),
        "11-sigterm": (
            "The signal does not interrupt the order: the loop looks at `stop` between two "
            "orders. The second one is billed and acknowledged, and no third one is begun."
        ),
        "11-hand-over": (
            "The three orders were delivered moments ago, so a minute seems far away. But the "
            "idle time is whatever the owner set it to, and Alice set it to a minute."
        ),
    },
    exercises=(Renew, Shutdown),
)
