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
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

from redis import Redis

from redisflow_lab import RedisStreamConsumer, RedisStreamProducer
from tools.bench.side import BATCH, Job


class Growth(NamedTuple):
    """peak_mb: the most memory the process had since its start, MiB."""

    what: str
    count: int
    seconds: float
    peak_mb: float


def ours(job: Job, *, min_idle_ms: int = 60_000) -> RedisStreamConsumer:
    consumer = RedisStreamConsumer(
        job.connect(), job.stream, job.group, "ours",
        batch=BATCH, ack_every=BATCH, block_ms=1, min_idle_ms=min_idle_ms,
    )  # fmt: skip
    consumer.ensure_group()
    return consumer


def publish(job: Job) -> None:
    producer = RedisStreamProducer(job.connect(), job.stream)
    for _ in range(job.count // 10_000):  # publish_many keeps the ids of what it wrote
        producer.publish_many(repeat(job.message, 10_000), batch_size=BATCH)


def leave_pending(job: Job, name: str) -> None:
    """Deliver all entries to the consumer `name`, and acknowledge none."""
    publish(job)
    redis = job.connect()
    redis.xgroup_create(job.stream, job.group, id="0")
    while redis.xreadgroup(job.group, name, {job.stream: ">"}, count=BATCH):
        pass


def move(job: Job) -> float:
    """Publish and consume. Returns seconds, as all of these do."""
    began = time.perf_counter()
    publish(job)
    consumer = ours(job)
    while consumer.read_new(lambda _: None):
        pass
    return time.perf_counter() - began


def replay(job: Job) -> float:
    """Handle what an earlier process of this name left pending."""
    leave_pending(job, "ours")
    consumer = ours(job)
    began = time.perf_counter()
    consumer.replay_pending(lambda _: None)
    return time.perf_counter() - began


def take_over(job: Job) -> float:
    """Claim and handle what another consumer left pending."""
    leave_pending(job, "dead")
    consumer = ours(job, min_idle_ms=100)
    began = time.perf_counter()
    handled = 0
    while handled < job.count:
        handled += consumer.take_over(lambda _: None)
    return time.perf_counter() - began


WORKS: dict[str, tuple[Callable[[Job], float], tuple[int, int]]] = {
    "publish-and-consume": (move, (10_000, 1_000_000)),
    "replay": (replay, (10_000, 100_000)),
    "take-over": (take_over, (10_000, 100_000)),
}


def measure(redis: Redis, url: str) -> list[Growth]:
    growths = []
    for what, (_, counts) in WORKS.items():
        for count in counts:
            print(f"{what}: {count:,} messages ...", flush=True)
            redis.flushdb()
            printed = subprocess.check_output(
                [sys.executable, "-m", "tools.bench.scale", what, str(count)],
                env={**os.environ, "BENCH_URL": url},
                text=True,
            )
            if any(group["pending"] for group in redis.xinfo_groups(Job.stream)):
                raise RuntimeError(f"{what} of {count} messages left some of them pending")
            seconds, peak_mb = map(float, printed.split())
            growths.append(Growth(what, count, seconds, peak_mb))
    return growths


def show(growths: list[Growth]) -> None:
    print(f"\n{'redisflow by batch, 100 B':<34}{'messages':>12}{'µs each':>10}{'peak MB':>10}")
    for what, count, seconds, peak_mb in growths:
        aim = "   (aim: at most 20 µs)" if (what, count) == ("replay", 100_000) else ""
        each_us = seconds / count * 1e6
        print(f"{what:<34}{count:>12,}{each_us:>10.1f}{peak_mb:>10.1f}{aim}")


def peak_mb() -> float:
    if sys.platform == "linux":
        # Not getrusage: there Linux counts what the parent had when it started this process.
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


if __name__ == "__main__":
    work, _ = WORKS[sys.argv[1]]
    print(work(Job(os.environ["BENCH_URL"], count=int(sys.argv[2]), size=100)), peak_mb())
