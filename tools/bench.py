"""How fast the helper is beside plain redis-py, as ratios from one run on one server.

    python tools/bench.py

Publishing: `publish_many` against a pipeline of the same bytes in the same batches.
Consuming: decode, handle nothing and acknowledge by batch, against a loop that reads and
acknowledges by batch and does not decode. The two sides take turns, and medians are
compared, so that a busy machine disturbs both alike.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from statistics import median

from redis import Redis

from redisflow_lab import Message, RedisStreamConsumer, RedisStreamProducer
from redisflow_lab.lab import Lab

MESSAGES = 100_000
BATCH = 500
ROUNDS = 7
MESSAGE = Message("Producer1", "x" * 60, datetime(2025, 11, 3, 22, 0, tzinfo=UTC))


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def publish_plain(redis: Redis, stream: str) -> None:
    data = MESSAGE.to_bytes()
    for _ in range(MESSAGES // BATCH):
        pipeline = redis.pipeline(transaction=False)
        for _ in range(BATCH):
            pipeline.xadd(stream, {"data": data})
        pipeline.execute()


def publish_ours(redis: Redis, stream: str) -> None:
    messages = (MESSAGE for _ in range(MESSAGES))
    RedisStreamProducer(redis, stream).publish_many(messages, batch_size=BATCH)


def consume_plain(redis: Redis, stream: str, group: str) -> None:
    redis.xgroup_create(stream, group, id="0")
    while reply := redis.xreadgroup(group, "plain", {stream: ">"}, count=BATCH):
        redis.xack(stream, group, *[entry_id for entry_id, _ in reply[0][1]])


def consume_ours(redis: Redis, stream: str, group: str) -> None:
    consumer = RedisStreamConsumer(
        redis, stream, group, "ours", batch=BATCH, ack_every=BATCH, block_ms=1
    )
    consumer.ensure_group()
    while consumer.read_new(lambda delivery: None):
        pass


def compare(
    what: str, plain: Callable[[int], None], ours: Callable[[int], None], aim: float
) -> None:
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for number in range(ROUNDS):
        times["plain"].append(seconds(lambda number=number: plain(number)))
        times["ours"].append(seconds(lambda number=number: ours(number)))
    rates = {name: MESSAGES / median(taken) for name, taken in times.items()}
    print(
        f"{what:<10}{rates['plain']:>12,.0f}{rates['ours']:>12,.0f}"
        f"{rates['ours'] / rates['plain']:>8.2f}{aim:>8.2f}"
    )


def generated(count: int) -> Iterator[Message]:
    return (Message("Producer1", "x" * 60) for _ in range(count))


def peak_mb(count: int) -> float:
    """Peak memory of a process that publishes and consumes `count` messages in batches."""
    done = subprocess.run(
        [sys.executable, __file__, str(count)], check=True, capture_output=True, text=True
    )
    return float(done.stdout.splitlines()[-1])


def measure_memory(count: int) -> None:
    lab = Lab(appendonly=False)
    producer = RedisStreamProducer(lab.redis, "orders")
    for _ in range(count // 10_000):
        producer.publish_many(generated(10_000), batch_size=BATCH)
    consume_ours(lab.redis, "orders", "billing")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak / (1024 if sys.platform == "linux" else 1024 * 1024))
    lab.close()


def main() -> None:
    lab = Lab(appendonly=False)
    redis = lab.redis

    def fresh(work: Callable[[Redis, str], None]) -> Callable[[int], None]:
        def publish(_: int) -> None:
            redis.delete("published")
            work(redis, "published")

        return publish

    print(f"{MESSAGES:,} messages of {len(MESSAGE.to_bytes())} bytes, batches of {BATCH}\n")
    print(f"{'messages/s':<10}{'redis-py':>12}{'redisflow':>12}{'ratio':>8}{'aim':>8}")
    compare("publish", fresh(publish_plain), fresh(publish_ours), 0.95)
    compare(
        "consume",
        lambda number: consume_plain(redis, "published", f"plain-{number}"),
        lambda number: consume_ours(redis, "published", f"ours-{number}"),
        0.85,
    )
    lab.close()
    few, many = peak_mb(10_000), peak_mb(1_000_000)
    print(f"\npeak memory: {few:.0f} MB for 10 thousand messages, {many:.0f} MB for a million")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure_memory(int(sys.argv[1]))
    else:
        main()
