"""How time and memory grow with the number of messages, each in a process of its own.

    python -m tools.bench.scale replay 10000

does one of them and prints seconds and peak memory. The address of the server comes in
the environment variable BENCH_URL, where other users of the machine do not see its password.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from redis import Redis

from redisflow_lab import Message, RedisStreamConsumer, RedisStreamProducer
from tools.bench.side import BATCH, Place

MESSAGE = Message("Producer1", "x" * 100)


@dataclass(frozen=True)
class Growth:
    """seconds: of the work; peak_mb: most memory the process had, from its start on."""

    count: int
    seconds: float
    peak_mb: float

    @property
    def each_us(self) -> float:
        """Time for one message, microseconds."""
        return self.seconds / self.count * 1e6


def ours(place: Place, *, min_idle_ms: int = 60_000) -> RedisStreamConsumer:
    consumer = RedisStreamConsumer(
        place.connect(), place.stream, place.group, "ours",
        batch=BATCH, ack_every=BATCH, block_ms=1, min_idle_ms=min_idle_ms,
    )  # fmt: skip
    consumer.ensure_group()
    return consumer


def publish(place: Place, count: int) -> None:
    producer = RedisStreamProducer(place.connect(), place.stream)
    for _ in range(count // 10_000):  # publish_many keeps the ids of what it wrote
        producer.publish_many(repeat(MESSAGE, 10_000), batch_size=BATCH)


def leave_pending(place: Place, count: int, name: str) -> None:
    """`count` entries that were delivered to `name` and never acknowledged."""
    publish(place, count)
    redis = place.connect()
    redis.xgroup_create(place.stream, place.group, id="0")
    while redis.xreadgroup(place.group, name, {place.stream: ">"}, count=BATCH):
        pass


def move(place: Place, count: int) -> float:
    """Publish and consume. Returns seconds, as all of these do."""
    began = time.perf_counter()
    publish(place, count)
    consumer = ours(place)
    while consumer.read_new(lambda delivery: None):
        pass
    return time.perf_counter() - began


def replay(place: Place, count: int) -> float:
    """Handle what an earlier life left pending."""
    leave_pending(place, count, "ours")
    consumer = ours(place)
    began = time.perf_counter()
    consumer.replay_pending(lambda delivery: None)
    return time.perf_counter() - began


def take_over(place: Place, count: int) -> float:
    """Handle what another name left pending, long enough ago."""
    leave_pending(place, count, "dead")
    consumer = ours(place, min_idle_ms=100)
    began = time.perf_counter()
    handled = 0
    while handled < count:
        handled += consumer.take_over(lambda delivery: None)
    return time.perf_counter() - began


WORKS: dict[str, Callable[[Place, int], float]] = {
    "move": move,
    "replay": replay,
    "take_over": take_over,
}


def measured(redis: Redis, place: Place, work: str, count: int) -> Growth:
    """What a process of its own needs for this work. `redis` is emptied before."""
    print(f"{work}: {count:,} messages ...", flush=True)
    redis.flushdb()
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench.scale", work, str(count)],
        env={**os.environ, "BENCH_URL": place.url},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    if redis.xpending(place.stream, place.group)["pending"]:
        raise RuntimeError(f"{work} of {count} messages left some of them pending")
    seconds, peak_mb = map(float, done.stdout.split())
    return Growth(count, seconds, peak_mb)


def main(work: str, count: int) -> None:
    seconds = WORKS[work](Place(os.environ["BENCH_URL"]), count)
    print(seconds, peak_mb())


def peak_mb() -> float:
    """Most memory this process had, MiB."""
    if sys.platform == "linux":
        # Not getrusage: there Linux counts what the parent had when it started this process.
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
