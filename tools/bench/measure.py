"""Runs sides in turns, and checks what each of them left on the server."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from redis import Redis

from tools.bench import side_limit
from tools.bench.side import Job, Side

ROUNDS = 5


@dataclass(frozen=True)
class Rates:
    """Messages a second of every side: one number a round."""

    by_side: dict[Side, list[float]]

    def of(self, side: Side) -> float:
        return median(self.by_side[side])

    def ratio(self, side: Side, base: Side) -> float:
        """The median of what each round says: a round disturbs both sides alike."""
        pairs = zip(self.by_side[side], self.by_side[base], strict=True)
        return median(rate / base_rate for rate, base_rate in pairs)


def measure_publish(redis: Redis, job: Job, sides: Sequence[Side]) -> Rates:
    def rate(side: Side, job: Job) -> float:
        redis.flushdb()
        seconds = timed(side, job)
        check(redis.xlen(job.stream) == job.count, side, "did not write every message")
        return job.count / seconds

    return in_turns(f"publish {job.size:,} B", sides, job, rate)


def measure_consume(redis: Redis, job: Job, sides: Sequence[Side]) -> Rates:
    def rate(side: Side, job: Job) -> float:
        redis.flushdb()
        side_limit.publish(job)
        seconds = timed(side, job)
        (group,) = redis.xinfo_groups(job.stream)
        check(group["entries-read"] == job.count, side, "did not read every message")
        check(group["pending"] == 0, side, "left messages pending")
        return job.count / seconds

    return in_turns(f"consume {job.size:,} B", sides, job, rate)


def in_turns(
    what: str, sides: Sequence[Side], job: Job, rate: Callable[[Side, Job], float]
) -> Rates:
    """Measure every side once a round; every second round goes backwards.

    So a machine that slows down in the middle disturbs all sides alike.
    """
    print(f"{what}: warming up ...", flush=True)
    for side in sides:
        rate(side, replace(job, count=1_000))
    rates: dict[Side, list[float]] = {side: [] for side in sides}
    for number in range(ROUNDS):
        print(f"{what}: round {number + 1} of {ROUNDS} ...", flush=True)
        for side in sides if number % 2 == 0 else reversed(sides):
            rates[side].append(rate(side, replace(job, count=side.count)))
    return Rates(rates)


def timed(side: Side, job: Job) -> float:
    gc.collect()  # so that no side pays for the garbage of another
    began = time.perf_counter()
    side.run(job)
    return time.perf_counter() - began


def check(good: bool, side: Side, problem: str) -> None:
    if not good:
        raise RuntimeError(f"{side.library}, {side.mode}: it {problem}; its rate says nothing")
