"""Exercises and predictions of chapter 31: retention and memory."""

from typing import Any

from redis.exceptions import ResponseError

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import (
    Exercise,
    NotYetError,
    Wrong,
    counted,
    expect,
    expect_no_more,
)
from redisflow_lab.lab.workshop.scene import Scene

SHIPPING, AUDIT, NEWSLETTER = "shipping", "audit", "newsletter"
HOUR = 3_600_000
"""In ms."""


def read(scene: Scene, group: str, name: str, count: int, *, pending: tuple[str, ...]) -> None:
    """Make a group whose consumer has read some orders, and acknowledged all but these."""
    scene.redis.xgroup_create(scene.orders, group, id="0")
    scene.redis.xreadgroup(group, name, {scene.orders: ">"}, count=count)
    done = [row.entry_id for row in scene.pending(group) if row.entry_id not in pending]
    scene.redis.xack(scene.orders, group, *done)


def expect_pending(scene: Scene, entry_ids: tuple[str, ...]) -> None:
    """Raise NotYetError unless exactly these are pending in billing, with their content."""
    command = f"XPENDING {scene.orders} {scene.group} - + 10"
    rows = scene.pending()
    if [row.entry_id for row in rows] != [*entry_ids]:
        raise NotYetError(
            f"Expected {', '.join(entry_ids)} to be pending in {scene.group}, and nothing else "
            f"({command}).\n"
            "An order is not done because that would make a trim easier: billing still has to "
            "bill it. Run the cell with exercise(...) again."
        )
    if empty := [row.entry_id for row in rows if row.content is None]:
        raise NotYetError(
            f"{empty[0]} is pending in {scene.group}, and its content is gone "
            f"(XRANGE {scene.orders} - +).\n"
            "What is pending is still needed. Run the cell with exercise(...) again: which is "
            "the oldest order that billing has not acknowledged?"
        )


def note_trims(scene: Scene) -> None:
    """Note how many XTRIM the server has executed, for `expect_effect`."""
    scene.redis.set(scene.key("trims"), _trims(scene))


def has_trimmed(scene: Scene) -> bool:
    """Whether the server has executed an XTRIM, for any client, since `note_trims`."""
    noted: Any = scene.redis.get(scene.key("trims"))
    return _trims(scene) > int(noted or 0)


def _trims(scene: Scene) -> int:
    try:
        stats: Any = scene.redis.info("commandstats")
    except ResponseError:  # not every user of a shared server may ask
        return 0
    return int(stats.get("cmdstat_xtrim", {}).get("calls", 0))


def expect_effect(scene: Scene, count: int, meaning: str) -> None:
    """Raise NotYetError if there was an XTRIM, and all orders are still there.

    count:   of the orders that the task was set with
    meaning: what causes that
    """
    if scene.redis.xlen(scene.orders) == count and has_trimmed(scene):
        raise NotYetError(
            f"There was an XTRIM, and no order of this stream is removed (XLEN {scene.orders})."
            f"\n{meaning}"
        )


class Day(Exercise):
    id = "31-day"
    goal = "every order that was written more than a day ago is removed, and no other order."
    given = (
        "task.redis, task.orders (280 orders, some of them days old, the others written in "
        "the last day)"
    )
    minutes = 3
    extra = True
    hints = (
        "An id begins with the time of writing. Which word of XTRIM removes up to an id?",
        "TIME gives the server's time in seconds and microseconds. An id has milliseconds, and "
        "a day has 86,400,000 of them.",
        "MINID is the server's time a day ago, in ms. To keep nothing that is older, trim "
        "exactly: approximate=False.",
    )
    solution = """\
seconds, _ = task.redis.time()
a_day_ago = (seconds - 24 * 60 * 60) * 1_000
task.redis.xtrim(task.orders, minid=a_day_ago, approximate=False)"""
    wrong = (
        Wrong(
            "an hour instead of a day",
            "minid = (task.redis.time()[0] - 3_600) * 1_000\n"
            "task.redis.xtrim(task.orders, minid=minid, approximate=False)",
            "found 1 (",
        ),
        Wrong(
            "the default of redis-py, which is ~",
            "minid = (task.redis.time()[0] - 86_400) * 1_000\n"
            "task.redis.xtrim(task.orders, minid=minid)",
            "found 50 (",
        ),
        Wrong(
            "a length instead of a time",
            "task.redis.xtrim(task.orders, maxlen=100, approximate=False)",
            "found 70 (",
        ),
        Wrong(
            "the time of now",
            "minid = task.redis.time()[0] * 1_000\n"
            "task.redis.xtrim(task.orders, minid=minid, approximate=False)",
            "found 0 (",
        ),
        Wrong(
            "seconds instead of milliseconds",
            "minid = task.redis.time()[0] - 86_400\n"
            "task.redis.xtrim(task.orders, minid=minid, approximate=False)",
            "lower than every id",
        ),
    )
    why = (
        "An id is a time, so an age is a MINID. With = it is kept to the millisecond; with ~ "
        "up to a node of older orders stays, which costs little."
    )

    _OLD, _YOUNG = 250, 30

    def set(self, scene: Scene) -> None:
        now = self._now(scene)
        ages = [(30 + self._OLD - number) * HOUR for number in range(self._OLD)]
        ages += [(self._YOUNG - number) * 20 * HOUR // 30 for number in range(self._YOUNG)]
        with scene.redis.pipeline(transaction=False) as commands:
            for age in ages:
                commands.xadd(scene.orders, {"data": "x"}, id=f"{now - age}-0")
            commands.execute()
        note_trims(scene)

    def is_attempted(self, scene: Scene) -> bool:
        return len(scene.ids()) != self._OLD + self._YOUNG or has_trimmed(scene)

    def check(self, scene: Scene) -> None:
        expect_no_more(scene, self._OLD + self._YOUNG)
        meaning = "Your MINID is lower than every id: is it in milliseconds, as the ids are?"
        expect_effect(scene, self._OLD + self._YOUNG, meaning)
        a_day_ago = self._now(scene) - 24 * HOUR
        written = [int(entry_id.partition("-")[0]) for entry_id in scene.ids()]
        old = sum(time < a_day_ago for time in written)
        command = f"XRANGE {scene.orders} - +"
        meaning = (
            "Younger orders were removed. Run the cell with exercise(...) again: how many "
            "milliseconds is a day?"
        )
        young = len(written) - old
        expect(self._YOUNG, young, "orders of the last day in the stream", command, meaning)
        meaning = (
            "Did you trim by time? And exactly? With ~, which is the default of redis-py, a "
            "node stays if one of its orders has to."
        )
        expect(0, old, "orders that are older than a day", command, meaning)

    @staticmethod
    def _now(scene: Scene) -> int:
        """The time of the server, in ms."""
        seconds, microseconds = scene.redis.time()
        return seconds * 1_000 + microseconds // 1_000


class Safe(Exercise):
    id = "31-safe"
    goal = (
        "the stream begins with the oldest order that a group still needs. Neither billing nor "
        "shipping loses an order that it has not acknowledged or not read."
    )
    given = (
        "task.redis, task.orders (1-0 to 14-0: billing has read all of them, and two are "
        "pending; shipping has read some, and has acknowledged what it read)"
    )
    minutes = 5
    hints = (
        "Ask for each group: is something pending? If so, the oldest of it; if not, what comes "
        "after last-delivered-id.",
        'task.redis.xpending(task.orders, "billing")["min"], and last-delivered-id of shipping '
        "in task.redis.xinfo_groups(task.orders). Which is smaller, as a number?",
        "Billing needs 11-0. The cursor of shipping is at 9-0, so it needs the one after. Trim "
        "with the smaller one as MINID, and with approximate=False.",
    )
    solution = 'task.redis.xtrim(task.orders, minid="10-0", approximate=False)'
    wrong = (
        Wrong(
            "billing alone was asked",
            'task.redis.xtrim(task.orders, minid="11-0", approximate=False)',
            "shipping has not read it",
        ),
        Wrong(
            "the cursor itself is kept",
            'task.redis.xtrim(task.orders, minid="9-0", approximate=False)',
            "No group needs 9-0",
        ),
        Wrong(
            "a length, and no group was asked",
            "task.redis.xtrim(task.orders, maxlen=2, approximate=False)",
            "11-0 is pending in billing, and its content is gone",
        ),
        Wrong(
            "acknowledged, so that more can go",
            'task.redis.xack(task.orders, "billing", "11-0", "13-0")\n'
            'task.redis.xtrim(task.orders, minid="10-0", approximate=False)',
            "to be pending in billing, and nothing else",
        ),
        Wrong(
            "shipping was moved to the end",
            'task.redis.xgroup_setid(task.orders, "shipping", "$")\n'
            'task.redis.xtrim(task.orders, minid="11-0", approximate=False)',
            "the cursor of shipping at 9-0",
        ),
        Wrong(
            "the default of redis-py, which is ~",
            'task.redis.xtrim(task.orders, minid="10-0")',
            "only whole nodes",
        ),
    )
    why = (
        "A group that has nothing pending still needs all that it has not read. The smallest "
        "id over all groups is the limit, and one slow group sets it for the others."
    )

    _PENDING = ("11-0", "13-0")

    def set(self, scene: Scene) -> None:
        scene.publish(14)
        read(scene, scene.group, "alice", 14, pending=self._PENDING)
        read(scene, SHIPPING, "carol", 9, pending=())
        note_trims(scene)

    def is_attempted(self, scene: Scene) -> bool:
        pending = len(scene.pending()), len(scene.pending(SHIPPING))
        unread = len(scene.unread(SHIPPING))
        changed = (len(scene.ids()), unread, *pending) != (14, 5, 2, 0)
        return changed or has_trimmed(scene)

    def check(self, scene: Scene) -> None:
        expect_no_more(scene, 14)
        expect_pending(scene, self._PENDING)
        rows: Any = scene.redis.xinfo_groups(scene.orders)
        cursors = {row["name"].decode(): row["last-delivered-id"].decode() for row in rows}
        command = f"XINFO GROUPS {scene.orders}"
        if (found := cursors.get(SHIPPING)) != "9-0":
            raise NotYetError(
                f"Expected the cursor of shipping at 9-0, found {found or 'no such group'} "
                f"({command}).\n"
                "It has not handled what is after that. Run the cell with exercise(...) again, "
                "and trim without moving anything."
            )
        meaning = (
            "With ~, which is the default of redis-py, only whole nodes are removed, and this "
            "stream is shorter than one."
        )
        expect_effect(scene, 14, meaning)
        ids, command = scene.ids(), f"XRANGE {scene.orders} - +"
        if missing := scene.deleted(f"{number}-0" for number in range(10, 15)):
            raise NotYetError(
                f"{missing[0]} is removed, and shipping has not read it ({command}).\n"
                "What a group has not read is on no pending list. Run the cell with "
                "exercise(...) again: what does its cursor say?"
            )
        if left := [entry_id for entry_id in ids if int(entry_id.partition("-")[0]) < 10]:
            raise NotYetError(
                f"No group needs {', '.join(left)}, and the stream still has "
                f"{'it' if len(left) == 1 else 'them'} ({command}).\n"
                "last-delivered-id was delivered. Which is the first order that was not?"
            )


class Forgotten(Exercise):
    id = "31-forgotten"
    goal = (
        "the stream holds the three orders that billing has not acknowledged, and no other. "
        "The group audit is gone. The group newsletter exists, and will be given only what is "
        "published from now on."
    )
    given = (
        "task.redis, task.orders (1-0 to 40-0: billing has three of them pending and has "
        "acknowledged the others; audit made a report last year, and no program uses it any "
        "more; newsletter starts next week, and needs no old order. Neither has read anything)"
    )
    minutes = 4
    hints = (
        "Decide for each group, before you trim: does a program still need it?",
        "XGROUP DESTROY removes a group, XGROUP SETID moves its cursor: redis-py calls them "
        "xgroup_destroy and xgroup_setid. The end of the stream is $.",
        "Destroy audit, and move newsletter to $. Then trim(task.redis, ...) from "
        "redisflow_lab.retention, with acknowledged=True, removes what is left over.",
    )
    solution = """\
from redisflow_lab.retention import trim

task.redis.xgroup_destroy(task.orders, "audit")
task.redis.xgroup_setid(task.orders, "newsletter", "$")
trim(task.redis, task.orders, acknowledged=True)"""
    _TRIM = (
        "from redisflow_lab.retention import trim\n"
        "trim(task.redis, task.orders, acknowledged=True)"
    )
    wrong = (
        Wrong(
            "both were destroyed",
            'for group in ("audit", "newsletter"):\n'
            f"    task.redis.xgroup_destroy(task.orders, group)\n{_TRIM}",
            "newsletter is destroyed",
        ),
        Wrong(
            "both were moved to the end",
            'for group in ("audit", "newsletter"):\n'
            f'    task.redis.xgroup_setid(task.orders, group, "$")\n{_TRIM}',
            "audit still exists",
        ),
        Wrong(
            "newsletter still keeps everything",
            f'task.redis.xgroup_destroy(task.orders, "audit")\n{_TRIM}',
            "newsletter would be given",
        ),
        Wrong(
            "trimmed to the newest one",
            'task.redis.xgroup_destroy(task.orders, "audit")\n'
            'task.redis.xgroup_setid(task.orders, "newsletter", "$")\n'
            "task.redis.xtrim(task.orders, maxlen=1, approximate=False)",
            "is pending in billing, and its content is gone",
        ),
        Wrong(
            "decided, and not trimmed",
            'task.redis.xgroup_destroy(task.orders, "audit")\n'
            'task.redis.xgroup_setid(task.orders, "newsletter", "$")',
            "found 40",
        ),
    )
    why = (
        "A group without consumers needs all that it has not read, for as long as it exists. "
        "The server cannot know whether somebody will read for it: a person decides, and then "
        "the trim works by itself."
    )

    _PENDING = ("38-0", "39-0", "40-0")

    def set(self, scene: Scene) -> None:
        scene.publish(40)
        read(scene, scene.group, "alice", 40, pending=self._PENDING)
        for group in (AUDIT, NEWSLETTER):
            scene.redis.xgroup_create(scene.orders, group, id="0")

    def is_attempted(self, scene: Scene) -> bool:
        now = len(scene.ids()), len(scene.pending()), len(scene.unread(NEWSLETTER))
        return now != (40, 3, 40) or AUDIT not in scene.groups()

    def check(self, scene: Scene) -> None:
        expect_no_more(scene, 40)
        expect_pending(scene, self._PENDING)
        groups, command = scene.groups(), f"XINFO GROUPS {scene.orders}"
        if AUDIT in groups:
            raise NotYetError(
                f"The group audit still exists ({command}).\n"
                "Its cursor stays where it is while new orders are published, so it will keep "
                "them all. No program needs it: which command removes a group?"
            )
        if NEWSLETTER not in groups:
            raise NotYetError(
                f"The group newsletter is destroyed ({command}).\n"
                "It starts next week, and then must not begin anew. Run the cell with "
                "exercise(...) again, and move its cursor instead."
            )
        if unread := scene.unread(NEWSLETTER):
            raise NotYetError(
                f"newsletter would be given {counted(len(unread), 'old order')} ({command}).\n"
                "It needs what is published from now on. Where does its cursor have to be?"
            )
        meaning = "No group needs the others any more. What removes them, and asks the groups?"
        found = len(scene.ids())
        expect(3, found, "orders in the stream", f"XLEN {scene.orders}", meaning)


CHAPTER = Chapter(
    file="31_retention_and_memory.ipynb",
    title="Keep a stream small, and lose no order",
    goal="Bound a stream by length, by age or by what is acknowledged, and lose no order.",
    reading=15,
    predicting=4,
    extra=9,
    builds_on=("01", "02"),
    mistakes=(
        "An acknowledged order no longer takes memory.",
        "Deleting orders with XDEL frees their memory.",
        "A trim waits for a group that has not read yet, or reports an error.",
        "No error and nothing pending mean that nothing was lost.",
        "A group that no consumer reads for holds nothing back.",
    ),
    skippable="What is called extra: short steps, the task about a day, what a lag is worth.",
    surprise="XDEL of 99 in 100 orders frees next to no memory.",
    trouble=(
        "Bytes differ from server to server, and Redis 7.0 guesses those of pending lists, "
        "several times too high: only what is compared with them is the same everywhere."
    ),
    predictions={
        "31-deleted": (
            "9,900 of 10,000 are gone, so one expects 99 percent. But memory is freed by whole "
            "nodes, and each of the hundred nodes still holds one order."
        ),
        "31-limit": (
            "Fifty is the number that was allowed. With ~ only whole nodes are removed, and "
            "the smallest step is one node of a hundred: more than the limit, so none."
        ),
        "31-hour": (
            "MINID = is exact. With ~, the node that holds both older and younger orders stays "
            "whole: of three hours in nodes of a hundred, the second one."
        ),
        "31-lost": (
            "It is tempting to count only what was not delivered yet, or only what is pending: "
            "both are lost. Five entries were removed, but 1-0 was shipped before that."
        ),
        "31-between": (
            "Each answer was true when it was given. But what carol was given in between is "
            "neither in the first answer, as pending, nor after the cursor of the second."
        ),
    },
    exercises=(Day, Safe, Forgotten),
)
