"""A message that kills its process is dead-lettered, and no other message with it.

Deliveries are counted for each entry, and a crash leaves everything that was delivered with
the killer unfinished. A neighbour has these deliveries at the most: the first one, one more
that it shares with the killer, the one that its own handler fails, and the one that succeeds.
"""

import os
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, cycle, repeat

import pytest
from consumers import NewConsumer, Publish, rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redisflow_lab import Delivery, RedisStreamConsumer
from redisflow_lab.dead_letters import DeadLetters
from redisflow_lab.interfaces import Handler
from redisflow_lab.lab import Lab

MAX_DELIVERIES = 3
"""Of a neighbour whose handler does not fail: the first, one with the killer, the last."""

BATCHES = [
    ["a0", "a1 fails once", "a2 kills", "a3", "a4 fails once"],
    ["b0 kills", "b1", "b2 fails once", "b3", "b4"],
]
"""What two reads deliver. In each, b2 for one, a message fails once after the crash."""


@dataclass(frozen=True)
class Journal:
    """What happened to each message, on the server, where a SIGKILL leaves it.

    begun:     key of a list of "<deliveries> <content>", one for each call of the handler
    succeeded: key of a list of the contents whose handler returned
    failed:    key of a set of the contents whose handler failed
    """

    lab: Lab
    stream: str

    @property
    def begun(self) -> str:
        return f"{self.stream}:begun"

    @property
    def succeeded(self) -> str:
        return f"{self.stream}:succeeded"

    @property
    def failed(self) -> str:
        return f"{self.stream}:failed"

    def clear(self) -> None:
        """Forget what happened, and delete the stream and its dead letters."""
        self.lab.redis.delete(
            self.begun, self.succeeded, self.failed, self.stream, f"{self.stream}:dead"
        )

    def handler(self, crash: Callable[[], object]) -> Handler:
        """Crashes for "kills" each time, fails for "fails once" the first time."""
        client = self.lab.redis
        begun, succeeded, failed = self.begun, self.succeeded, self.failed

        def handle(delivery: Delivery) -> None:
            content = delivery.message.content
            client.rpush(begun, f"{delivery.deliveries} {content}")
            if content.endswith("kills"):
                crash()
            if content.endswith("fails once") and client.sadd(failed, content):
                raise ValueError("declined")
            client.rpush(succeeded, content)

        return handle

    def deliveries(self) -> dict[str, list[int]]:
        """The numbers of the deliveries whose handler was called, by content."""
        calls = defaultdict(list)
        for call in self.lab.redis.lrange(self.begun, 0, -1):
            number, content = call.decode().split(" ", 1)
            calls[content].append(int(number))
        return calls

    def check(self, contents: list[str], max_deliveries: int, *, repeated: bool) -> None:
        """Exactly the killers are dead-lettered, and each other message succeeded.

        repeated: whether a message may succeed more than once: it is acknowledged with others
        """
        killers = [content for content in contents if content.endswith("kills")]
        neighbours = [content for content in contents if content not in killers]
        letters = DeadLetters(self.lab.redis, self.stream)
        ids = [entry_id.decode() for entry_id, _ in self.lab.redis.xrange(self.stream)]
        content_of = dict(zip(ids, contents, strict=True))
        assert sorted(
            (content_of[letter.entry_id], letter.reason, letter.deliveries)
            for letter in letters
        ) == [(content, "unfinished", max_deliveries + 1) for content in sorted(killers)]
        succeeded = [
            content.decode() for content in self.lab.redis.lrange(self.succeeded, 0, -1)
        ]
        assert set(succeeded) == set(neighbours)
        assert repeated or len(succeeded) == len(neighbours)
        deliveries = self.deliveries()
        for content in neighbours:
            failures = content.endswith("fails once")
            assert deliveries[content][-1] <= MAX_DELIVERIES + failures, content


@pytest.mark.parametrize(
    ("names", "max_deliveries", "ack_every"),
    [
        (repeat("alice"), 3, 1),
        (map(str, count()), 4, 1),
        (cycle(["alice", "bob"]), 5, 1),
        (cycle(["alice", "bob"]), 5, 10),
    ],
    ids=[
        "the same name replays",
        "another name claims",
        "two names by turns",
        "acknowledged ten at a time",
    ],
)
def test_a_message_that_kills_its_process_is_dead_lettered_and_no_neighbour_with_it(
    lab: Lab,
    stream: str,
    publish: Publish,
    names: Iterator[str],
    max_deliveries: int,
    ack_every: int,
) -> None:
    journal = Journal(lab, stream)
    publish(*BATCHES[0], *BATCHES[1])
    handler = journal.handler(lambda: os.kill(os.getpid(), signal.SIGKILL))
    crashes = 0
    for name in names:
        worker = lab.worker(
            name,
            handler,
            stream=stream,
            batch=5,
            ack_every=ack_every,
            min_idle_ms=100,
            max_deliveries=max_deliveries,
        )
        lab.wait_until(
            lambda worker=worker: worker.ended or is_drained(lab, stream),
            "the process is killed or has finished everything",
            timeout_s=15,
        )
        if not worker.ended:
            assert worker.stop() == "exit 0"
            break
        assert worker.wait_end() == "SIGKILL"
        crashes += 1
    # Two killers, each at each of its deliveries. Claimed with the first one, or prefetched
    # with it, the second has one delivery, or some, without a crash of its own.
    assert max_deliveries < crashes <= 2 * max_deliveries
    assert ack_every > 1 or crashes >= 2 * max_deliveries - 1
    # What was completed and not acknowledged before the first crash is handled twice.
    journal.check([*BATCHES[0], *BATCHES[1]], max_deliveries, repeated=ack_every > 1)


def is_drained(lab: Lab, stream: str) -> bool:
    """Whether the group has read the whole stream, and nothing of it is pending."""
    return lab.redis.exists(stream) and rows(lab.groups(stream), "pending", "lag") == [[0, 0]]


@st.composite
def messages(draw: st.DrawFn) -> list[str]:
    """Up to 18 messages, in any order: ordinary ones, killers, and some that fail once."""
    kinds = st.sampled_from(["", "", "", "", " fails once", " kills"])
    return [f"{number}{kind}" for number, kind in enumerate(draw(st.lists(kinds, max_size=18)))]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    contents=messages(),
    batch=st.integers(1, 6),
    ack_every=st.integers(1, 3),
    max_deliveries=st.integers(3, 6),
)
def test_wherever_killers_stand_they_alone_are_dead_lettered(
    lab: Lab,
    stream: str,
    publish: Publish,
    consumer: NewConsumer,
    contents: list[str],
    batch: int,
    ack_every: int,
    max_deliveries: int,
) -> None:
    """A crash ends the consumer with what it had in memory; a new one of its name goes on."""
    journal = Journal(lab, stream)
    journal.clear()
    publish(*contents)
    while True:
        alice = consumer(
            batch=batch, ack_every=ack_every, max_deliveries=max_deliveries, block_ms=1
        )

        def crash(alice: RedisStreamConsumer = alice) -> None:
            alice._acks.send()  # completed and not acknowledged: a SIGKILL forgets them
            sys.exit()

        handler = journal.handler(crash)
        try:
            alice.replay_pending(handler)
            while alice.read_new(handler):
                pass
        except SystemExit:
            continue
        if is_drained(lab, stream):
            break
    journal.check(contents, max_deliveries, repeated=ack_every > 1)
