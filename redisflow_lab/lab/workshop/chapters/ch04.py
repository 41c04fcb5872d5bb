"""Exercises and predictions of chapter 04: crash before the acknowledgement."""

from redisflow_lab.lab.workshop.exercise import Exercise, NotYetError, expect
from redisflow_lab.lab.workshop.scene import Scene

PREDICTIONS = {
    "04-invoices": (
        "Five orders were delivered, and two are acknowledged: neither is the number of "
        "invoices. The handler ran three times before the crash."
    ),
    "04-pending": (
        "Pending is what was delivered and is not acknowledged, billed or not. The third order "
        "is billed and pending, and the last two were delivered with the first."
    ),
    "04-bob": (
        "Many people expect the group to notice that alice died. Redis keeps no connection "
        "between the name of a consumer and a process: the orders are still alice's."
    ),
    "04-shipped": (
        "The acknowledgement says that the order is done, and Redis believes it. Nothing is "
        "left that could be delivered again."
    ),
}


class AfterDelivery(Exercise):
    id = "04-after-delivery"
    goal = (
        "alice crashes after an order was delivered to her and before it was billed, so that "
        "exactly one order is pending, it has no invoice, and exactly one other is billed."
    )
    given = "task.redis, task.orders (3 orders, no group yet), task.bill, task.worker(...)"
    minutes = 4
    hints = (
        "Each read delivers up to `batch` orders, and all of them are pending at once.",
        "`crash=` names the instruction, and `after=` how often it is reached before.",
        "One order a read, and the crash at the second delivery: batch=1, after=2.",
    )
    solution = (
        'task.worker("alice", task.bill, crash="after-delivery", batch=1, after=2).wait_end()'
    )
    wrong = {
        "the whole batch was delivered": (
            'task.worker("alice", task.bill, crash="after-delivery").wait_end()'
        ),
        "the pending order is billed": (
            'task.worker("alice", task.bill, crash="before-ack", batch=1).wait_end()'
        ),
        "she crashed at her first order": (
            'task.worker("alice", task.bill, crash="after-delivery", batch=1).wait_end()'
        ),
        "nothing crashed": 'task.worker("alice", task.bill).wait_for("acked", 3)',
    }
    why = (
        "A crash strands what one read delivered, and nothing more. The size of the batch is "
        "the most work that a crash can strand."
    )

    def set(self, scene: Scene) -> None:
        scene.publish(3)

    def is_attempted(self, scene: Scene) -> bool:
        return bool(scene.groups() or scene.billed())

    def check(self, scene: Scene) -> None:
        pending, billed = scene.pending(), scene.billed()
        command = f"XPENDING {scene.orders} {scene.group}"
        meaning = (
            "Every order was acknowledged: where does the process have to die?"
            if not pending
            else "One read delivered more than one order. How many should it deliver here?"
        )
        expect(1, len(pending), "pending order", command, meaning)
        if pending[0] in billed:
            raise NotYetError(
                f"The pending order, {pending[0]!r}, has an invoice (LRANGE {scene.invoices} "
                "0 -1).\nThe handler ran before the crash. Which instruction comes earlier?"
            )
        meaning = "The crash may come later: after how many deliveries?"
        command = f"LLEN {scene.invoices}"
        expect(1, len(billed), "invoice", command, meaning)


EXERCISES = (AfterDelivery,)
