"""The short form of the chaos test; `make chaos` is the long one."""

import os
import secrets

import pytest
from chaos import Plan, chaos

pytestmark = pytest.mark.by_server


def test_the_same_seed_gives_the_same_plan() -> None:
    first, second, other = (
        Plan.of(seed, messages=1_000, kills=10, server_kills=2) for seed in (7, 7, 8)
    )
    assert first == second
    assert first != other


def test_no_message_is_lost_or_doubled_when_processes_and_the_server_are_killed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    with capsys.disabled():
        print(f" chaos, CHAOS_SEED={seed}: ", end="", flush=True)  # noqa: T201
        outcome = chaos(seed, messages=12_000, kills=20, server_kills=3)
        print(outcome)  # noqa: T201
    assert outcome.broken == []
    assert outcome.published >= 12_000
    assert outcome.killers >= 3
    assert (outcome.kills, outcome.server_kills) == (20, 3)
    assert outcome.dead_letters > outcome.killers
