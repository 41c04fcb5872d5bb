"""Kill members, primaries and producers of a cluster, cut it, and move its slots, under load.

    python tests/chaos_cluster.py --seed 7 --kills 100 --server-kills 10
    python tests/chaos_cluster.py --break ownership

A cluster of three primaries with a replica each has a stream of twelve partitions. Six members
read it, and three producers write to it with idempotency keys; the third one waits for a
replica. The seed decides the plan: which member is killed, at which instruction or when,
whether another process with its number is waiting by then, and which faults the servers have in
which order. A fault of the servers begins when the cluster is whole again after the last one.

A primary is killed at once, or after its links were cut for a moment: then its replica lags,
and the failover loses what was acknowledged meanwhile. What was promised and what became of it
is read from data: the files of the processes, the keys of the servers, and the append-only
files of former primaries. `chaos_cluster_judge` says what is judged.

`--break` breaks a promise on purpose in all processes, to see that the judge notices.
"""

import argparse
import json
import random
import secrets
import shutil
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

from chaos_cluster_judge import Acked, Dead, Effect, Failover, Found, Verdict, judge
from chaos_cluster_processes import (
    BREAKS,
    CRASH_POINTS,
    ENOUGH,
    MAX_DELIVERIES,
    MEMBERS,
    PARTITIONS,
    STREAM,
    Address,
    Life,
    consume,
    effects_key,
    produce,
)
from redis import Redis

from redisflow_lab import Message
from redisflow_lab.dead_letters import DeadLetters
from redisflow_lab.events import Kind
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until
from redisflow_lab.lab.workers.process import Process
from redisflow_lab.partitions import partition_streams

STREAMS = partition_streams(STREAM, PARTITIONS)
PRODUCERS, WAITING_PRODUCER = 3, "producer-2"
PER_S = 150.0
"""How many messages a producer publishes a second."""
LAG_S = [(0.005, 0.05), (0.2, 0.8)]
"""For how long the replica of a primary that is killed then gets nothing: shorter than a batch
takes, and longer. Always shorter than the time after which the primary would be replaced."""
OVERLAP_S = [0.5, 2.0, 4.0]
"""How long before a kill another process with its number waits: less than until it gives up."""
WHOLE_S, DRAINED_S = 40.0, 60.0


@dataclass(frozen=True)
class Fault:
    """One fault of the servers.

    kind:      "kill", "cut" or "migrate"
    partition: it hits the primary of this partition
    lag_s:     of a kill: how long before the replica is cut off; 0 is not at all
    hold_s:    of a migration: how long the slot is on its way, in seconds
    to:        of a migration: which of the other primaries
    """

    kind: str
    partition: int
    lag_s: float = 0.0
    hold_s: float = 0.0
    to: int = 0


@dataclass(frozen=True)
class Plan:
    """lives: of each member, in the order they begin; producer_kills: at which second which."""

    lives: list[list[Life]]
    faults: list[Fault]
    producer_kills: list[tuple[float, int]]

    @classmethod
    def of(
        cls, seed: int, *, kills: int, server_kills: int, migrations: int, cuts: int
    ) -> "Plan":
        rng = random.Random(seed)
        lives: list[list[Life]] = [[] for _ in range(MEMBERS)]
        for number in range(kills):
            crash = rng.choice([None, None, *CRASH_POINTS])
            lives[number % MEMBERS].append(
                Life(
                    number % MEMBERS,
                    number,
                    crash,
                    rng.randint(1, 150),
                    rng.uniform(0.0, 2.0),
                    rng.choice([0.0, *OVERLAP_S]) if crash is None else 0.0,
                    rng.choice([1, 7]),
                )
            )
        lags = [
            rng.uniform(*rng.choice(LAG_S)) if number % 3 else 0.0
            for number in range(server_kills)
        ]
        kinds = [
            *(("kill", lag_s) for lag_s in lags),
            *(("migrate", 0.0) for _ in range(migrations)),
            *(("cut", 0.0) for _ in range(cuts)),
        ]
        rng.shuffle(kinds)
        faults = [
            Fault(
                kind, rng.randrange(PARTITIONS), lag_s, rng.uniform(0.1, 0.8), rng.randrange(2)
            )
            for kind, lag_s in kinds
        ]
        until = 5.0 * len(faults)
        producer_kills = sorted(
            (rng.uniform(1.0, until), rng.randrange(PRODUCERS)) for _ in range(len(faults) // 3)
        )
        return cls(lives, faults, producer_kills)


@dataclass
class Outcome:
    """What was done, and the verdict on what was found."""

    killed: set[str] = field(default_factory=set)
    ownerships_lost: int = 0
    producer_kills: int = 0
    migrations: int = 0
    failovers: list[Failover] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    unplanned: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: Verdict({}, []))

    @property
    def kills(self) -> int:
        return len(self.killed)

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept; empty when all is well."""
        unplanned = [f"a process ended without a kill: {each}" for each in self.unplanned]
        return [*self.verdict.broken, *unplanned]

    def __str__(self) -> str:
        kinds = Counter(each.kind for each in self.failovers)
        faults = ", ".join(f"{count} primaries {kind}" for kind, count in sorted(kinds.items()))
        return (
            f"{self.kills} members and {self.producer_kills} producers killed, {faults}, "
            f"{self.migrations} slots migrated, {self.ownerships_lost} partitions went to a "
            f"process that waited; {self.verdict}"
        )

    def details(self) -> Iterator[str]:
        """A line for each failover, and for each class of error that a producer has seen."""
        for each in self.failovers:
            yield (
                f"{each.node} {each.kind}: {len(each.entries)} entries and "
                f"{len(each.effects)} effects lost, bytes: {each.bytes}, "
                f"replaced after {each.ended - each.began:.1f} s"
            )
        for error, count in self.errors.most_common(8):
            yield f"{count} times a producer was told: {error}"


# ---------------------------------------------------------------- the processes


class Processes:
    """Starts members and producers, ends them as planned, and starts them again; in a thread.

    Until `finish`, each member is running, or the next one of its number is.
    """

    def __init__(
        self, lab: Lab, plan: Plan, folder: Path, outcome: Outcome, broken: str | None
    ) -> None:
        self._lab, self._folder, self._outcome, self._broken = lab, folder, outcome, broken
        self._address: Address = (
            [node.port for node in lab.nodes.values()],
            lab.nodes.real_ports,
            lab.nodes.password,
        )
        self._waiting = [deque(lives) for lives in plan.lives]
        self._numbers = iter(range(sum(map(len, plan.lives)), 1_000_000))
        self._members = [self._start(self._next(member)) for member in range(MEMBERS)]
        self._standby: list[_Running | None] = [None] * MEMBERS
        self._producers = [self._start_producer(number) for number in range(PRODUCERS)]
        self._producer_kills = deque(plan.producer_kills)
        self._began = time.monotonic()
        self._failed: BaseException | None = None
        self._ending = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what the thread has raised."""
        if self._failed is not None:
            raise self._failed

    @property
    def plan_is_done(self) -> bool:
        """Whether each life of the plan has ended."""
        self.check()
        return not any(self._waiting) and all(running.is_last for running in self._members)

    def tell(self) -> str:
        """Which lives of the plan have not ended, and what their processes say."""
        return "; ".join(
            f"{running.life}, {running.process.state}: {running.process.output.strip()[-600:]}"
            for running in self._members
            if not running.is_last
        )

    @property
    def producers_have_ended(self) -> bool:
        self.check()
        return all(producer.ended for producer in self._producers)

    def finish(self) -> None:
        """Let the members shut down gracefully."""
        self._ending.set()
        self._thread.join()
        self.check()
        for running in self._members:
            running.process.stop()

    def kill(self) -> None:
        self._ending.set()
        self._thread.join()
        for running in (*self._members, *filter(None, self._standby)):
            running.process.kill()
        for producer in self._producers:
            producer.kill()

    def _run(self) -> None:
        try:
            while not self._ending.wait(0.02):
                for member in range(MEMBERS):
                    self._look_after(member)
                self._look_after_producers()
        except BaseException as error:  # raised again by `check`
            self._failed = error

    def _look_after(self, member: int) -> None:
        running, standby = self._members[member], self._standby[member]
        if running.process.ended:
            if running.process.died:
                self._outcome.killed.add(running.life.name)
            elif running.had_rival and "OwnedElsewhereError" in running.process.output:
                # As it may in an outage of five seconds, and both if each has taken one
                # partition. Its plan is for the next one.
                self._outcome.ownerships_lost += 1
                if standby is not None and standby.is_last:
                    standby.due = time.monotonic() + running.life.after_s
                else:
                    self._waiting[member].appendleft(running.life.again(next(self._numbers)))
            else:
                self._outcome.unplanned.append(
                    f"member {running.life.name}, {running.process.state}: "
                    f"{running.process.output.strip()[-600:]}"
                )
            self._members[member] = standby or self._start(self._next(member))
            self._standby[member] = None
        elif (kill_at := running.kill_at(self._folder)) is not None:
            now = time.monotonic()
            if running.life.overlap_s and standby is None:
                self._standby[member] = standby = self._start(self._next(member))
                running.had_rival = standby.had_rival = True
                running.due = now + running.life.overlap_s
            elif now >= kill_at:
                running.process.kill()

    def _next(self, member: int) -> Life:
        if self._waiting[member]:
            return self._waiting[member].popleft()
        return Life(member, next(self._numbers), after_s=float("inf"))

    def _start(self, life: Life) -> "_Running":
        process = self._lab.process(consume, self._address, life, self._folder, self._broken)
        return _Running(life, process)

    def _look_after_producers(self) -> None:
        if (self._folder / ENOUGH).exists():
            return
        for number, producer in enumerate(self._producers):
            if producer.ended:
                if not producer.died:
                    self._outcome.unplanned.append(f"producer {number}: {producer.output}")
                self._producers[number] = self._start_producer(number)
        due = self._producer_kills
        if due and time.monotonic() > self._began + due[0][0]:
            _, number = due.popleft()
            self._producers[number].kill()
            self._outcome.producer_kills += 1

    def _start_producer(self, number: int) -> Process:
        name = f"producer-{number}"
        return self._lab.process(
            produce, self._address, name, self._folder, int(name == WAITING_PRODUCER), PER_S,
            self._broken,
        )  # fmt: skip


@dataclass
class _Running:
    """One process of a member.

    due:       when it is killed from outside, once that is known
    had_rival: whether another process with its number was running for a while
    """

    life: Life
    process: Process
    due: float | None = None
    had_rival: bool = False

    @property
    def is_last(self) -> bool:
        """Whether nothing kills it."""
        is_planned = self.life.crash is not None or self.life.after_s < float("inf")
        return self.due is None and not is_planned

    def kill_at(self, folder: Path) -> float | None:
        """When to kill it from outside; None for not yet known, or not at all."""
        if self.due is None and self.life.crash is None and not self.is_last:
            file = folder / f"{self.life.name}.handled"
            if file.exists() and file.stat().st_size:
                self.due = time.monotonic() + self.life.after_s
            return None
        return self.due


# ---------------------------------------------------------------- faults of the servers


class Servers:
    """Carries out the faults of the servers, and finds out what each failover has lost."""

    def __init__(self, lab: Lab, outcome: Outcome) -> None:
        self._lab, self._outcome = lab, outcome

    def carry_out(self, fault: Fault) -> None:
        """Returns when the cluster is whole again."""
        victim = self._lab.slot_owner(STREAMS[fault.partition])
        if fault.kind == "migrate":
            others = sorted(self._primaries() - {victim})
            with self._lab.migrating_slot(STREAMS[fault.partition], to=others[fault.to]):
                time.sleep(fault.hold_s)  # under load
            self._outcome.migrations += 1
        elif fault.kind == "kill":
            self._kill(victim, fault.lag_s)
        else:
            self._cut(victim)
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Until all nodes serve, agree on each other, and the replicas have all there was."""
        wanted: dict[str, int] = {}

        def is_whole() -> bool:
            time.sleep(0.05)
            states = self._lab.server.states()  # type: ignore[attr-defined]
            primaries = {each.name: each for each in states if each.role == "primary"}
            replicas = {each.primary: each for each in states if each.role == "replica"}
            if not (
                primaries.keys() == replicas.keys()
                and len(primaries) == 3
                and all(each.serves for each in states)
                and all(each.is_linked for each in replicas.values())
                and len({self._view(each.name) for each in states}) == 1
                and all(self._is_calm(each.name) for each in states)
            ):
                wanted.clear()
                return False
            if not wanted:
                wanted.update({name: each.offset for name, each in primaries.items()})
            return all(replicas[name].offset >= offset for name, offset in wanted.items())

        wait_until(
            is_whole, "the cluster is whole again", timeout_s=WHOLE_S, details=self._tell
        )

    def _kill(self, victim: str, lag_s: float) -> None:
        lab, node = self._lab, self._lab.nodes[victim]
        replica = self._replica_of(victim)
        began = time.time()
        if lag_s:
            lab.partition(victim)
            time.sleep(lag_s)  # its replica gets nothing meanwhile
        offset = self._info(victim)["master_repl_offset"]
        node.kill()
        lab.heal()
        kind = "killed while its replica lagged" if lag_s else "killed"
        failover = Failover(kind, victim, began)
        self._wait_until_promoted(replica, failover)
        failover.bytes = max(0, offset - self._offset_at_promotion(replica))
        self._compare(victim, replica, failover)
        if failover.entries and not failover.bytes:
            failover.bytes = None  # it went on until the kill: not known
        node.start()

    def _cut(self, victim: str) -> None:
        lab = self._lab
        replica = self._replica_of(victim)
        failover = Failover("cut off", victim, time.time())
        lab.partition(victim)
        client = lab.nodes[victim].connect()

        def refuses() -> bool:
            info: Any = client.cluster("INFO")
            persistence: Any = client.info("persistence")
            return info["cluster_state"] == "fail" and not persistence["aof_buffer_length"]

        wait_until(refuses, f"{victim} refuses", timeout_s=WHOLE_S)
        self._wait_until_promoted(replica, failover)
        offset = self._info(victim)["master_repl_offset"]
        failover.bytes = offset - self._offset_at_promotion(replica)
        self._compare(victim, replica, failover)
        lab.heal()

    def _wait_until_promoted(self, replica: str, failover: Failover) -> None:
        def is_promoted() -> bool:
            time.sleep(0.02)
            return bool(self._info(replica)["role"] == "master")

        wait_until(is_promoted, f"{replica} takes over", timeout_s=WHOLE_S, details=self._tell)
        failover.ended = time.time()

    def _compare(self, former: str, new: str, failover: Failover) -> None:
        """Find what the former primary had, in its append-only file, and the new one lacks."""
        with what_is_on_disk(self._lab.nodes[former].folder) as old:
            client = self._lab.nodes[new].connect()
            for stream in STREAMS:
                if not old.exists(stream):
                    continue
                there = {entry_id for entry_id, _ in client.xrange(stream)}
                failover.entries |= {
                    (stream, entry_id.decode())
                    for entry_id, _ in old.xrange(stream)
                    if entry_id not in there
                }
                kept = {*client.lrange(effects_key(stream), 0, -1)}
                failover.effects += [
                    effect_of(stream, line)
                    for line in old.lrange(effects_key(stream), 0, -1)
                    if line not in kept
                ]
        self._outcome.failovers.append(failover)

    def _primaries(self) -> set[str]:
        states = self._lab.server.states()  # type: ignore[attr-defined]
        return {each.name for each in states if each.role == "primary"}

    def _replica_of(self, primary: str) -> str:
        states = self._lab.server.states()  # type: ignore[attr-defined]
        return next(str(each.name) for each in states if each.primary == primary)

    def _info(self, name: str) -> dict[str, Any]:
        return dict(self._lab.nodes[name].connect().info("replication"))

    def _offset_at_promotion(self, name: str) -> int:
        return int(self._info(name)["second_repl_offset"]) - 1

    def _view(self, name: str) -> frozenset[tuple[str, str]]:
        """The roles of all nodes as one of them sees them, and its name if it is unsure."""
        members: Any = self._lab.nodes[name].connect().cluster("NODES")
        roles = {
            (member["node_id"], member["flags"].replace("myself,", ""))
            for member in members.values()
        }
        unsure = any(
            not member["connected"] or "fail" in member["flags"] for member in members.values()
        )
        return frozenset({*roles, ("unsure", name)} if unsure else roles)

    def _is_calm(self, name: str) -> bool:
        """Whether its append-only file is complete, and not being rewritten."""
        info: Any = self._lab.nodes[name].connect().info("persistence")
        return not (
            info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"] or info["loading"]
        )

    def _tell(self) -> str:
        return f"The servers: {self._lab.server.states()}"  # type: ignore[attr-defined]


@contextmanager
def what_is_on_disk(folder: Path) -> Iterator[Redis]:
    """A client of a server that has loaded a copy of the append-only file in this folder."""
    with TemporaryDirectory() as copy:
        shutil.copytree(folder / "appendonlydir", Path(copy) / "appendonlydir")
        with redirect_stdout(StringIO()):
            lab = Lab("own", data_dir=copy)
        try:
            yield lab.redis
        finally:
            lab.close()


# ---------------------------------------------------------------- what is there in the end


def effect_of(stream: str, line: bytes) -> Effect:
    text, _, owner = line.decode().partition("} ")
    return Effect(stream=stream, **json.loads(text + "}"), owner=owner)


def find(lab: Lab, folder: Path, outcome: Outcome) -> Found:
    """Read all that is to be judged."""
    found = Found(
        failovers=outcome.failovers, killed=outcome.killed, max_deliveries=MAX_DELIVERIES
    )
    for file in sorted(folder.glob("*.acked")):
        found.acked += [Acked(**json.loads(line)) for line in file.read_text().splitlines()]
    for file in sorted(folder.glob("*.events")):
        for line in file.read_text().splitlines():
            kind, stream, entry_id, error = line.split(" ", 3)
            if kind == Kind.FAILED:
                found.failed.append(f"{stream} {entry_id} {error}")
            else:
                found.delivered[stream, entry_id][file.stem] += 1
    for file in sorted(folder.glob("*.handled")):
        for line in file.read_bytes().splitlines():
            if line.startswith(b"="):
                found.repeats.append(int(line[1:].split()[0]))
            else:
                stream, _, effect = line.decode().partition(" ")
                found.applied.append(Effect(stream=stream, **json.loads(effect)))
    for stream in STREAMS:
        found.entries[stream] = [
            (entry_id.decode(), Message.from_fields(fields).content)
            for entry_id, fields in lab.redis.xrange(stream)
        ]
        found.effects[stream] = [
            effect_of(stream, line) for line in lab.redis.lrange(effects_key(stream), 0, -1)
        ]
        pending, lag = pending_and_lag(lab.redis, stream)
        found.pending += pending
        found.lag += lag
        found.dead_letters += [
            Dead(stream, letter.entry_id, letter.reason, letter.error)
            for letter in DeadLetters(lab.redis, stream)
        ]
    return found


def pending_and_lag(client: Redis, stream: str) -> tuple[int, int]:
    """Counted where the server's lag is nil, as it may be after a failover."""
    if not client.exists(stream):
        return 0, 0
    groups = client.xinfo_groups(stream)
    if not groups:
        return 0, client.xlen(stream)
    (group,) = groups
    after = group["last-delivered-id"].decode()
    return group["pending"], len(client.xrange(stream, min=f"({after}"))


def chaos(
    seed: int,
    *,
    kills: int,
    server_kills: int,
    migrations: int,
    cuts: int,
    broken: str | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Outcome:
    """Carry out the plan of this seed. Takes as long as it needs to handle everything.

    broken: the promise to break on purpose, one of `BREAKS`
    tell:   called with each fault of the servers as it begins
    """
    plan = Plan.of(
        seed, kills=kills, server_kills=server_kills, migrations=migrations, cuts=cuts
    )
    outcome, lab = Outcome(), Lab("own", cluster=3, replicas=1)
    try:
        with TemporaryDirectory() as name:
            folder = Path(name)
            servers = Servers(lab, outcome)
            servers.wait_until_whole()
            processes = Processes(lab, plan, folder, outcome, broken)
            try:
                for fault in plan.faults:
                    processes.check()
                    tell(f"{time.strftime('%X')} {fault}")
                    servers.carry_out(fault)
                wait_until(
                    lambda: processes.plan_is_done,
                    "the plan is carried out",
                    timeout_s=60 + 12 * kills / MEMBERS,
                    details=processes.tell,
                )
                (folder / ENOUGH).touch()
                wait_until(
                    lambda: processes.producers_have_ended, "producers end", timeout_s=DRAINED_S
                )
                wait_until(
                    lambda: is_drained(lab, processes),
                    "everything is handled",
                    timeout_s=DRAINED_S,
                    details=lambda: str(outcome.broken),
                )
                processes.finish()
            finally:
                processes.kill()
            outcome.verdict = judge(find(lab, folder, outcome))
            for file in folder.glob("*.errors"):
                outcome.errors.update(line[:100] for line in file.read_text().splitlines())
        return outcome
    finally:
        lab.close()


def is_drained(lab: Lab, processes: Processes) -> bool:
    time.sleep(0.1)
    processes.check()
    return all(pending_and_lag(lab.redis, stream) == (0, 0) for stream in STREAMS)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--server-kills", type=int, default=10)
    parser.add_argument("--migrations", type=int, default=5)
    parser.add_argument("--cuts", type=int, default=3)
    parser.add_argument("--break", dest="broken", choices=BREAKS)
    given = parser.parse_args()
    print(
        f"seed {given.seed}: on a cluster, {given.kills} kills of members and "
        f"{given.server_kills} of primaries, {given.migrations} migrations, {given.cuts} cuts"
    )
    began = time.monotonic()
    outcome = chaos(**vars(given), tell=lambda fault: print(fault, file=sys.stderr))
    print(*outcome.details(), sep="\n")
    print(f"{outcome}; {time.monotonic() - began:.1f} s")
    if outcome.broken:
        sys.exit(
            f"broken promises: {'; '.join(outcome.broken)}. To repeat the plan: "
            f"python tests/chaos_cluster.py --seed {given.seed}"
        )


if __name__ == "__main__":
    main()
