"""Exercises and predictions of chapter 21: acknowledge, delete and trim with Redis 8."""

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import Exercise, NotYetError, Wrong, expect
from redisflow_lab.lab.workshop.scene import Scene

SHIPPING = "shipping"


def group_at_start(scene: Scene, group: str, name: str, *, read: int, pending: str) -> None:
    """A group whose consumer has read some orders, and has acknowledged all of them but one."""
    scene.redis.xgroup_create(scene.orders, group, id="0")
    scene.redis.xreadgroup(group, name, {scene.orders: ">"}, count=read)
    for row in scene.pending(group):
        if row.entry_id != pending:
            scene.redis.xack(scene.orders, group, row.entry_id)


def expect_groups(scene: Scene) -> None:
    """Raise NotYetError unless both groups exist."""
    for group in (scene.group, SHIPPING):
        if group not in scene.groups():
            raise NotYetError(
                f"Expected the group {group}, and it is destroyed "
                f"(XINFO GROUPS {scene.orders}).\n"
                "A group is not done because it is gone: it reads the next orders, too. Run "
                "the cell with exercise(...) again."
            )


def expect_with_carol(scene: Scene, entry_id: str, *, lost: str, empty: str) -> None:
    """Raise NotYetError unless exactly this order is pending with carol, with its content.

    lost:  what to say if it is no longer pending
    empty: what to say if it is pending and no longer in the stream
    """
    command = f"XPENDING {scene.orders} {SHIPPING} - + 10"
    pending = scene.pending(SHIPPING)
    if [row.entry_id for row in pending] != [entry_id]:
        raise NotYetError(
            f"Expected {entry_id} to be pending with carol, and nothing else "
            f"({command}).\n{lost}"
        )
    if pending[0].content is None:
        raise NotYetError(
            f"{entry_id} is pending with carol, and its content is deleted "
            f"(XRANGE {scene.orders} - +).\n{empty}"
        )


class Finish(Exercise):
    id = "21-finish"
    goal = (
        "nothing is pending in billing; what shipping has acknowledged is deleted from the "
        "stream; and carol of shipping still has 2-0 pending, with its content."
    )
    given = (
        "task.redis, task.orders (1-0, 2-0 and 3-0: all pending in billing; in shipping, 1-0 "
        "and 3-0 are acknowledged)"
    )
    minutes = 3
    needs = ("XACKDEL",)
    hints = (
        "One command acknowledges for billing and deletes. Which policy waits for carol?",
        "You need not look which order she has: send all three ids, and the server asks.",
        'task.redis.xackdel(task.orders, "billing", ids..., ref_policy=...)',
    )
    solution = (
        'ids = ["1-0", "2-0", "3-0"]\n'
        'task.redis.xackdel(task.orders, "billing", *ids, ref_policy="ACKED")'
    )
    wrong = (
        Wrong(
            "the default policy",
            'task.redis.xackdel(task.orders, "billing", "1-0", "2-0", "3-0")',
            "Which policy keeps an order that another group needs?",
        ),
        Wrong(
            "DELREF",
            'ids = ["1-0", "2-0", "3-0"]\n'
            'task.redis.xackdel(task.orders, "billing", *ids, ref_policy="DELREF")',
            "One policy also cleans the pending lists of other groups",
        ),
        Wrong(
            "XACK",
            'task.redis.xack(task.orders, "billing", "1-0", "2-0", "3-0")',
            "XACK deletes nothing",
        ),
        Wrong(
            "one order",
            'task.redis.xackdel(task.orders, "billing", "1-0", ref_policy="ACKED")',
            "found 2",
        ),
        Wrong(
            "carol's order left out",
            'task.redis.xackdel(task.orders, "billing", "1-0", "3-0", ref_policy="ACKED")',
            "found 1",
        ),
        Wrong(
            "deleted without an acknowledgement",
            'task.redis.xdelex(task.orders, "1-0", "3-0")',
            "found 3",
        ),
        Wrong(
            "the group was destroyed",
            'task.redis.xgroup_destroy(task.orders, "billing")\n'
            'task.redis.xdelex(task.orders, "1-0", "3-0")',
            "Expected the group billing",
        ),
    )
    why = (
        "With ACKED, a group says only that it is done itself. The server, which knows the "
        "other groups, decides whether the order can go."
    )

    def set(self, scene: Scene) -> None:
        scene.publish(3)
        scene.redis.xgroup_create(scene.orders, scene.group, id="0")
        scene.redis.xreadgroup(scene.group, "alice", {scene.orders: ">"})
        group_at_start(scene, SHIPPING, "carol", read=3, pending="2-0")

    def is_attempted(self, scene: Scene) -> bool:
        now = len(scene.ids()), len(scene.pending()), len(scene.pending(SHIPPING))
        return now != (3, 3, 1)

    def check(self, scene: Scene) -> None:
        expect_groups(scene)
        meaning = "Billing is done with all three: which command acknowledges and deletes?"
        pending = len(scene.pending())
        command = f"XPENDING {scene.orders} {scene.group}"
        expect(0, pending, "orders pending in billing", command, meaning)
        expect_with_carol(
            scene,
            "2-0",
            lost="One policy also cleans the pending lists of other groups. Is it right here?",
            empty="Which policy keeps an order that another group needs?",
        )
        if (left := scene.ids()) != ["2-0"]:
            raise NotYetError(
                f"Expected 2-0 in the stream, found {', '.join(left)} "
                f"(XRANGE {scene.orders} - +).\n"
                "XACK deletes nothing. What is acknowledged everywhere and still there can be "
                "deleted with XDELEX, or at once with XACKDEL: begin again."
            )


class Sweep(Exercise):
    id = "21-sweep"
    goal = (
        "every order that both groups have acknowledged is deleted, and no other. Nothing that "
        "is pending changes, and shipping can still read what it has not read yet."
    )
    given = (
        "task.redis, task.orders (1-0 to 6-0: billing has acknowledged all with XACK; shipping "
        "has read 1-0 to 4-0, and one of those is pending with carol)"
    )
    minutes = 2
    needs = ("XDELEX",)
    hints = (
        "XDELEX takes many ids, and asks every group about each if you give it the policy.",
        "The ids are those of XRANGE: you need not find out which ones are finished.",
        "ids = [id for id, _ in task.redis.xrange(task.orders)], then xdelex(..., *ids, ...).",
    )
    solution = (
        "ids = [entry_id for entry_id, _ in task.redis.xrange(task.orders)]\n"
        'task.redis.xdelex(task.orders, *ids, ref_policy="ACKED")'
    )
    wrong = (
        Wrong(
            "all of them, without a policy",
            "ids = [entry_id for entry_id, _ in task.redis.xrange(task.orders)]\n"
            "task.redis.xdelex(task.orders, *ids)",
            "The default policy asks no group",
        ),
        Wrong(
            "up to the oldest pending order",
            'task.redis.xtrim(task.orders, minid="3-0", approximate=False)',
            "An order that is still needed does not protect those after it",
        ),
        Wrong(
            "all that is not pending",
            'task.redis.xdelex(task.orders, "1-0", "2-0", "4-0", "5-0", "6-0")',
            "What a group has not read is on no pending list",
        ),
        Wrong(
            "acknowledged in the name of carol",
            'task.redis.xackdel(task.orders, "shipping", "1-0", "2-0", "3-0", "4-0")',
            "XDELEX acknowledges nothing",
        ),
        Wrong(
            "shipping was moved to the end",
            'task.redis.xgroup_setid(task.orders, "shipping", "$")\n'
            'task.redis.xdelex(task.orders, "1-0", "2-0", "4-0")',
            "the group was moved past",
        ),
    )
    why = (
        "An order that was acknowledged with XACK is on no pending list, so only a look at the "
        "stream finds it. Each group is asked twice: is it pending, and have you read that far?"
    )

    def set(self, scene: Scene) -> None:
        scene.publish(6)
        group_at_start(scene, scene.group, "alice", read=6, pending="")
        group_at_start(scene, SHIPPING, "carol", read=4, pending="3-0")

    def is_attempted(self, scene: Scene) -> bool:
        return (len(scene.ids()), len(scene.pending(SHIPPING))) != (6, 1)

    def check(self, scene: Scene) -> None:
        expect_groups(scene)
        expect_with_carol(
            scene,
            "3-0",
            lost="Someone else's order was finished. XDELEX acknowledges nothing.",
            empty="The default policy asks no group. Which one does?",
        )
        found = scene.ids()
        command = f"XRANGE {scene.orders} - +"
        if missing := [entry_id for entry_id in ("5-0", "6-0") if entry_id not in found]:
            raise NotYetError(
                f"{' and '.join(missing)} should still be there ({command}).\n"
                "What a group has not read is on no pending list. Did you ask for both?"
            )
        if left := [entry_id for entry_id in found if entry_id in ("1-0", "2-0", "4-0")]:
            raise NotYetError(
                f"No group needs {', '.join(left)} any more: found in the stream ({command}).\n"
                "An order that is still needed does not protect those after it: ask for each."
            )
        unread = scene.unread(SHIPPING)
        if skipped := [entry_id for entry_id in ("5-0", "6-0") if entry_id not in unread]:
            raise NotYetError(
                f"Expected {' and '.join(skipped)} to be unread in {SHIPPING}, and the group "
                f"was moved past (XINFO GROUPS {scene.orders}).\n"
                "No consumer of it is given them any more. Run the cell with exercise(...) "
                "again, and leave the cursor where it is."
            )


class Shrink(Exercise):
    id = "21-shrink"
    goal = (
        "the stream holds one order: the one that carol of shipping has pending. The group "
        "audit still exists, and it has nothing to read until a new order is published."
    )
    given = (
        "task.redis, task.orders (1-0 to 8-0: billing has acknowledged all, shipping all but "
        "2-0, and audit begins at 0 and has never read)"
    )
    minutes = 3
    needs = ("XTRIM ACKED",)
    hints = (
        "Trim with ACKED as often as you like: audit needs all eight, until its cursor moves.",
        "XGROUP SETID moves the cursor of a group: redis-py calls it xgroup_setid.",
        "Move audit to $ first. Then trim to the shortest length, exactly, with ACKED.",
    )
    solution = (
        'task.redis.xgroup_setid(task.orders, "audit", "$")\n'
        "task.redis.xtrim(\n"
        '    task.orders, maxlen=0, approximate=False, ref_policy="ACKED"\n'
        ")"
    )
    wrong = (
        Wrong(
            "audit was destroyed",
            'task.redis.xgroup_destroy(task.orders, "audit")\n'
            'task.redis.xtrim(task.orders, maxlen=1, approximate=False, ref_policy="ACKED")',
            "There is no group audit",
        ),
        Wrong(
            "trimmed without ACKED",
            'task.redis.xgroup_setid(task.orders, "audit", "$")\n'
            "task.redis.xtrim(task.orders, maxlen=1, approximate=False)",
            "This trim asked no group",
        ),
        Wrong(
            "trimmed up to the oldest pending order",
            'task.redis.xgroup_setid(task.orders, "audit", "$")\n'
            'task.redis.xtrim(task.orders, minid="2-0", approximate=False)',
            "found 7",
        ),
        Wrong(
            "the cursor moved, and nothing trimmed",
            'task.redis.xgroup_setid(task.orders, "audit", "$")',
            "found 8",
        ),
        Wrong(
            "deleted by hand",
            'task.redis.xdel(task.orders, *[f"{n}-0" for n in (1, 3, 4, 5, 6, 7, 8)])',
            "audit would still be given",
        ),
    )
    why = (
        "A trim with ACKED is as short as the slowest group allows. Someone has to decide what "
        "that group does not need any more: the server cannot."
    )

    def set(self, scene: Scene) -> None:
        scene.publish(8)
        group_at_start(scene, scene.group, "alice", read=8, pending="")
        group_at_start(scene, SHIPPING, "carol", read=8, pending="2-0")
        scene.redis.xgroup_create(scene.orders, "audit", id="0")

    def cursor(self, scene: Scene) -> str | None:
        """Of the group audit; None if there is no such group."""
        rows = scene.redis.xinfo_groups(scene.orders)
        found = {row["name"].decode(): row["last-delivered-id"].decode() for row in rows}
        return found.get("audit")

    def is_attempted(self, scene: Scene) -> bool:
        now = len(scene.ids()), len(scene.pending(SHIPPING)), self.cursor(scene)
        return now != (8, 1, "0-0")

    def check(self, scene: Scene) -> None:
        cursor = self.cursor(scene)
        command = f"XINFO GROUPS {scene.orders}"
        if cursor is None:
            raise NotYetError(
                f"There is no group audit ({command}).\n"
                "It is still wanted: move its cursor instead of destroying it."
            )
        expect_with_carol(
            scene,
            "2-0",
            lost="It is hers until she has shipped it: neither acknowledge it nor use DELREF.",
            empty="This trim asked no group. Which word makes it ask?",
        )
        meaning = "Which orders does no group need, and how short may the stream become?"
        expect(1, len(scene.ids()), "order in the stream", f"XLEN {scene.orders}", meaning)
        if int(cursor.partition("-")[0]) < 8:
            raise NotYetError(
                f"audit would still be given 2-0: its cursor is at {cursor} ({command}).\n"
                "Which command moves the cursor of a group to the end?"
            )
        pending = len(scene.pending("audit"))
        command = f"XPENDING {scene.orders} audit"
        expect(0, pending, "orders pending in audit", command, "It read them: is it done?")


CHAPTER = Chapter(
    file="21_redis_8_acknowledge_delete_trim.ipynb",
    title="Delete only what every group has finished (Redis 8)",
    goal="Delete and trim with one command, without taking an order from another group.",
    reading=17,
    predicting=4,
    builds_on=("01", "02", "10"),
    mistakes=(
        "XACKDEL is a faster XACK, and safe with any number of groups.",
        "A trim with MAXLEN n ACKED leaves the newest n orders.",
        "A group that no consumer reads for costs nothing.",
    ),
    skippable="The section on a group that only says XACK, if all programs are yours.",
    surprise="A group that nobody reads for keeps every order in the stream.",
    trouble=(
        "It needs Redis 8.10 and says so elsewhere. `make redis8` gets it without Docker, and "
        "takes four minutes where it has to be built: do that the day before."
    ),
    predictions={
        "21-gap": (
            "The order was acknowledged, so it is not pending; it was not deleted, so it is "
            "there. People think of two commands as one step. A crash may come between them."
        ),
        "21-carol": (
            "An entry is stored once, for all groups. Deleting it takes it from each of them, "
            "whether it is pending there or has not been read."
        ),
        "21-policies": (
            "Only DELREF touches the pending lists of other groups. KEEPREF leaves Carol the "
            "id, without its content; ACKED leaves her both."
        ),
        "21-leftover": (
            "It looks as if the last acknowledgement had to delete the order. But only "
            "XACKDEL deletes, and it was sent while shipping still needed the order."
        ),
        "21-dangling": (
            "A trim deletes entries and leaves pending lists as they are. Carol keeps four "
            "ids, and two of the entries behind them are deleted."
        ),
        "21-two-left": (
            "MAXLEN makes one think of the newest ones. With ACKED the stream gets as short "
            "as you asked, but what may not be deleted stays, however old it is."
        ),
        "21-audit": (
            "A group that begins at the end has nothing to read, so it needs no old order. "
            "One that begins at 0 has read none of them, so it needs all: pending or not."
        ),
    },
    exercises=(Finish, Sweep, Shrink),
    needs=("XACKDEL", "XDELEX", "XTRIM ACKED"),
)
