"""How fast the helper is beside plain redis-py and the libraries one would take instead.

    python -m tools.bench [picture.png]

Every side publishes or consumes the same messages on the same server, handles nothing,
and acknowledges after handling. The sides take turns, so compare the ratios of one run;
rates of two runs or of two machines say little. Each side is checked after every run:
all messages handled, none pending.
"""

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from redisflow_lab.lab import Lab
from tools.bench import scale, side_redis_py, side_redisflow, succession
from tools.bench.measure import Table, take_turns
from tools.bench.plot import draw
from tools.bench.side import Consumer, Payload, Place, Publisher, Side

SIZES = [100, 1_000]
"""Bytes of content."""

ROUNDS = 5

LIBRARIES = {  # our module: the distribution
    "coredis": "coredis",
    "walrus": "walrus",
    "faststream": "faststream",
    "taskiq": "taskiq-redis",
    "streaq": "streaq",
}


def load() -> tuple[list[Side], dict[str, str]]:
    """All sides, and for each library that cannot be imported the reason."""
    # Ours right beside redis-py's: what disturbs the one disturbs the other.
    sides = [*side_redis_py.SIDES, *side_redisflow.SIDES]
    missing = {}
    for name, distribution in LIBRARIES.items():
        try:
            sides += import_module(f"tools.bench.side_{name}").SIDES
        except ImportError as error:
            missing[distribution] = f"not measured: {error}"
    return sides, missing


def show(table: Table, missing: Mapping[str, str]) -> None:
    """A row for each side: its rate, and its ratio to the base; then what is missing."""
    title = f"{table.what}, messages a second"
    print(f"\n{title:<74}" + "".join(f"{size:>9,} B   ratio" for size in table.by_size))
    for row in zip(*table.by_size.values(), strict=True):
        cells = ""
        for size, result in zip(table.by_size, row, strict=True):
            if result.failed:
                cells += f"  not measured: {result.failed}"
            else:
                cells += f"{result.rate:>11,.0f}{table.ratio(result, size):>8.3f}"
        print(f"{row[0].side.name:<34}{row[0].side.mode:<40}{cells}")
    for name, reason in missing.items():
        print(f"{name:<34}{reason}")


def show_aims(publish: Table, consume: Table) -> None:
    aims: list[tuple[Table, Side, Side, float]] = [
        (publish, side_redisflow.BATCHED_PUBLISHER, side_redis_py.PIPELINED, 0.95),
        (consume, side_redisflow.BATCHED_CONSUMER, side_redis_py.NOT_DECODING, 0.85),
        (consume, side_redisflow.BATCHED_CONSUMER, side_redis_py.DECODING, 0.90),
    ]
    print(
        f"\n{'redisflow by batch':<56}{'aim':>6}" + "".join(f"{size:>9,} B" for size in SIZES)
    )
    for table, ours, base, aim in aims:
        what = f"{table.what}, to {base.name} {base.mode}"
        ratios = [table.result(ours, size).ratio(table.result(base, size)) for size in SIZES]
        print(f"{what:<56}{aim:>6.2f}" + "".join(f"{ratio:>11.2f}" for ratio in ratios))


def show_growth(growths: Mapping[str, Sequence[scale.Growth]]) -> None:
    print(f"\n{'redisflow by batch, 100 B':<34}{'messages':>12}{'µs each':>10}{'peak MB':>10}")
    for title, rows in growths.items():
        for row in rows:
            print(f"{title:<34}{row.count:>12,}{row.each_us:>10.1f}{row.peak_mb:>10.1f}")


def main(picture: Path) -> None:
    # A server of our own, whatever REDISFLOW_URL names: it is emptied again and again.
    os.environ.setdefault("REDISFLOW_SERVER", "bundled")
    sides, missing = load()
    gc.freeze()  # what the libraries loaded is no work for the collector while we measure
    with closing(Lab(appendonly=False)) as lab:
        at = lab.redis.connection_pool.connection_kwargs
        place = Place(f"redis://:{at['password']}@{at['host']}:{at['port']}")
        for name in ["redis", "hiredis", *LIBRARIES.values()]:
            print(f"{name:<14}{missing.get(name) or version(name)}")
        publish = Table("publish", side_redis_py.PIPELINED)
        consume = Table("consume", side_redis_py.NOT_DECODING)
        for size in SIZES:
            results = take_turns(
                lab.redis, place, sides, Payload(size), rounds=ROUNDS, what=f"{size:,} B"
            )
            publish.by_size[size] = [r for r in results if isinstance(r.side, Publisher)]
            consume.by_size[size] = [r for r in results if isinstance(r.side, Consumer)]
        growths = {
            title: [scale.measured(lab.redis, place, work, count) for count in counts]
            for title, work, counts in [
                ("publish and consume", "move", (10_000, 1_000_000)),
                ("replay of pending entries", "replay", (10_000, 100_000)),
                ("take-over of pending entries", "take_over", (10_000, 100_000)),
            ]
        }
        waits = succession.waits_ms()
        show(publish, missing)
        show(consume, missing)
        show_aims(publish, consume)
        show_growth(growths)
        succession.show(waits)
        subtitle = (
            f"{lab.server.label}, Python {sys.version.split()[0]}, medians of {ROUNDS} rounds; "
            "consumers decode unless they say not"
        )
        draw([publish, consume], picture, subtitle)
    print(f"\nThe picture: {picture}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/bench.png"))
