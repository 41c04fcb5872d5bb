"""Runs sides in turns, checks what each of them left on the server, and keeps the rates."""

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from redis import Redis

from tools.bench.side import Consumer, Payload, Place, Publisher, Side

WARM_UP = 500
"""Messages each side moves before it is measured: imports, caches, generated code."""


@dataclass
class Result:
    """What one side did with one payload.

    rates:  messages a second, one number a round
    failed: why it was not measured to the end; empty if it was
    """

    side: Side
    rates: list[float] = field(default_factory=list)
    failed: str = ""

    @property
    def rate(self) -> float:
        return median(self.rates)

    def ratio(self, base: "Result") -> float:
        """To another side: the median of what each round says, since both took turns in it."""
        return median(
            ours / theirs for ours, theirs in zip(self.rates, base.rates, strict=True)
        )


@dataclass(frozen=True)
class Table:
    """Results side by side.

    what:    "publish" or "consume"
    base:    the side that the ratios are to
    by_size: content size in bytes -> the results of all sides, always in the same order
    """

    what: str
    base: Side
    by_size: dict[int, list[Result]] = field(default_factory=dict)

    def result(self, side: Side, size: int) -> Result:
        """Of a side that must not fail: plain redis-py, or ours."""
        result = next(result for result in self.by_size[size] if result.side is side)
        if result.failed:
            raise RuntimeError(f"{side.name}, {side.mode}: {result.failed}")
        return result

    def ratio(self, result: Result, size: int) -> float:
        """To the base, with the same content size."""
        return result.ratio(self.result(self.base, size))


class LeftoverError(Exception):
    """A side did not leave the server as it should have. The text says what it left."""


def take_turns(
    redis: Redis,
    place: Place,
    sides: Sequence[Side],
    payload: Payload,
    *,
    rounds: int,
    what: str,
) -> list[Result]:
    """Measure every side once a round; a round goes forward, the next one backward.

    So a machine that slows down in the middle disturbs all sides alike. A side that fails
    is not tried again, and says why in its result. `redis` is emptied before every run.
    """
    results = [Result(side) for side in sides]
    print(f"{what}: warming up ...", flush=True)
    for result in results:
        attempt(redis, place, replace(result.side, count=WARM_UP), payload, result)
        result.rates.clear()
    for number in range(rounds):
        print(f"{what}: round {number + 1} of {rounds} ...", flush=True)
        for result in results if number % 2 == 0 else reversed(results):
            if not result.failed:
                attempt(redis, place, result.side, payload, result)
    return results


def attempt(redis: Redis, place: Place, side: Side, payload: Payload, result: Result) -> None:
    redis.flushdb()
    try:
        result.rates.append(side.count / seconds(redis, place, side, payload))
    except Exception as error:  # whatever a library raises is told in its row
        result.failed = f"{type(error).__name__}: {error}"


def seconds(redis: Redis, place: Place, side: Side, payload: Payload) -> float:
    """How long one run takes; what a consumer reads is written before, not measured."""
    publisher = side if isinstance(side, Publisher) else side.source
    began = start_clock()
    publisher.publish(place, payload, side.count)
    taken = time.perf_counter() - began
    check_published(redis, publisher.stream, side.count)
    if isinstance(side, Consumer):
        began = start_clock()
        handled = side.consume(place, side.count)
        taken = time.perf_counter() - began
        check_consumed(redis, side, handled)
    return taken


def start_clock() -> float:
    gc.collect()  # so that no side pays for the garbage of another
    return time.perf_counter()


def check_published(redis: Redis, stream: str, count: int) -> None:
    if (length := redis.xlen(stream)) != count:
        raise LeftoverError(f"{length} entries in the stream, not {count}")


def check_consumed(redis: Redis, side: Consumer, handled: int) -> None:
    if handled != side.count:
        raise LeftoverError(f"{handled} messages handled, not {side.count}")
    groups = {group["name"]: group for group in redis.xinfo_groups(side.source.stream)}
    group = groups[side.group.encode()]
    if group["pending"] or group["entries-read"] != side.count:
        raise LeftoverError(f"{group['pending']} pending after reading {group['entries-read']}")
