"""How fast the helper is, beside a bare socket, plain redis-py, coredis and walrus.

    python -m tools.bench

Every side publishes or consumes the same messages on the same server, handles nothing,
and acknowledges after handling. The sides take turns, so compare the ratios of one run;
rates of two runs or of two machines say little.
"""

import gc
import os
from contextlib import closing
from importlib.metadata import version

from redisflow_lab.lab import Lab
from tools.bench import lab as laboratory
from tools.bench import (
    scale,
    side_coredis,
    side_limit,
    side_redis_py,
    side_redisflow,
    side_walrus,
)
from tools.bench.measure import Rates, measure_consume, measure_publish
from tools.bench.side import Job, Side

SIZES = (100, 1_000)
"""Bytes of content."""

# Ours right beside what it is compared with: what disturbs the one disturbs the other.
PUBLISHERS = [
    side_redis_py.SINGLE_PUBLISHER,
    side_redisflow.SINGLE_PUBLISHER,
    side_coredis.PUBLISHER,
    side_redis_py.PUBLISHER,
    side_redisflow.PLAIN_PUBLISHER,
    side_redisflow.PUBLISHER,
    side_limit.PUBLISHER,
]
CONSUMERS = [
    side_redis_py.SINGLE_CONSUMER,
    side_redisflow.SINGLE_CONSUMER,
    side_coredis.CONSUMER,
    side_walrus.CONSUMER,
    side_redis_py.CONSUMER,
    side_redis_py.NOT_DECODING,
    side_redisflow.WITHOUT_PREFETCH,
    side_redisflow.WITH_EVENTS,
    side_redisflow.WITH_METRICS,
    side_redisflow.CONSUMER,
    side_limit.CONSUMER,
]

BySize = dict[int, Rates]


def show(what: str, sides: list[Side], by_size: BySize, redis_py: Side, limit: Side) -> None:
    title = f"{what}, messages a second"
    heads = [f"{size:>7,} B   to redis-py  to limit" for size in by_size]
    print(f"\n{title:<66}" + "".join(heads))
    for side in sides:
        cells = [
            f"{rates.of(side):>9,.0f}{rates.ratio(side, redis_py):>13.2f}"
            f"{rates.ratio(side, limit):>10.2f}"
            for rates in by_size.values()
        ]
        print(f"{side.library:<32}{side.mode:<34}" + "".join(cells))


def show_ratio(
    what: str, by_size: BySize, side: Side, base: Side, aim: float | None = None
) -> None:
    """One line that a reader can check a claim by."""
    ratios = [f"{rates.ratio(side, base):.2f} ({size:,} B)" for size, rates in by_size.items()]
    wanted = "" if aim is None else f"   (aim: at least {aim})"
    print(f"{what}: {'  '.join(ratios)}{wanted}")


def main() -> None:
    # A server of our own, whatever REDISFLOW_URL names: it is emptied again and again.
    os.environ.setdefault("REDISFLOW_SERVER", "bundled")
    gc.freeze()  # what the libraries loaded is no work for the collector while we measure
    for name in ("redis", "hiredis", "coredis", "walrus"):
        print(f"{name:<10}{version(name)}")
    publish: BySize = {}
    consume: BySize = {}
    with closing(Lab(appendonly=False)) as lab:
        at = lab.redis.connection_pool.connection_kwargs
        url = f"redis://:{at['password']}@{at['host']}:{at['port']}"
        for size in SIZES:
            job = Job(url, count=0, size=size)
            publish[size] = measure_publish(lab.redis, job, PUBLISHERS)
            consume[size] = measure_consume(lab.redis, job, CONSUMERS)
        growths = scale.measure(lab.redis, url)
        start_ms = laboratory.worker_start_ms(lab)

    redis_py, ours, limit = side_redis_py, side_redisflow, side_limit
    show("publish", PUBLISHERS, publish, redis_py.PUBLISHER, limit.PUBLISHER)
    show("consume", CONSUMERS, consume, redis_py.CONSUMER, limit.CONSUMER)
    print("\nredisflow by batch")
    show_ratio("publish, to the limit", publish, ours.PUBLISHER, limit.PUBLISHER, 0.9)
    show_ratio("publish, to redis-py", publish, ours.PUBLISHER, redis_py.PUBLISHER, 2.5)
    show_ratio("consume, to redis-py", consume, ours.CONSUMER, redis_py.CONSUMER, 0.9)
    show_ratio(
        "consume, to redis-py not decoding", consume, ours.CONSUMER, redis_py.NOT_DECODING, 0.85
    )
    show_ratio(
        "prefetch: run against a loop of read_new",
        consume, ours.CONSUMER, ours.WITHOUT_PREFETCH,
    )  # fmt: skip
    show_ratio("ClientMetrics against none", consume, ours.WITH_METRICS, ours.CONSUMER, 0.95)
    show_ratio("on_event against none", consume, ours.WITH_EVENTS, ours.CONSUMER)
    show_ratio(
        "packing and parsing: publish_many against pack_command and read_response",
        publish, ours.PUBLISHER, ours.PLAIN_PUBLISHER,
    )  # fmt: skip
    scale.show(growths)
    laboratory.show(start_ms, laboratory.chapters_to_empty_notebooks())


if __name__ == "__main__":
    main()
