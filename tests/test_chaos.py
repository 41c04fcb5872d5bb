"""The short forms of the chaos tests; `make chaos` are the long ones."""

import os
import secrets
from collections.abc import Callable

import chaos_cluster
import pytest
from chaos import Plan, chaos
from chaos_cluster_judge import Acked, Dead, Effect, Failover, Found, judge

pytestmark = pytest.mark.by_server


def test_the_same_seed_gives_the_same_plan() -> None:
    first, second, other = (
        Plan.of(seed, messages=1_000, kills=10, server_kills=2) for seed in (7, 7, 8)
    )
    assert first == second
    assert first != other


def a_seed() -> int:
    return int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))


def test_no_message_is_lost_or_doubled_when_processes_and_the_server_are_killed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seed = a_seed()
    with capsys.disabled():
        print(f" chaos, CHAOS_SEED={seed}: ", end="", flush=True)  # noqa: T201
        outcome = chaos(seed, messages=12_000, kills=20, server_kills=3)
        print(outcome)  # noqa: T201
    assert outcome.broken == []
    assert outcome.published >= 12_000
    assert outcome.killers >= 3
    assert (outcome.kills, outcome.server_kills) == (20, 3)
    assert outcome.dead_letters > outcome.killers


# ---------------------------------------------------------------- on a cluster


def test_the_same_seed_gives_the_same_plan_for_a_cluster() -> None:
    first, second, other = (
        chaos_cluster.Plan.of(seed, kills=20, server_kills=3, migrations=2, cuts=1)
        for seed in (7, 7, 8)
    )
    assert first == second
    assert first != other


@pytest.mark.slow
def test_a_cluster_loses_what_its_failovers_lose_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seed = a_seed()
    with capsys.disabled():
        print(f" chaos on a cluster, CHAOS_SEED={seed}: ", end="", flush=True)  # noqa: T201
        outcome = chaos_cluster.chaos(seed, kills=20, server_kills=2, migrations=1, cuts=1)
        print(outcome)  # noqa: T201
    assert outcome.broken == []
    figures = outcome.verdict.figures
    assert (outcome.kills, outcome.migrations, len(outcome.failovers)) == (20, 1, 3)
    assert figures["acknowledged and lost by a failover"] > 0
    assert figures["acknowledged publishes"] > 1_000
    assert figures["keys checked for order, without a redelivery"] > 50


STREAM = "{orders:0}"


def found() -> Found:
    """Two keys with three messages each, which a member has handled."""
    acked = [
        Acked(
            f"web {number} k{number % 2}", f"k{number % 2}", STREAM, f"{number + 1}-0", 0, True
        )
        for number in range(6)
    ]
    effects = [
        Effect(STREAM, each.content, each.key, each.entry_id, 1, "0-0", number, 0, "0 6 a")
        for number, each in enumerate(acked)
    ]
    entries = {STREAM: [(each.entry_id, each.content) for each in acked]}
    return Found(acked, entries, {STREAM: effects}, [*effects])


def with_effect(found: Found, at: int, **change: object) -> None:
    found.effects[STREAM][at] = found.effects[STREAM][at]._replace(**change)


def lose(found: Found, *, entry: bool, told: bool) -> None:
    """Lose the last effect, with its entry or without; and let a failover explain it or not."""
    effect = found.effects[STREAM].pop()
    failover = Failover("killed", "node-1", bytes=9)
    found.failovers.append(failover)
    if told:
        failover.effects.append(effect)
    if entry:
        entry_id, _ = found.entries[STREAM].pop()
        if told:
            failover.entries.add((STREAM, entry_id))


def lose_and_apply_again(found: Found) -> None:
    lose(found, entry=False, told=True)
    again = found.applied[-1]._replace(deliveries=2, number=6)
    found.effects[STREAM].append(again)
    found.applied.append(again)


def lose_without_wait(found: Found) -> None:
    found.acked[-1] = found.acked[-1]._replace(waited=False)
    lose(found, entry=True, told=True)


def redeliver_out_of_order(found: Found) -> None:
    for at in range(6):
        with_effect(found, at, deliveries=2, owner="-")
    found.effects[STREAM].reverse()


def give_up(found: Found, processes: int, reason: str) -> None:
    """Dead-letter the last entry instead of its effect.

    Five processes had it, and so many of them were killed.
    """
    effect = found.effects[STREAM].pop()
    place = STREAM, effect.entry_id
    found.delivered[place].update(lives := [f"0-{number}" for number in range(1, 6)])
    found.killed.update(lives[:processes])
    found.dead_letters.append(Dead(*place, reason, "delivered 5 times, and never finished"))


@pytest.mark.parametrize(
    "harmless",
    [
        lambda found: None,
        lose_without_wait,
        lose_and_apply_again,
        lambda found: with_effect(found, 5, life="0-1", owner="0 6 b"),
        redeliver_out_of_order,
        lambda found: give_up(found, 5, "unfinished"),
    ],
    ids=["all is well", "failover", "lost effect", "other owner", "redelivered", "given up"],
)
def test_the_judge_accepts_what_was_not_promised(harmless: Callable[[Found], object]) -> None:
    evidence = found()
    harmless(evidence)
    evidence.applied = [each for each in evidence.applied if each in _all_effects(evidence)]
    assert judge(evidence).broken == []


def _all_effects(found: Found) -> list[Effect]:
    lost = [each for failover in found.failovers for each in failover.effects]
    return [*found.effects[STREAM], *lost]


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda found: found.effects[STREAM].pop(), "without an effect"),
        (lambda found: lose(found, entry=False, told=False), "effects gone"),
        (lambda found: lose(found, entry=False, told=True), "without an effect"),
        (lambda found: lose(found, entry=True, told=False), "publishes lost that no failover"),
        (lambda found: lose(found, entry=True, told=True), "that a replica had confirmed"),
        (lambda found: found.entries[STREAM].append(("9-0", "web 5 k1")), "written twice"),
        (
            lambda found: found.failovers.append(
                Failover("killed", "node-1", entries={(STREAM, "1-0")})
            ),
            "has lost, and that are there",
        ),
        (
            lambda found: found.failovers.append(
                Failover("killed", "node-1", entries={(STREAM, "9-0")}, bytes=0)
            ),
            "had the whole history",
        ),
        (
            lambda found: found.effects[STREAM].append(found.effects[STREAM][0]),
            "applied twice",
        ),
        (lambda found: with_effect(found, 0, entry_id="9-0"), "entries that never were"),
        (lambda found: found.effects[STREAM].reverse(), "out of order without"),
        (lambda found: found.entries[STREAM].reverse(), "order of publishing"),
        (lambda found: with_effect(found, 3, life="0-1", owner="0 6 b"), "former one goes on"),
        (lambda found: with_effect(found, 5, owner="0 6 b"), "owner was another one"),
        (lambda found: with_effect(found, 5, life="0-1"), "owner was another one"),
        (lambda found: setattr(found, "pending", 1), "1 pending"),
        (lambda found: setattr(found, "lag", 1), "1 lag"),
        (lambda found: give_up(found, 4, "unfinished"), "1 dead letters that no kills explain"),
        (lambda found: give_up(found, 5, "failed"), "1 dead letters that no kills explain"),
        (
            lambda found: found.dead_letters.append(Dead(STREAM, "9-0", "trimmed", "of none")),
            "such as ('{orders:0}', '9-0', 'trimmed', 'of none', 'delivered to {}')",
        ),
        (lambda found: found.failed.append("of 1-0"), "1 handlers that failed"),
    ],
)
def test_the_judge_names_each_promise_that_is_broken(
    breaks: Callable[[Found], object], says: str
) -> None:
    evidence = found()
    breaks(evidence)
    assert any(says in each for each in judge(evidence).broken), judge(evidence).broken
