"""How long a message waits from the SIGKILL of its consumer until somebody else handled it."""

from contextlib import closing
from statistics import median

from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.lab import Lab

DEATHS = 20
MIN_IDLE_MS = 400
LIMIT_MS = MIN_IDLE_MS * (1 + 1.25 / 4) + 250
"""The idle time, one look (a quarter of it, jittered by a quarter) and 250 ms."""


def waits_ms() -> list[float]:
    """One number a death, from the last thing the dead reported to the acknowledgement."""
    with closing(Lab(appendonly=False)) as lab:
        producer = RedisStreamProducer(lab.redis, "orders")
        heir = lab.worker("heir", lambda _: None, min_idle_ms=MIN_IDLE_MS)
        waits = []
        for number in range(DEATHS):
            print(f"death {number + 1} of {DEATHS} ...", flush=True)
            victim = lab.worker(f"victim-{number}", lambda _: None, crash="after-delivery")
            while not victim.ended:
                before = heir.count("acked")
                producer.publish(Message("web", "x"))
                lab.wait_until(
                    lambda before=before, victim=victim: (
                        heir.count("acked") > before or victim.ended
                    ),
                    "one of the two gets it",
                )
            victim.wait_end()
            dead = victim.events.iloc[-1]
            lab.wait_until(
                lambda dead=dead: (
                    not lab.redis.xpending_range(
                        "orders", "billing", dead["entry_id"], dead["entry_id"], 1
                    )
                ),
                "the heir handles it",
            )
            acked = heir.events.query("kind == 'acked'").set_index("entry_id")
            waits.append((acked.loc[dead["entry_id"], "at"] - dead["at"]) * 1_000)
        heir.stop()
        return waits


def show(waits: list[float]) -> None:
    print(
        f"\nfrom SIGKILL to acknowledged by another, min_idle_ms={MIN_IDLE_MS}, "
        f"{len(waits)} deaths: median {median(waits):.0f} ms, most {max(waits):.0f} ms "
        f"(aim for the median: {LIMIT_MS:.0f} ms)"
    )
