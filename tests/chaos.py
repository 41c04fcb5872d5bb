"""Kill consumers and the server while messages flow, and check that every promise is kept.

    python tests/chaos.py --seed 7 --messages 40000 --kills 200 --server-kills 20
    python tests/chaos.py --faults network
    python tests/chaos.py --faults refusals

The seed decides the plan: which consumer is killed, at which instruction, after how many
messages, under which name it is started again, and when the server is killed. Besides that,
messages themselves do harm: some are undecodable, some always fail, and some kill each
process that handles them. With `--faults`, requests and answers are lost or late as well, or
one command after another is refused to consumers. What was promised and what became of it is
read from data: the producers' files, and the keys and streams of the server.
"""

import argparse
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import redis
from chaos_conditions import Conditions, conditions
from chaos_producer import FAILS, KILLS
from redis.client import Pipeline

from redisflow_lab import Delivery, Message, TransientError
from redisflow_lab.dead_letters import DeadLetter, DeadLetters
from redisflow_lab.idempotency import handle_once
from redisflow_lab.interfaces import Handler
from redisflow_lab.lab import Lab
from redisflow_lab.lab.recording.recorders import Recorders
from redisflow_lab.lab.waiting import wait_until
from redisflow_lab.lab.workers.starters import new_starter
from redisflow_lab.lab.workers.worker import Worker
from redisflow_lab.lab.workers.worker_process import Options

CONSUMERS, PRODUCERS = 4, 3
MIN_IDLE_MS = 1_500
MAX_IN_ONE = 10
"""Entries in one read, and in one XACK."""
MAX_DELIVERIES = 5
"""So many that no ordinary message comes near it, and no more: each killer costs as many
processes, and each message that always fails waits as often for `MIN_IDLE_MS`.

A kill costs each message in flight one delivery. A message shares two deliveries with others
at the most: from then on it is redelivered alone, and is hit only by a kill that falls into
its own handling, of a few milliseconds. Five times in 200 kills is next to impossible.
"""
KILLERS_EVERY = 4_000
"""One message of so many kills its process, each of `MAX_DELIVERIES` times. With one of 500,
most of the time would be spent on starting processes."""
CRASH_POINTS = [None, "after-delivery", "before-ack", "after-ack", "after-claim"]
"""None is a SIGKILL from outside, at whatever instruction the process is."""


@dataclass(frozen=True)
class Life:
    """One consumer process: where it is killed, after how many messages, and its settings."""

    crash: str | None
    after: int
    name: str
    ack_every: int = 1


@dataclass(frozen=True)
class Plan:
    """lives: in the order they begin; server_kills: after how many kills of consumers."""

    lives: list[Life]
    server_kills: list[int]

    @classmethod
    def of(cls, seed: int, messages: int, kills: int, server_kills: int) -> "Plan":
        rng = random.Random(seed)
        most = max(2, messages // max(1, kills))
        lives = [
            Life(
                crash := rng.choice(CRASH_POINTS),
                1 if crash == "after-claim" else rng.randint(1, most),  # claims are few
                # The same name replays what it left pending; with a new name it is claimed.
                f"consumer-{number % CONSUMERS}" + (f"-{number}" if rng.random() < 0.3 else ""),
                rng.choice([1, MAX_IN_ONE]),
            )
            for number in range(kills)
        ]
        return cls(lives, sorted(rng.sample(range(1, kills), server_kills)))


@dataclass
class Outcome:
    """What was promised, and what became of it. All are counts.

    published:               contents that the server has confirmed
    effects:                 contents that had their effect
    lost:                    published, without effect and not dead-lettered
    doubled:                 contents that had their effect more than once
    dead_letters:            entries in the dead-letter stream
    killers:                 published messages that kill each process that handles them
    killers_dead_lettered:   of those, how many are dead letters, all of them as unfinished
    neighbours_dead_lettered: dead letters that are neither poison nor undecodable
    handled_after_dead_letter: calls of the handler for an entry that was a dead letter
    pending:                 entries that are pending in the end
    died:                    consumer processes that were killed, by the plan or by a message
    unread, unacked, unwritten: what the server knows of and no event counts: first deliveries,
                             acknowledgements (those of dead letters too), and dead letters
    faults:                  of the network, or refusals of a command
    kills, server_kills:     those of the plan
    """

    published: int = 0
    effects: int = 0
    lost: int = 0
    doubled: int = 0
    dead_letters: int = 0
    killers: int = 0
    killers_dead_lettered: int = 0
    neighbours_dead_lettered: int = 0
    handled_after_dead_letter: int = 0
    pending: int = 0
    died: int = 0
    unread: int = 0
    unacked: int = 0
    unwritten: int = 0
    faults: int = 0
    kills: int = 0
    server_kills: int = 0

    def __str__(self) -> str:
        return ", ".join(
            f"{value} {name.replace('_', ' ')}" for name, value in vars(self).items()
        )

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept; empty when all is well."""
        unwanted = {
            "lost": self.lost,
            "doubled": self.doubled,
            "killers not dead-lettered": self.killers - self.killers_dead_lettered,
            "neighbours dead-lettered": self.neighbours_dead_lettered,
            "handled after their dead letter": self.handled_after_dead_letter,
            "pending": self.pending,
        }
        broken = [f"{count} {what}" for what, count in unwanted.items() if count]
        # What is killed, or loses a reply, has one request in flight: a read, or an XACK.
        lost_replies = self.died + self.server_kills * CONSUMERS + self.faults
        for what in ("unread", "unacked", "unwritten"):
            if not 0 <= (count := getattr(self, what)) <= MAX_IN_ONE * lost_replies:
                broken.append(f"{count} {what} that no kill explains")
        return broken


class Consumers:
    """Starts consumer processes, and tells how each ended.

    folder: where a process leaves a file named by its pid before a message kills it
    """

    def __init__(self, surroundings: Conditions, folder: Path) -> None:
        self._surroundings, self._folder = surroundings, folder
        self._started: list[Worker] = []
        self._starter = new_starter(folder)

    def start(self, life: Life) -> Worker:
        worker = Worker(
            self._surroundings.consumers,
            life.name,
            self._handler(),
            stream="orders",
            group="billing",
            crash=life.crash,
            after=life.after,
            options=Options(
                batch=MAX_IN_ONE,
                ack_every=life.ack_every,
                min_idle_ms=MIN_IDLE_MS,
                max_deliveries=MAX_DELIVERIES,
            ),
            folder=self._folder,
            starter=self._starter,
            recorders=Recorders(),
        )
        self._started.append(worker)
        return worker

    def was_killed_by_a_message(self, worker: Worker) -> bool:
        """Whether a message killed it, and not the plan. To be asked once."""
        note = self._folder / str(worker.pid)
        killed = note.exists()
        note.unlink(missing_ok=True)  # the pid may be used again
        return killed

    @property
    def died(self) -> int:
        """How many of them a signal has killed."""
        return sum(worker.died for worker in self._started)

    def counted(self) -> Counter[str]:
        """The events of all of them, by kind; "first" are deliveries of what is new."""
        counts: Counter[str] = Counter()
        for worker in self._started:
            events = worker.events
            counts.update(events["kind"])
            first = (events["kind"] == "delivered") & (events["deliveries"] == 1)
            counts["first"] += int(first.sum())
        return counts

    def kill_all(self) -> None:
        for worker in self._started:
            worker.kill()
        self._starter.close()

    def _handler(self) -> Handler:
        """One effect for each content; poison fails, or kills the process."""
        client, folder = self._surroundings.effects, self._folder

        def effect(pipeline: Pipeline, delivery: Delivery) -> None:
            pipeline.hincrby("effects", delivery.message.content, 1)

        once = handle_once(
            effect, client, "done", key=lambda delivery: delivery.message.content
        )

        def handle(delivery: Delivery) -> None:
            content = delivery.message.content
            if content.endswith(KILLS):
                (folder / str(os.getpid())).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                if content.endswith(FAILS):
                    client.xadd("attempts", {"id": delivery.entry_id})
                    raise ValueError("poison")
                once(delivery)
            except (redis.ConnectionError, redis.TimeoutError) as error:
                raise TransientError("the store of the effects cannot be reached") from error

        return handle


def chaos(
    seed: int,
    *,
    messages: int,
    kills: int,
    server_kills: int,
    killers: bool = True,
    faults: str | None = None,
) -> Outcome:
    """Carry out the plan of this seed. Takes as long as it needs to handle everything.

    killers: whether there are messages that kill their process
    faults:  what else goes wrong: "network", "refusals", or nothing
    """
    plan = Plan.of(seed, messages, kills, server_kills)
    lab = Lab("own")
    try:
        # A SIGKILL must not take back what was confirmed: data is on disk before the answer.
        lab.redis.config_set("appendfsync", "always")
        lab.redis.config_rewrite()
        with (
            TemporaryDirectory() as confirmed,
            TemporaryDirectory() as notes,
            conditions(faults, lab, seed) as surroundings,
        ):
            consumers = Consumers(surroundings, Path(notes))
            producers = start_producers(
                surroundings, messages // PRODUCERS, killers, Path(confirmed)
            )
            try:
                outcome = carry_out(lab, plan, consumers, surroundings)
                surroundings.stop()
                finish(lab, consumers, producers)
                outcome.faults = surroundings.count
            finally:
                consumers.kill_all()
                for producer in producers:
                    producer.kill()
                    producer.wait()
            promised = {
                line
                for file in Path(confirmed).iterdir()
                for line in file.read_text().splitlines()
            }
        return check(lab, promised, outcome, consumers)
    finally:
        lab.close()


def start_producers(
    surroundings: Conditions, least: int, killers: bool, folder: Path
) -> list[subprocess.Popen[str]]:
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
                "address": surroundings.producers,
                "name": f"producer-{number}",
                "least": least,
                "keyed": number == 0,
                "killers_every": KILLERS_EVERY if killers else 0,
                "confirmed_file": str(folder / str(number)),
            },
            producer.stdin,
        )
        producer.stdin.close()
        producers.append(producer)
    return producers


def carry_out(lab: Lab, plan: Plan, consumers: Consumers, surroundings: Conditions) -> Outcome:
    """Start one life after another and end it as planned; kill the server in between.

    A life that a message or the surroundings ended early begins again, so that each ends as
    planned. Of lives with the same name, one runs at a time.
    """
    outcome = Outcome()
    waiting = list(plan.lives)
    running: list[tuple[Life, Worker]] = []

    def next_life() -> Life | None:
        names = {life.name for life, _ in running}
        return next((life for life in waiting if life.name not in names), None)

    def one_step() -> bool:
        nonlocal running
        surroundings.go_on()
        alive = []
        for life, worker in running:
            if life.crash is None and worker.count("delivered") >= life.after:
                worker.kill()
            if not worker.ended:
                alive.append((life, worker))
            elif consumers.was_killed_by_a_message(worker) or surroundings.ended(worker):
                waiting.insert(0, life)
            else:
                worker.wait_end()  # raises, if it ended with an error of its own
                outcome.kills += 1
        running = alive
        while len(running) < CONSUMERS and (life := next_life()):
            waiting.remove(life)
            running.append((life, consumers.start(life)))
        if outcome.kills >= [*plan.server_kills, len(plan.lives) + 1][outcome.server_kills]:
            lab.server.kill()
            lab.server.start()
            outcome.server_kills += 1
        return not running

    wait_until(
        one_step, "the plan is carried out", timeout_s=1_200, details=lambda: str(outcome)
    )
    return outcome


def finish(lab: Lab, consumers: Consumers, producers: list[subprocess.Popen[str]]) -> None:
    """Let consumers handle all that is left. Now only messages kill them."""
    lab.redis.set("enough", 1)
    lives = [Life(None, 1, f"last-{number}") for number in range(2)]
    last = {life: consumers.start(life) for life in lives}

    def all_done() -> bool:
        for life, worker in last.items():
            if worker.ended:
                last[life] = consumers.start(life)
        (group,) = lab.redis.xinfo_groups("orders")
        written = all(producer.poll() is not None for producer in producers)
        return written and group["lag"] == 0 and group["pending"] == 0

    wait_until(all_done, "everything is handled or dead-lettered", timeout_s=300)
    for producer in producers:
        if producer.returncode != 0:
            raise RuntimeError(f"a producer failed: exit {producer.returncode}")
    for worker in last.values():
        worker.stop()


def check(lab: Lab, promised: set[str], outcome: Outcome, consumers: Consumers) -> Outcome:
    """Fill in the outcome, from the producers' files, what the server holds, and events."""
    client = lab.redis
    effects = {key.decode(): int(times) for key, times in client.hgetall("effects").items()}
    letters = list(DeadLetters(client, "orders"))
    reasons = {
        content_of(letter): letter.reason
        for letter in letters
        if letter.reason != "undecodable"
    }
    killers = {content for content in promised if content.endswith(KILLS)}
    dead_at = {letter.entry_id: position(letter.letter_id) for letter in letters}
    outcome.published = len(promised)
    outcome.effects = len(effects)
    outcome.lost = len(promised - effects.keys() - reasons.keys())
    outcome.doubled = sum(times != 1 for times in effects.values())
    outcome.dead_letters = len(letters)
    outcome.killers = len(killers)
    outcome.killers_dead_lettered = sum(reasons.get(c) == "unfinished" for c in killers)
    outcome.neighbours_dead_lettered = sum(
        not content.endswith((FAILS, KILLS)) for content in reasons
    )
    outcome.handled_after_dead_letter = sum(
        position(at.decode()) > dead_at[entry_id]
        for at, fields in client.xrange("attempts")
        if (entry_id := fields[b"id"].decode()) in dead_at
    )
    outcome.pending = client.xpending("orders", "billing")["pending"]
    counted, (group,) = consumers.counted(), client.xinfo_groups("orders")
    outcome.died = consumers.died
    finished = group["entries-read"] - outcome.pending
    outcome.unread = group["entries-read"] - counted["first"]
    outcome.unacked = finished - counted["acked"] - counted["dead-lettered"]
    outcome.unwritten = len(letters) - counted["dead-lettered"]
    return outcome


def content_of(letter: DeadLetter) -> str:
    assert letter.data is not None, letter
    return Message.from_bytes(letter.data).content


def position(entry_id: str) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split("-")))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--messages", type=int, default=40_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--server-kills", type=int, default=20)
    parser.add_argument("--killers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--faults", choices=["network", "refusals"])
    given = parser.parse_args()
    print(f"seed {given.seed}: {given.kills} consumer and {given.server_kills} server kills")
    began = time.monotonic()
    outcome = chaos(**vars(given))
    print(f"{outcome}; {time.monotonic() - began:.1f} s")
    if outcome.broken:
        sys.exit(
            f"broken promises: {', '.join(outcome.broken)}. To repeat the plan: "
            f"python tests/chaos.py --seed {given.seed}"
        )


if __name__ == "__main__":
    main()
