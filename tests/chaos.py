"""Kill consumers and the server while messages flow, and check that every promise held.

    python tests/chaos.py --seed 7 --messages 40000 --kills 200 --server-kills 20

The seed decides the plan: who dies, at which instruction, after how many messages, under
which name it comes back, and when the server is killed. What was promised and what became
of it is read from data: the producers' files, and keys and streams of the server.
"""

import argparse
import json
import random
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import redis
from network import address_of
from redis.client import Pipeline

from redisflow_lab import Delivery, Message
from redisflow_lab.dead_letters import DeadLetters
from redisflow_lab.idempotency import handle_once
from redisflow_lab.interfaces import Handler
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until
from redisflow_lab.lab.workers.worker import Worker

CONSUMERS, PRODUCERS = 4, 3
MIN_IDLE_MS, MAX_DELIVERIES = 1_500, 3
HOW = [None, "after-delivery", "before-ack", "after-ack", "after-claim"]
"""None is a SIGKILL from outside, wherever the process happens to be."""


@dataclass(frozen=True)
class Life:
    """Of one consumer process: how it dies, after how many messages, its name and manner."""

    how: str | None
    after: int
    name: str
    ack_every: int = 1


@dataclass(frozen=True)
class Plan:
    """lives: in the order they begin; server_kills: after how many deaths of consumers."""

    lives: list[Life]
    server_kills: list[int]

    @classmethod
    def of(cls, seed: int, messages: int, kills: int, server_kills: int) -> "Plan":
        rng = random.Random(seed)
        most = max(2, messages // max(1, kills))
        lives = [
            Life(
                how := rng.choice(HOW),
                1 if how == "after-claim" else rng.randint(1, most),  # there are few claims
                # The same name comes back and replays; a new one is a case for take-over.
                f"consumer-{number % CONSUMERS}" + (f"-{number}" if rng.random() < 0.3 else ""),
                rng.choice([1, 10]),
            )
            for number in range(kills)
        ]
        return cls(lives, sorted(rng.sample(range(1, kills), server_kills)))


@dataclass
class Outcome:
    """What was promised, and what became of it."""

    published: int = 0
    effects: int = 0
    lost: int = 0
    doubled: int = 0
    dead_letters: int = 0
    handled_after_burial: int = 0
    pending: int = 0
    kills: int = 0
    server_kills: int = 0

    def __str__(self) -> str:
        return ", ".join(
            f"{value} {name.replace('_', ' ')}" for name, value in vars(self).items()
        )


def handler_on(client: redis.Redis) -> Handler:
    """Has one effect for each content, and fails for each poison, after writing that down."""

    def effect(pipeline: Pipeline, delivery: Delivery) -> None:
        pipeline.hincrby("effects", delivery.message.content, 1)

    once = handle_once(effect, client, "done", key=lambda delivery: delivery.message.content)

    def handle(delivery: Delivery) -> None:
        if delivery.message.content.endswith("poison"):
            client.xadd("attempts", {"id": delivery.entry_id})
            raise ValueError("poison")
        once(delivery)

    return handle


def chaos(seed: int, *, messages: int, kills: int, server_kills: int) -> Outcome:
    """Carry out the plan of this seed. Takes as long as it needs to handle everything."""
    plan = Plan.of(seed, messages, kills, server_kills)
    lab = Lab("own")
    try:
        # A SIGKILL must not take back what was confirmed: facts are written before the answer.
        lab.redis.config_set("appendfsync", "always")
        lab.redis.config_rewrite()
        with TemporaryDirectory() as folder:
            producers = start_producers(lab, messages // PRODUCERS, Path(folder))
            try:
                outcome = carry_out(lab, plan)
                finish(lab, producers)
            finally:
                for producer in producers:
                    producer.kill()
                    producer.wait()
            promised = {
                line
                for said in Path(folder).iterdir()
                for line in said.read_text().splitlines()
            }
        return check(lab, promised, outcome)
    finally:
        lab.close()


def start_producers(lab: Lab, least: int, folder: Path) -> list[subprocess.Popen[str]]:
    producers = []
    for number in range(PRODUCERS):
        producer = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("chaos_producer.py"))],
            stdin=subprocess.PIPE,
            text=True,
        )
        assert producer.stdin is not None
        json.dump(
            {
                "address": address_of(lab),
                "name": f"producer-{number}",
                "least": least,
                "keyed": number == 0,
                "said": str(folder / str(number)),
            },
            producer.stdin,
        )
        producer.stdin.close()
        producers.append(producer)
    return producers


def carry_out(lab: Lab, plan: Plan) -> Outcome:
    """Start one life after another and end it as planned; kill the server in between."""
    outcome = Outcome()
    lives = iter(plan.lives)
    running: list[tuple[Life, Worker]] = []

    def one_step() -> bool:
        nonlocal running
        alive = []
        for life, worker in running:
            if life.how is None and worker.count("delivered") >= life.after:
                worker.kill()
            if worker.ended:
                outcome.kills += worker.died
            else:
                alive.append((life, worker))
        running = alive
        while len(running) < CONSUMERS and (life := next(lives, None)):
            running.append((life, start(lab, life)))
        if outcome.kills >= [*plan.server_kills, len(plan.lives) + 1][outcome.server_kills]:
            lab.server.kill()
            lab.server.start()
            outcome.server_kills += 1
        return not running

    wait_until(
        one_step, "the plan is carried out", timeout_s=1_200, details=lambda: str(outcome)
    )
    return outcome


def start(lab: Lab, life: Life) -> Worker:
    return lab.worker(
        life.name,
        handler_on(lab.redis),
        crash=life.how,
        after=life.after,
        ack_every=life.ack_every,
        min_idle_ms=MIN_IDLE_MS,
        max_deliveries=MAX_DELIVERIES,
    )


def finish(lab: Lab, producers: list[subprocess.Popen[str]]) -> None:
    """Let consumers that nobody kills handle all that is left."""
    lab.redis.set("enough", 1)
    last = [start(lab, Life(None, 1, f"last-{number}")) for number in range(2)]

    def all_done() -> bool:
        (group,) = lab.redis.xinfo_groups("orders")
        return group["lag"] == 0 and group["pending"] == 0

    for producer in producers:
        if producer.wait(120) != 0:
            raise RuntimeError(f"a producer failed: exit {producer.returncode}")
    lab.wait_until(all_done, "everything is handled or dead-lettered", timeout_s=300)
    for worker in last:
        worker.stop()


def check(lab: Lab, promised: set[str], outcome: Outcome) -> Outcome:
    """Fill in the outcome, from what the producers noted and the server holds."""
    client = lab.redis
    effects = {key.decode(): int(times) for key, times in client.hgetall("effects").items()}
    letters = list(DeadLetters(client, "orders"))
    given_up = {
        Message.from_bytes(letter.data).content
        for letter in letters
        if letter.data is not None and letter.reason != "undecodable"
    }
    buried = {letter.entry_id: position(letter.letter_id) for letter in letters}
    attempts = client.xrange("attempts")
    outcome.published = len(promised)
    outcome.effects = len(effects)
    outcome.lost = len(promised - effects.keys() - given_up)
    outcome.doubled = sum(times != 1 for times in effects.values())
    outcome.dead_letters = len(letters)
    outcome.handled_after_burial = sum(
        position(at.decode()) > buried[entry_id]
        for at, fields in attempts
        if (entry_id := fields[b"id"].decode()) in buried
    )
    outcome.pending = client.xpending("orders", "billing")["pending"]
    return outcome


def position(entry_id: str) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split("-")))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--messages", type=int, default=40_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--server-kills", type=int, default=20)
    given = parser.parse_args()
    print(
        f"seed {given.seed}: {given.kills} consumers and {given.server_kills} servers will die"
    )
    began = time.monotonic()
    outcome = chaos(
        given.seed, messages=given.messages, kills=given.kills, server_kills=given.server_kills
    )
    print(f"{outcome}; {time.monotonic() - began:.1f} s")
    if outcome.lost or outcome.doubled or outcome.handled_after_burial or outcome.pending:
        sys.exit(
            f"a promise was broken; python tests/chaos.py --seed {given.seed} tries it again"
        )


if __name__ == "__main__":
    main()
