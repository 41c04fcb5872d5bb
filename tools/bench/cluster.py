"""What the client of a cluster costs, and what partitions cost, as ratios from one run.

    python -m tools.bench.cluster

A cluster of the lab's own runs on this one machine. So nothing here says how fast several
machines are.
"""

import gc
import time
from collections.abc import Callable
from contextlib import closing
from itertools import repeat
from statistics import median
from threading import Event, Lock

from redis import Redis, RedisCluster

from redisflow_lab import Delivery, Message, RedisStreamConsumer, RedisStreamProducer
from redisflow_lab.lab import Lab
from redisflow_lab.partitions import PartitionedConsumer, PartitionedProducer
from tools.bench.side import BATCH

ROUNDS = 7
COUNT = 30_000
PARTITIONS = (1, 4, 16, 64)
STREAM = "{orders}"
MESSAGE = Message("Producer1", "x" * 100)


def cluster_to_node() -> dict[str, float]:
    """Rates of a client of the cluster, as ratios to one of the node that has the stream."""
    with closing(Lab("own", cluster=3, appendonly=False)) as lab:
        node = lab.nodes[lab.slot_owner(STREAM)].connect()
        clients: dict[str, Redis | RedisCluster] = {"cluster": lab.redis, "node": node}
        rates: dict[tuple[str, str], list[float]] = {}
        for number in range(ROUNDS + 1):
            for name in sorted(clients, reverse=bool(number % 2)):
                node.flushdb()
                for what, work in (("publish", _publish), ("consume", _consume)):
                    seconds = _timed(lambda work=work, name=name: work(clients[name]))
                    if number:  # the first round warms up
                        rates.setdefault((what, name), []).append(COUNT / seconds)
    return {
        what: median(
            ours / base
            for ours, base in zip(rates[what, "cluster"], rates[what, "node"], strict=True)
        )
        for what in ("publish", "consume")
    }


def partitions_to_one() -> dict[int, tuple[float, float]]:
    """Rates of publishing to so many partitions of one server, and of consuming them.

    As ratios to one partition.
    """
    rates: dict[tuple[str, int], list[float]] = {}
    with closing(Lab("own", appendonly=False)) as lab:
        for number in range(ROUNDS + 1):
            for count in sorted(PARTITIONS, reverse=bool(number % 2)):
                lab.redis.flushdb()
                for what, work in (
                    ("publish", _publish_partitions), ("consume", _consume_partitions)
                ):  # fmt: skip
                    seconds = _timed(lambda work=work, count=count: work(lab.redis, count))
                    if number:
                        rates.setdefault((what, count), []).append(COUNT / seconds)
    return {
        count: tuple(  # type: ignore[misc]
            median(
                rate / base
                for rate, base in zip(rates[what, count], rates[what, 1], strict=True)
            )
            for what in ("publish", "consume")
        )
        for count in PARTITIONS
    }


def show(to_node: dict[str, float], to_one: dict[int, tuple[float, float]]) -> None:
    print("\na client of a cluster, to one of the node that has the stream")
    for what, ratio in to_node.items():
        print(f"{what}: {ratio:.2f}   (aim: at least 0.9)")
    print("\nso many partitions on one server, to one partition")
    for count, (publish, consume) in to_one.items():
        print(f"{count:>3}: publish {publish:.2f}, consume {consume:.2f}")


def _timed(work: Callable[[], None]) -> float:
    gc.collect()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _publish(redis: Redis | RedisCluster) -> None:
    producer = RedisStreamProducer(redis, STREAM)
    producer.publish_many(repeat(MESSAGE, COUNT), batch_size=BATCH)


def _consume(redis: Redis | RedisCluster) -> None:
    stop = Event()
    RedisStreamConsumer(
        redis, STREAM, "billing", "ours", batch=BATCH, ack_every=BATCH
    ).run(_until_all(stop), stop=stop)  # fmt: skip


def _publish_partitions(redis: Redis, partitions: int) -> None:
    producer = PartitionedProducer(redis, "orders", partitions=partitions)
    producer.publish_many(
        ((f"customer-{number}", MESSAGE) for number in range(COUNT)), batch_size=BATCH
    )


def _consume_partitions(redis: Redis, partitions: int) -> None:
    stop = Event()
    PartitionedConsumer(
        redis, "orders", "billing",
        partitions=partitions, member=0, of=1, batch=BATCH, ack_every=BATCH, block_ms=100,
    ).run(_until_all(stop), stop=stop)  # fmt: skip


def _until_all(stop: Event) -> Callable[[Delivery], None]:
    """A handler, for several threads, that sets `stop` after the last message."""
    handled, lock = 0, Lock()

    def handle(_: Delivery) -> None:
        nonlocal handled
        with lock:
            handled += 1
            if handled == COUNT:
                stop.set()

    return handle


if __name__ == "__main__":
    show(cluster_to_node(), partitions_to_one())
