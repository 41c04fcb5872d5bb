"""The nine stages of the learner's own consumer: requirements, tested with real crashes."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from redisflow_lab.lab.workshop.exercise import NotYetError, counted
from redisflow_lab.lab.workshop.grading.arena import (
    GROUP,
    MAX_DELIVERIES,
    MIN_IDLE_MS,
    Arena,
    Run,
)
from redisflow_lab.lab.workshop.grading.plans import Killing, Plans
from redisflow_lab.lab.workshop.grading.proxy import Plan

_SLOW_MS = 3_000
"""Idle time of the orders of a slow consumer: too short for a claim."""

Attempt = Callable[[], Arena]
"""Makes a fresh arena."""


@dataclass(frozen=True)
class Stage:
    """One requirement.

    number: 1 to 9
    name:   what the consumer does
    taught: number of the chapter
    try_:   raises NotYetError if a program does not do it
    """

    number: int
    name: str
    taught: str
    try_: Callable[[Attempt], None]


def _acknowledges_after_success(new: Attempt) -> None:
    arena = new()
    contents = arena.publish(5)
    run = arena.start("w1")
    _wait_done(arena, contents, run)
    arena = new()
    arena.publish(3)
    plans = Plans(arena)
    killing = plans.kill_when(plans.is_effect)
    _run_until_killed(arena, "w1", killing, "push an effect")
    if arena.undelivered() == 3:
        raise NotYetError(
            "Your process pushed the effect of an order that it had not read for the group "
            f"(XINFO GROUPS {arena.stream}). Read with XREADGROUP (chapter 02)."
        )
    there = len(arena.pending()) + arena.undelivered()
    if there < 3:
        raise NotYetError(
            f"Your process was killed while it pushed the first of 3 effects, and only {there} "
            f"orders are pending or not delivered (XPENDING {arena.stream} {GROUP}): one was "
            "acknowledged before it was handled, and is lost. Acknowledge after the effect "
            "(chapter 02)."
        )


def _loses_nothing_when_a_handler_fails(new: Attempt) -> None:
    arena = new()
    contents = arena.publish(5)
    failing = Plans(arena).fail(contents[1])
    run = arena.start("w1", failing)
    others = [content for content in contents if content != contents[1]]

    def state() -> bool:
        pending = {row.content for row in arena.pending()}
        return set(others) <= set(arena.effects()) and pending <= {contents[1]}

    arena.wait(
        state,
        lambda: (
            f"5 orders were published, and the effect of {contents[1]!r} fails: the server "
            f"answers with an error. The other four were not all handled and acknowledged: "
            f"{_handled(arena)}. Catch the error, leave that order pending, and go on"
        ),
        run=run,
    )
    if contents[1] not in {row.content for row in arena.pending()}:
        raise NotYetError(
            f"The effect of {contents[1]!r} failed {failing.tries} x, and the order is no "
            f"longer pending (XPENDING {arena.stream} {GROUP}): it was acknowledged all the "
            "same, and is lost. Acknowledge only what was handled (chapter 02)."
        )


def _replays_after_a_sigkill(new: Attempt) -> None:
    arena = new()
    arena.publish(12)
    stranded = _crash_at_the_fifth(arena)
    run = arena.start("w1")
    _wait_handled(
        arena,
        stranded,
        run,
        "12 orders were published. Your process was killed after the effect of the fifth and "
        "before its XACK, and was started again under the same name",
        "Read your own pending orders, with `0` instead of `>`, before you read new ones "
        "(chapter 05)",
        is_claimable=False,
    )


def _sees_new_orders_after_the_replay(new: Attempt) -> None:
    arena = new()
    contents = arena.publish(12)
    _crash_at_the_fifth(arena)
    run = arena.start("w1")
    contents += arena.publish(3)
    _wait_handled(
        arena,
        contents,
        run,
        "Your process was killed, and was started again under the same name; three more orders "
        "were published",
        "When a read with `0` finds nothing more, go on with `>` (chapter 05)",
    )


def _survives_a_restart_of_the_server(new: Attempt) -> None:
    arena = new()
    contents = arena.publish(3)
    run = arena.start("w1")
    _wait_done(arena, contents, run)
    arena.lab.server.kill()
    try:
        arena.wait(
            lambda: run.proxy.refused > 0,
            lambda: "The server was killed, and your process did not connect again",
            run=run,
        )
    finally:
        arena.lab.server.start()
    contents += arena.publish(3)
    _wait_handled(
        arena,
        contents,
        run,
        "The server was killed and started again, and three more orders were published",
        "Catch the ConnectionError, wait a little longer each time, and try again (chapter 05)",
        limit_s=20,
    )


def _claims_from_crashed_consumers_only(new: Attempt) -> None:
    arena = new()
    arena.publish(3)
    plans = Plans(arena)
    _run_until_killed(arena, "crashed", plans.kill_after_effects(1), "go on after an effect")
    stranded = [row.content or "" for row in arena.pending()]
    held = arena.publish(1)[0]
    holding = plans.hold(held)
    slow = arena.start("slow", holding)
    arena.wait(
        holding.reached.is_set,
        lambda: "A second consumer was started, and did not handle the new order",
        run=slow,
    )
    reads = _Reads()
    third = arena.start("third", reads)

    def keep_fresh_until_read() -> bool:
        arena.age("slow", "crashed", idle_ms=_SLOW_MS)
        return reads.count >= 3

    arena.wait(
        keep_fresh_until_read,
        lambda: "A third consumer was started, and did not read three times",
        run=third,
    )
    owners = {row.content: row.consumer for row in arena.pending()}
    for content, owner in ((held, "slow"), *((one, "crashed") for one in stranded)):
        if owners.get(content) != owner:
            raise NotYetError(
                f"{content!r} was claimed from the consumer {owner!r}, and had been idle for "
                f"{_SLOW_MS} ms (XPENDING {arena.stream} {GROUP}): its owner may be "
                f"slow and not dead. Claim what has been idle for {MIN_IDLE_MS} ms or more "
                "(chapter 10)."
            )

    def claimed() -> bool:
        arena.age("slow", idle_ms=_SLOW_MS)
        arena.age("crashed")
        return "crashed" not in {row.consumer for row in arena.pending()}

    arena.wait(
        claimed,
        lambda: (
            f"The consumer 'crashed' was killed, and "
            f"{counted(len(stranded), 'order has', 'orders have')} been pending with it for "
            f"ten minutes (XPENDING {arena.stream} {GROUP} IDLE {MIN_IDLE_MS} - + "
            "10). Two other consumers run, and none claims them (chapter 10)"
        ),
        run=third,
    )
    holding.release()
    _wait_handled(
        arena,
        [*stranded, held],
        third,
        "Stranded orders were claimed",
        "Handle and acknowledge what you claim",
    )
    if arena.effects().count(held) > 1:
        raise NotYetError(f"{held!r} was handled twice: by its slow owner and by another one.")


def _dead_letters_poison_messages(new: Attempt) -> None:
    arena = new()
    contents = arena.publish(2)
    poison = "a poison message"
    arena.publish_one(poison)
    contents += arena.publish(2)
    failing = Plans(arena).fail(poison)
    run = arena.start("w1", failing)

    def state() -> bool:
        arena.age("w1")
        return bool(arena.dead_letters()) and not arena.pending()

    arena.wait(
        state,
        lambda: (
            f"The effect of one message has failed {failing.tries} x. Expected: after delivery "
            f"{MAX_DELIVERIES} it is added to {arena.stream}:dead and acknowledged. There are "
            f"{len(arena.dead_letters())} dead letters and {len(arena.pending())} pending "
            "entries (chapter 12)"
        ),
        run=run,
        limit_s=15,
    )
    if failing.tries < MAX_DELIVERIES:
        raise NotYetError(
            f"The message was dead-lettered after {failing.tries} of {MAX_DELIVERIES} "
            "deliveries. Most errors are transient: try again before you give up (chapter 12)."
        )
    if failing.tries > MAX_DELIVERIES:
        raise NotYetError(
            f"The message was handled {failing.tries} times, and not {MAX_DELIVERIES}, before "
            "it was dead-lettered. Look at the delivery count that XPENDING shows (chapter 12)."
        )
    if arena.dead_letters() != [poison]:
        raise NotYetError(
            f"{arena.stream}:dead should hold the poison message, with all its fields, and "
            f"nothing else (XRANGE {arena.stream}:dead - +). It holds {arena.dead_letters()}."
        )
    _wait_done(arena, contents, run)


def _has_one_effect_in_spite_of_every_crash(new: Attempt) -> None:
    for number in range(1, 11):
        arena = new()
        _crash_once_and_count(arena, Plans(arena).kill_at(number))
    for effects in (1, 2):
        arena = new()
        _crash_once_and_count(arena, Plans(arena).kill_after_effects(effects))


def _crash_once_and_count(arena: Arena, killing: Killing) -> None:
    """Kill the program, start it again, and count the effects."""
    contents = arena.publish(3)
    run = arena.start("w1", killing)
    killing.watch(run)
    arena.wait(
        lambda: killing.killed or (not arena.pending() and len(arena.effects()) == 3),
        lambda: "Your process did not handle three orders",
    )
    run.end()
    run = arena.start("w1")
    where = killing.at[0].decode(errors="replace") if killing.at else "the last one"
    story = (
        f"3 orders were published. Your process was killed after it had read them and before "
        f"the command {where}, and was started again"
    )
    advice = "Write the effect and its deduplication key in one transaction (chapter 13)"
    _wait_handled(arena, contents, run, story, advice)
    twice = [one for one, times in Counter(arena.effects()).items() if times > 1]
    if twice:
        raise NotYetError(
            f"{story}. The effect of {twice[0]!r} is there twice "
            f"(LRANGE {arena.effects_key} 0 -1). {advice}."
        )
    run.end()


def _drains_at_sigterm(new: Attempt) -> None:
    arena = new()
    contents = arena.publish(20)
    holding = Plans(arena).hold(contents[2])
    run = arena.start("w1", holding)
    arena.wait(
        holding.reached.is_set, lambda: "Your process did not come to the third order", run=run
    )
    run.program.terminate()
    holding.release()
    story = "Your process got SIGTERM while it handled the third of 20 orders"
    arena.wait(
        lambda: not run.program.running,
        lambda: f"{story}, and still runs. Finish that order, and end (chapter 11)",
        limit_s=5,
    )
    if run.program.exit_status != 0:
        raise NotYetError(
            f"{story}. Expected: it finishes, acknowledges, and ends with exit code 0; "
            f"{run.program.describe()}. Catch the signal (chapter 11)."
        )
    effects = set(arena.effects())
    half = [row.content for row in arena.pending() if row.content in effects]
    if half:
        raise NotYetError(
            f"{story}, and ended. {half[0]!r} has its effect and is still pending "
            f"(XPENDING {arena.stream} {GROUP}): acknowledge what you finish, before you end "
            "(chapter 11)."
        )
    if len(effects) + len(arena.pending()) + arena.undelivered() < 20:
        raise NotYetError(
            f"{story}, and ended. Of 20 orders, {len(effects)} are handled, "
            f"{len(arena.pending())} pending and {arena.undelivered()} not delivered: the "
            "others are acknowledged without an effect, and lost."
        )


STAGES = (
    Stage(1, "acknowledges after success", "02", _acknowledges_after_success),
    Stage(2, "a failing handler loses nothing", "02", _loses_nothing_when_a_handler_fails),
    Stage(3, "replays after a SIGKILL", "05", _replays_after_a_sigkill),
    Stage(4, "sees new orders after the replay", "05", _sees_new_orders_after_the_replay),
    Stage(5, "survives a restart of the server", "05", _survives_a_restart_of_the_server),
    Stage(
        6, "claims from crashed consumers, not from slow ones", "10",
        _claims_from_crashed_consumers_only,
    ),
    Stage(7, "dead-letters poison messages", "12", _dead_letters_poison_messages),
    Stage(
        8, "one effect in spite of every crash", "13", _has_one_effect_in_spite_of_every_crash
    ),
    Stage(9, "drains at SIGTERM", "11", _drains_at_sigterm),
)  # fmt: skip


class _Reads:
    """Counts the reads and claims of a program, and sends them unchanged."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, command: list[bytes]) -> list[bytes]:
        self.count += command[0].upper() in (b"XREADGROUP", b"XAUTOCLAIM", b"XCLAIM")
        return command


def _run_until_killed(arena: Arena, name: str, killing: Killing, what: str) -> None:
    plan: Plan = killing
    run = arena.start(name, plan)
    killing.watch(run)
    arena.wait(
        lambda: killing.killed and not run.program.running,
        lambda: (
            f"Orders were published, and your process did not {what}: {run.program.describe()}"
        ),
    )
    run.end()


def _crash_at_the_fifth(arena: Arena) -> list[str]:
    """Kill the program after the fifth effect. Returns the contents that are then pending."""
    killing = Plans(arena).kill_after_effects(5)
    _run_until_killed(arena, "w1", killing, "go on after five effects")
    return [row.content or "" for row in arena.pending()]


def _wait_done(arena: Arena, contents: list[str], run: Run) -> None:
    _wait_handled(
        arena,
        contents,
        run,
        f"{len(contents)} orders were published",
        "Read with XREADGROUP, push the effect, and then send XACK (chapter 02)",
    )


def _wait_handled(
    arena: Arena,
    contents: list[str],
    run: Run,
    story: str,
    advice: str,
    *,
    is_claimable: bool = True,
    limit_s: float = 10,
) -> None:
    """Wait until these orders have effects and are not pending.

    is_claimable: whether they may become idle for long enough to be claimed
    """

    def is_handled() -> bool:
        if not is_claimable:
            arena.age(run.name, idle_ms=0)
        pending = {row.content for row in arena.pending()}
        return set(contents) <= set(arena.effects()) and not pending & set(contents)

    def failure() -> str:
        pending = {row.content for row in arena.pending()}
        asks = (
            ". Every order has its effect, and all are pending: check whether XACK is sent to "
            "the group of --group"
            if set(contents) <= pending & set(arena.effects())
            else ""
        )
        found = _handled(arena)
        return f"{story}. Expected: all handled and acknowledged; {found}. {advice}{asks}"

    arena.wait(is_handled, failure, run=run, limit_s=limit_s)


def _handled(arena: Arena) -> str:
    """How many orders are handled, pending and not delivered, in words."""
    pending = arena.pending()
    named = ", ".join(str(row.content) for row in pending[:3])
    told = f"{len(pending)} pending ({named}{', ...' if len(pending) > 3 else ''})"
    return (
        f"{len(set(arena.effects()))} orders have an effect (LRANGE {arena.effects_key} 0 -1), "
        f"{told if pending else 'none is pending'} (XPENDING {arena.stream} {GROUP}), "
        f"{arena.undelivered()} not delivered"
    )
