"""The processes of the chaos test of a cluster: members that consume, and producers.

Each writes what it knows into a file of its own, unbuffered: a SIGKILL takes nothing back. A
producer writes a line for each publish that was acknowledged, a member one for each message
that its handler was done with.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

import redis
from redis.client import Pipeline
from redis.exceptions import RedisClusterException

from redisflow_lab import Delivery, Message, NotReplicatedError
from redisflow_lab._internal import group, wire
from redisflow_lab._internal.backoff import transient_reason
from redisflow_lab.events import Event, Kind
from redisflow_lab.idempotency import handle_once
from redisflow_lab.interfaces import Handler
from redisflow_lab.lab.server.cluster import DirectCluster
from redisflow_lab.partitions import PartitionedConsumer, PartitionedProducer, Placed
from redisflow_lab.partitions.ownership import Ownership, owner_key
from redisflow_lab.signals import stop_on_signals

STREAM, GROUP, PARTITIONS, MEMBERS = "orders", "billing", 12, 6
MIN_IDLE_MS, MAX_IN_ONE, MAX_DELIVERIES = 1_500, 10, 5
KEYS_AT_A_TIME, MESSAGES_OF_A_KEY = 20, 6
"""So many keys are in use at a time, each for so many messages of each producer."""
SLOW_EVERY, SLOW_S = 20, 0.05
"""One message of so many takes so long: then a fault often falls into a batch."""
ENOUGH = "enough"
"""The producers end when a file of this name is there."""

CRASH_POINTS = {
    "after-delivery": Kind.DELIVERED,
    "before-ack": Kind.HANDLED,
    "after-ack": Kind.ACKED,
}

Address = tuple[list[int], dict[int, int], str]
"""Of the cluster: the arguments of `DirectCluster`."""

# The owner's key is read in the transaction of the effect: it says whose partition it was then.
_PUSH = "redis.call('RPUSH', KEYS[1], ARGV[1] .. ' ' .. (redis.call('GET', KEYS[2]) or '-'))"


@dataclass(frozen=True)
class Life:
    """One process of a member: where it ends, and its settings.

    crash:     the instruction at which it kills itself; None is a SIGKILL from outside
    after:     at which occurrence of that instruction
    after_s:   how long after its first message it is killed from outside
    overlap_s: how long before that another process with the same number is started
    """

    member: int
    number: int
    crash: str | None = None
    after: int = 1
    after_s: float = 0.0
    overlap_s: float = 0.0
    ack_every: int = 1

    @property
    def name(self) -> str:
        return f"{self.member}-{self.number}"

    def again(self, number: int) -> "Life":
        """The same for another process."""
        return replace(self, number=number)


def connect(address: Address) -> Any:
    """A client of the cluster, also while some of its nodes are down."""
    while True:
        try:
            return DirectCluster(*address)
        except (redis.RedisError, RedisClusterException):
            time.sleep(0.1)


def effects_key(stream: str) -> str:
    return f"{stream}:effects"


# ---------------------------------------------------------------- a member


def consume(address: Address, life: Life, folder: Path, broken: str | None) -> None:
    """Be a member until SIGTERM, or until its plan kills it."""
    break_promise(broken)
    client = connect(address)
    with (
        (folder / f"{life.name}.handled").open("ab", buffering=0) as done,
        (folder / f"{life.name}.events").open("ab", buffering=0) as events,
    ):
        consumer = PartitionedConsumer(
            client, STREAM, GROUP,
            partitions=PARTITIONS, member=life.member, of=MEMBERS,
            batch=MAX_IN_ONE, ack_every=life.ack_every, block_ms=100,
            min_idle_ms=MIN_IDLE_MS, max_deliveries=MAX_DELIVERIES,
            on_event=hook_of(life, events.write),
        )  # fmt: skip
        handlers = {
            stream: handler_of(client, stream, life, done.write, broken)
            for stream in consumer.streams
        }
        with stop_on_signals() as stop:
            consumer.run(lambda delivery: handlers[delivery.stream](delivery), stop=stop)


def hook_of(life: Life, note: Callable[[bytes], object]) -> Callable[[Event], None]:
    """A hook that kills the process at the instruction of the plan.

    It notes what is delivered, before the handler is called, and what fails.
    """
    point, reached, lock = CRASH_POINTS.get(life.crash or ""), count(1), Lock()

    def hook(event: Event) -> None:
        if event.kind in (Kind.DELIVERED, Kind.FAILED):
            note(f"{event.kind} {event.stream} {event.entry_id} {event.error!r}\n".encode())
        if event.kind is point:
            with lock:
                if next(reached) >= life.after:
                    os.kill(os.getpid(), signal.SIGKILL)

    return hook


def handler_of(
    client: Any, stream: str, life: Life, note: Callable[[bytes], object], broken: str | None
) -> Handler:
    """Writes an effect for each message into the slot of its partition, once for each key.

    A line of the file is the stream and the effect that was applied; or, after a "=", the
    number of deliveries of a message whose effect was there already, and its content.
    """
    numbers, applied = count(), ""

    def effect(pipeline: Pipeline, delivery: Delivery) -> None:
        nonlocal applied
        _, _, key = delivery.message.content.split()
        applied = json.dumps(
            {
                "content": delivery.message.content,
                "key": key,
                "entry_id": delivery.entry_id,
                "deliveries": delivery.deliveries,
                "life": life.name,
                "number": next(numbers),
                "at": time.time(),
            }
        )
        pipeline.eval(_PUSH, 2, effects_key(stream), owner_key(stream, GROUP), applied)

    once = handle_once(
        effect, client, f"{stream}:done", key=lambda delivery: delivery.message.content
    )

    def handle(delivery: Delivery) -> None:
        nonlocal applied
        applied = ""
        if broken == "ack-first":
            client.xack(stream, GROUP, delivery.entry_id)
            time.sleep(0.02)  # so that kills fall in between
        if broken == "handle-twice":
            client.delete(f"{stream}:done:{delivery.message.content}")
        once(delivery)
        if int(delivery.message.content.split()[1]) % SLOW_EVERY == 0:
            time.sleep(SLOW_S)
        repeat = f"={delivery.deliveries} {delivery.message.content}"
        line = f"{stream} {applied}" if applied else repeat
        note(f"{line}\n".encode())

    return handle


# ---------------------------------------------------------------- a producer


def content_of(name: str, number: int) -> str:
    """A message of a producer: its name, its number among all, and the partition key."""
    generation = number // (KEYS_AT_A_TIME * MESSAGES_OF_A_KEY)
    return f"{name} {number} customer-{generation}-{number * 7 % KEYS_AT_A_TIME}"


def produce(
    address: Address,
    name: str,
    folder: Path,
    wait_replicas: int,
    per_s: float,
    broken: str | None,
) -> None:
    """Publish one message after another until there are enough. Goes on where a kill ended it.

    A publish is repeated with its key until it is acknowledged: so each message precedes the
    next one of the same key.
    """
    break_promise(broken)
    producer = PartitionedProducer(connect(address), STREAM, partitions=PARTITIONS)
    file = folder / f"{name}.acked"
    first = len(file.read_bytes().splitlines()) if file.exists() else 0
    with file.open("ab", buffering=0) as acked, (folder / f"{name}.errors").open("a") as errors:
        for number in count(first):
            content = content_of(name, number)
            key = content.split()[2]
            began = time.monotonic()
            placed: Placed | None = None
            while placed is None:
                if (folder / ENOUGH).exists():
                    return
                try:
                    placed = producer.publish(
                        Message(name, content),
                        partition_key=key,
                        key=None if broken == "no-key" else content,
                        wait_replicas=0 if broken == "no-wait" else wait_replicas,
                        wait_ms=300,
                    )
                except NotReplicatedError as error:
                    errors.write(f"{type(error).__name__}\n")
                except redis.RedisError as error:
                    errors.write(f"{type(error).__name__}: {error}\n")
                    if transient_reason(error) is None:
                        raise
            record = {
                "content": content, "key": key, "stream": placed.stream,
                "entry_id": placed.entry_id, "at": time.time(), "waited": wait_replicas > 0,
            }  # fmt: skip
            acked.write(f"{json.dumps(record)}\n".encode())
            time.sleep(max(0.0, began + 1 / per_s - time.monotonic()))


# ---------------------------------------------------------------- promises that are broken


def break_promise(broken: str | None) -> None:
    """Break a promise in this process on purpose, to see that the judge notices."""
    if broken == "ownership":
        Ownership.acquire = lambda self, stop: True  # type: ignore[method-assign]
        Ownership.keep = lambda self: None  # type: ignore[method-assign]
    elif broken == "moved":  # a redirected command is taken for one that was executed

        def take_for_executed(self: Any, pool: Any, replies: list[Any]) -> None:
            self._unanswered.popleft()
            self._answered.append(
                [b"0-1" if wire._is_redirection(reply) else reply for reply in replies]
            )

        wire.CommandPipe._follow = take_for_executed  # type: ignore[method-assign]
    elif broken == "order":
        in_order = group.entries_of
        group.entries_of = lambda rows: in_order(rows)[::-1]


BREAKS = {
    "ack-first": "acknowledge before the effect",
    "handle-twice": "no deduplication of effects",
    "no-key": "publish without an idempotency key",
    "no-wait": "do not wait for the replicas that confirm",
    "ownership": "read a partition that another process owns",
    "moved": "take a redirected command for one that was executed",
    "order": "handle each batch in reverse order",
}
