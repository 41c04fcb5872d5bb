"""Partitions of a stream: where a key is, who reads it, and in which order."""

import json
import os
import re
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event as StopEvent
from threading import Lock
from typing import Any

import pytest
from consumers import all_at_once, rows, run_until_it_ends, running
from redis.exceptions import RedisError, ResponseError

from redisflow_lab import (
    Delivery,
    Message,
    RedisStreamConsumer,
    RedisStreamProducer,
    TransientError,
)
from redisflow_lab._internal.connection import stream_client
from redisflow_lab._internal.turn import Line, Turn
from redisflow_lab.dead_letters import DeadLetters
from redisflow_lab.lab import Lab
from redisflow_lab.partitions import (
    OwnedElsewhereError,
    PartitionCountError,
    PartitionedConsumer,
    PartitionedProducer,
    partition_of,
    partition_streams,
)
from redisflow_lab.partitions.ownership import Member, Ownership, owner_key

ROOT = Path(__file__).parents[1]
VECTORS = ROOT / "docs" / "partitions.json"


@pytest.fixture(scope="module")
def server() -> Iterator[Lab]:
    """Partitions have keys of their own form, which no prefix can be put before."""
    lab = Lab("own")
    yield lab
    lab.close()


@pytest.fixture
def name(server: Lab, request: pytest.FixtureRequest) -> str:
    return re.sub(r"[^\w]", "", request.node.name)


def orders(*contents: str) -> list[tuple[str, Message]]:
    """A message for each "customer:number", with the customer as its key."""
    return [(content.split(":")[0], Message("web", content)) for content in contents]


class Handled:
    """A handler for several threads: the contents by key, and the order of all."""

    def __init__(self) -> None:
        self.by_key: defaultdict[str, list[int]] = defaultdict(list)
        self.count, self._lock = 0, Lock()

    def __call__(self, delivery: Delivery) -> None:
        key, number = delivery.message.content.split(":")
        with self._lock:
            self.by_key[key].append(int(number))
            self.count += 1


def consume(redis: Any, name: str, member: int, of: int, effects: str, hang_at: str) -> None:
    """For a process: append what is handled to a list, and hang at one message."""
    from threading import Event

    from redisflow_lab.partitions import PartitionedConsumer

    def handle(delivery: Any) -> None:
        if delivery.message.content == hang_at:
            redis.set(f"{effects}:hangs", 1)
            Event().wait()
        redis.rpush(effects, delivery.message.content)

    PartitionedConsumer(redis, name, "billing", partitions=4, member=member, of=of).run(
        handler=handle, stop=Event()
    )


def consume_with_a_killer(redis: Any, name: str, effects: str) -> None:
    """For a process: "kills" ends it as soon as the other partition handles "slow".

    If it does not, after 0.2 s. "slow" takes 0.2 s as well.
    """
    import os
    import signal
    from threading import Event

    from redisflow_lab.partitions import PartitionedConsumer
    from redisflow_lab.signals import stop_on_signals

    is_handled = Event()

    def handle(delivery: Any) -> None:
        if delivery.message.content == "kills":
            is_handled.wait(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        is_handled.set()
        Event().wait(0.2)
        redis.rpush(effects, delivery.deliveries)

    with stop_on_signals() as stop:
        PartitionedConsumer(
            redis, name, "billing", partitions=2, member=0, of=1, max_deliveries=4, block_ms=50
        ).run(handler=handle, stop=stop)


# ---------------------------------------------------------------- where a key is


def test_the_vectors_say_where_each_key_is() -> None:
    vectors = json.loads(VECTORS.read_text())["vectors"]
    assert len(vectors) > 20
    for vector in vectors:
        assert partition_of(vector["key"], vector["partitions"]) == vector["partition"]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_javascript_finds_each_key_in_the_same_partition() -> None:
    program = ROOT / "examples" / "partition_of.js"
    done = subprocess.run(
        ["node", program, "--check", VECTORS], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_keys_are_spread_evenly() -> None:
    counts: defaultdict[int, int] = defaultdict(int)
    for number in range(12_000):
        counts[partition_of(f"customer-{number}", 12)] += 1
    assert sorted(counts) == list(range(12))
    assert min(counts.values()) > 800
    assert max(counts.values()) < 1_200


@pytest.mark.parametrize(
    ("key", "error", "says"),
    [
        ("", ValueError, "is empty"),
        (7, TypeError, "must be text or bytes, not int: 7"),
        ("customer-\ud800", ValueError, "has no UTF-8 form at character 9"),
    ],
)
def test_a_key_that_places_nothing_is_refused(
    key: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        partition_of(key, 12)


# ---------------------------------------------------------------- order, and who reads it


def test_messages_with_one_key_are_handled_in_their_order(server: Lab, name: str) -> None:
    producer = PartitionedProducer(server.redis, name, partitions=6)
    contents = [f"{number % 17}:{number}" for number in range(1_000)]
    placed = producer.publish_many(orders(*contents), batch_size=10)
    for (key, _), place in zip(orders(*contents), placed, strict=True):
        assert place.stream == partition_streams(name, 6)[partition_of(key, 6)]
    handled = Handled()
    members = [
        PartitionedConsumer(
            server.redis, name, "billing", partitions=6, member=member, of=2, block_ms=50
        )
        for member in range(2)
    ]
    with running(*members, handler=handled):
        server.wait_until(lambda: handled.count == 1_000, "all are handled")
    assert handled.by_key == {
        str(key): list(range(key, 1_000, 17)) for key in range(17)
    }  # fmt: skip


def test_a_message_that_failed_is_handled_after_those_behind_it(server: Lab, name: str) -> None:
    """What a redelivery changes: the order of this one message, and of no other."""
    producer = PartitionedProducer(server.redis, name, partitions=2)
    producer.publish_many(orders("a:0", "a:1", "a:2"))
    seen: list[str] = []

    def fail_once(delivery: Delivery) -> None:
        seen.append(delivery.message.content)
        if delivery.message.content == "a:1" and delivery.deliveries == 1:
            raise ValueError("the card was declined")

    member = PartitionedConsumer(
        server.redis, name, "billing",
        partitions=2, member=0, of=1, block_ms=50, min_idle_ms=100,
    )  # fmt: skip
    with running(member, handler=fail_once):
        server.wait_until(lambda: len(seen) == 4, "all are handled")
    assert seen == ["a:0", "a:1", "a:2", "a:1"]


def test_what_a_killed_member_had_in_flight_goes_to_the_next_owner(
    server: Lab, name: str
) -> None:
    producer = PartitionedProducer(server.redis, name, partitions=4)
    contents = [f"{number % 8}:{number}" for number in range(40)]
    producer.publish_many(orders(*contents))
    effects = f"{name}:effects"
    killed = server.process(consume, server.redis, name, 0, 1, effects, "3:3")
    server.wait_until(lambda: server.redis.exists(f"{effects}:hangs"), "it hangs")
    killed.kill()
    # Another number of processes: other processes own each partition now.
    started = [
        server.process(consume, server.redis, name, member, 2, effects, "")
        for member in range(2)
    ]
    server.wait_until(
        lambda: {*server.redis.lrange(effects, 0, -1)} == {each.encode() for each in contents},
        "all are handled",
        timeout_s=20,
    )
    for process in started:
        process.kill()


def test_a_message_that_kills_its_process_takes_none_of_another_partition_along(
    server: Lab, name: str
) -> None:
    """A crash uses up a delivery of each message that is being handled."""
    first, second = streams = partition_streams(name, 2)
    for stream, content in ((first, "kills"), (second, "slow")):
        RedisStreamProducer(server.redis, stream).publish(Message("web", content))
    for _ in range(9):
        process = server.process(
            consume_with_a_killer, server.redis, name, effects := f"{name}:effects"
        )
        server.wait_until(
            lambda process=process: process.ended or is_drained(server, streams),
            "it kills itself, or everything is handled",
        )
        if not process.ended:
            process.stop()
            break
        server.redis.delete(*(owner_key(each, "billing") for each in streams))
    letters = [[letter.reason for letter in DeadLetters(server.redis, s)] for s in streams]
    assert letters == [["unfinished"], []]
    (deliveries,) = server.redis.lrange(effects, 0, -1)
    assert int(deliveries) <= 2


@pytest.fixture
def unfinished(server: Lab, name: str) -> list[str]:
    """Two partitions with a message each, "0" and "1", that a former owner has not finished."""
    streams = partition_streams(name, 2)
    for content, stream in enumerate(streams):
        RedisStreamProducer(server.redis, stream).publish(Message("web", str(content)))
        server.redis.xgroup_create(stream, "billing", id="0")
        server.redis.xreadgroup("billing", "owner", {stream: ">"})
    return streams


def test_a_message_that_waits_lets_the_other_partitions_go_on(
    server: Lab, name: str, unfinished: list[str]
) -> None:
    """And its delivery does not count: one of theirs may kill the process."""
    is_back, handled = StopEvent(), StopEvent()
    begun, counted = list[str](), list[int]()

    def handle(delivery: Delivery) -> None:
        begun.append(delivery.stream)
        if delivery.stream == begun[0] and not is_back.is_set():
            raise TransientError("the address service is down")
        counted.append(pending_of(server, begun[0])[0]["times_delivered"])
        if delivery.stream != begun[0]:
            handled.set()

    member = PartitionedConsumer(
        server.redis, name, "billing", partitions=2, member=0, of=1, block_ms=20
    )
    with running(member, handler=handle):
        assert handled.wait(5)
        is_back.set()
        server.wait_until(lambda: is_drained(server, unfinished), "both are handled")
    assert counted == [1, 2]


def test_a_message_is_acknowledged_before_another_partition_has_its_turn(
    server: Lab, name: str, unfinished: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where several are acknowledged together: the next one may kill the process."""
    pending: list[int] = []
    give_back = Turn.give_back

    def noted(turn: Turn) -> None:
        if turn.is_held:
            pending.append(sum(len(pending_of(server, stream)) for stream in unfinished))
        give_back(turn)

    monkeypatch.setattr(Turn, "give_back", noted)
    member = PartitionedConsumer(
        server.redis, name, "billing",
        partitions=2, member=0, of=1, block_ms=20, ack_every=10,
    )  # fmt: skip
    with running(member, handler=lambda _: None):
        server.wait_until(lambda: is_drained(server, unfinished), "both are handled")
    assert pending == [1, 0]


def test_what_waits_for_its_turn_is_kept_and_handed_over_at_shutdown(
    server: Lab, name: str, unfinished: list[str]
) -> None:
    """One message that was redelivered is handled at a time."""
    begun, may_end = list[str](), StopEvent()

    def handle(delivery: Delivery) -> None:
        begun.append(delivery.stream)
        while not may_end.wait(0.05):
            delivery.heartbeat()

    member = PartitionedConsumer(
        server.redis, name, "billing",
        partitions=2, member=0, of=1, block_ms=20, min_idle_ms=800,
    )  # fmt: skip
    with ThreadPoolExecutor(1) as threads:
        stop = StopEvent()
        run = threads.submit(member.run, handle, stop=stop)
        try:
            server.wait_until(lambda: begun, "one of them is handled")
            (waiting,) = {*unfinished} - {*begun}
            since = time.monotonic()
            server.wait_until(
                lambda: time.monotonic() > since + 1.6, "the lease has ended twice"
            )
            assert server.redis.xautoclaim(waiting, "billing", "other", 800)[1] == []
            stop.set()
            server.wait_until(
                lambda: pending_of(server, waiting, idle=800), "it is handed over"
            )
            (row,) = pending_of(server, waiting)
            assert row["times_delivered"] == 1
        finally:
            may_end.set()
            stop.set()
            run.result(10)
    assert len(begun) == 1


def test_no_handler_is_called_when_a_turn_comes_after_the_stop(
    server: Lab, name: str, unfinished: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, calls, turns = StopEvent(), list[int](), list[bool]()
    take = Turn.take

    def handle(delivery: Delivery) -> None:
        calls.append(delivery.deliveries)
        if len(calls) == 1:
            raise TransientError("the address service is down")

    def taken(turn: Turn, stop: StopEvent) -> bool:
        turns.append(take(turn, stop))
        if len(turns) == 2:  # the turn after the pause
            stop.set()
        return turns[-1]

    monkeypatch.setattr(Turn, "take", taken)
    consumer = RedisStreamConsumer(server.redis, unfinished[0], "billing", "owner")
    consumer._turn.wait_in(Line())
    consumer.run(handle, stop=stop)
    assert (calls, turns) == ([2], [True, True])
    (row,) = pending_of(server, unfinished[0])
    assert row["times_delivered"] == 1


def pending_of(server: Lab, stream: str, idle: int | None = None) -> list[dict[str, Any]]:
    return server.redis.xpending_range(stream, "billing", "-", "+", 10, idle=idle)  # type: ignore[return-value]


def is_drained(server: Lab, streams: list[str]) -> bool:
    tables = [server.groups(stream) for stream in streams if server.redis.exists(stream)]
    return [rows(table, "pending", "lag") for table in tables] == [[[0, 0]]] * len(streams)


def test_two_processes_with_one_number_do_not_read_one_partition(
    server: Lab, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redisflow_lab.partitions.ownership._PATIENCE_S", 0.5)
    producer = PartitionedProducer(server.redis, name, partitions=2)
    first, second = (
        PartitionedConsumer(
            server.redis, name, "billing", partitions=2, member=0, of=1, block_ms=50
        )
        for _ in range(2)
    )
    handled, again = Handled(), Handled()
    with running(first, handler=handled):
        producer.publish_many(orders("a:0", "b:0"))
        server.wait_until(lambda: handled.count == 2, "the first one reads")
        with pytest.raises(OwnedElsewhereError, match=r"another process, member 0 of 1, and"):
            run_until_it_ends(second, again)
        producer.publish_many(orders("a:1", "b:1"))
        server.wait_until(lambda: handled.count == 4, "the first one goes on")
    assert (handled.count, again.count) == (4, 0)


def test_a_member_ends_when_another_process_has_taken_its_partition(
    server: Lab, name: str
) -> None:
    """As after a pause that was longer than the ownership lasts."""
    member = PartitionedConsumer(
        server.redis, name, "billing", partitions=1, member=0, of=1, block_ms=50
    )
    key = f"{partition_streams(name, 1)[0]}:owner:billing"

    def take_it(_: Delivery) -> None:
        server.redis.set(key, "3 4 0123456789ab", px=60_000)

    PartitionedProducer(server.redis, name, partitions=1).publish(
        Message("web", "a:0"), partition_key="a"
    )
    with pytest.raises(OwnedElsewhereError, match="another process, member 3 of 4"):
        run_until_it_ends(member, take_it)


@pytest.mark.parametrize(
    ("renew_s", "trusted_s"),
    [(0.05, 3.0), (5.0, 0.1)],
    ids=["noticed while it renews", "noticed before a message"],
)
def test_a_member_that_was_replaced_leaves_what_is_pending_to_its_successor(
    server: Lab,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    renew_s: float,
    trusted_s: float,
) -> None:
    """Both have one name: it must not hand over what the other one has in flight."""
    monkeypatch.setattr("redisflow_lab.partitions.ownership.TRUSTED_S", trusted_s)
    monkeypatch.setattr("redisflow_lab.partitions.consumer.RENEW_S", renew_s)
    (stream,) = partition_streams(name, 1)
    PartitionedProducer(server.redis, name, partitions=1).publish_many(orders("a:0", "a:1"))
    member = PartitionedConsumer(
        server.redis, name, "billing", partitions=1, member=0, of=1, block_ms=50
    )

    def take_it(_: Delivery) -> None:
        server.redis.set(f"{stream}:owner:billing", "0 1 0123456789ab", px=60_000)
        StopEvent().wait(0.3)  # longer than it is trusted, or until it has renewed

    with pytest.raises(OwnedElsewhereError):
        run_until_it_ends(member, take_it)
    (row,) = server.redis.xpending_range(stream, "billing", "-", "+", 9)
    assert (row["consumer"], row["times_delivered"]) == (b"owner", 1)
    assert row["time_since_delivered"] < 30_000


def test_an_owner_that_was_replaced_during_a_message_handles_no_other(
    server: Lab, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an outage, or a pause of the process, that was longer than the ownership lasts.

    It may be the first to reach the server again, and has a batch in memory.
    """
    ownership = "redisflow_lab.partitions.ownership"
    monkeypatch.setattr(f"{ownership}.OWNERSHIP_S", 1.0)
    monkeypatch.setattr(f"{ownership}.TRUSTED_S", 0.8, raising=False)
    monkeypatch.setattr("redisflow_lab.partitions.consumer.RENEW_S", 30.0)
    contents = [f"a:{number}" for number in range(10)]
    PartitionedProducer(server.redis, name, partitions=1).publish_many(orders(*contents))
    first, second = (
        PartitionedConsumer(
            server.redis, name, "billing", partitions=1, member=0, of=1, block_ms=50
        )
        for _ in range(2)
    )
    hangs, goes_on = StopEvent(), StopEvent()
    handled: list[str] = []

    def hang(delivery: Delivery) -> None:
        hangs.set()
        goes_on.wait(10)
        handled.append(delivery.message.content)

    by_second = Handled()
    with ThreadPoolExecutor(1) as threads:
        run = threads.submit(run_until_it_ends, first, hang)
        assert hangs.wait(10)
        monkeypatch.setattr("redisflow_lab.partitions.consumer.RENEW_S", 0.05)
        with running(second, handler=by_second):
            server.wait_until(lambda: by_second.count == 10, "the second one is the owner")
            goes_on.set()
            with pytest.raises(OwnedElsewhereError):
                run.result(timeout=10)
    assert handled == ["a:0"]


def test_an_owner_that_was_replaced_for_a_while_begins_again(
    server: Lab, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a pause in which another process came, handled everything and left."""
    monkeypatch.setattr("redisflow_lab.partitions.ownership.OWNERSHIP_S", 1.0)
    monkeypatch.setattr("redisflow_lab.partitions.ownership.TRUSTED_S", 0.8)
    monkeypatch.setattr("redisflow_lab.partitions.consumer.RENEW_S", 30.0)
    producer = PartitionedProducer(server.redis, name, partitions=1)
    producer.publish_many(orders(*(f"a:{number}" for number in range(10))))
    first, second = (
        PartitionedConsumer(
            server.redis, name, "billing", partitions=1, member=0, of=1, block_ms=50
        )
        for _ in range(2)
    )
    hangs, goes_on = StopEvent(), StopEvent()
    handled, by_second = Handled(), Handled()

    def hang(delivery: Delivery) -> None:
        if not hangs.is_set():
            monkeypatch.setattr("redisflow_lab.partitions.consumer.RENEW_S", 0.05)
            hangs.set()
            goes_on.wait(10)
        handled(delivery)

    with running(first, handler=hang):
        assert hangs.wait(10)
        with running(second, handler=by_second):
            server.wait_until(lambda: by_second.count == 10, "the second one is the owner")
        goes_on.set()
        server.wait_until(lambda: handled.count >= 1, "the first one goes on")
        producer.publish_many(orders("a:10", "a:11"))
        server.wait_until(lambda: handled.by_key["a"][-1] == 11, "it reads again")
    assert handled.by_key["a"] == [0, 10, 11]


def test_a_heartbeat_tells_a_handler_that_its_partition_has_another_owner(
    server: Lab, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that gives up then has done nothing, so nothing may be acknowledged."""
    (stream,) = partition_streams(name, 1)
    PartitionedProducer(server.redis, name, partitions=1).publish_many(orders("a:0"))
    member = PartitionedConsumer(
        server.redis, name, "billing", partitions=1, member=0, of=1, block_ms=50
    )
    heartbeats: list[bool] = []

    def lose_it(delivery: Delivery) -> None:
        heartbeats.append(delivery.heartbeat())
        monkeypatch.setattr("redisflow_lab.partitions.ownership.TRUSTED_S", 0.0)
        server.redis.set(f"{stream}:owner:billing", "0 1 0123456789ab", px=60_000)
        heartbeats.append(delivery.heartbeat())

    with pytest.raises(OwnedElsewhereError):
        run_until_it_ends(member, lose_it)
    assert heartbeats == [True, False]
    assert server.redis.xpending(stream, "billing")["pending"] == 1


def test_a_member_that_is_stopped_hands_over_nothing_that_may_be_anothers(
    server: Lab, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after SIGSTOP, and SIGCONT with SIGTERM: its name is that of its successor."""
    monkeypatch.setattr("redisflow_lab.partitions.ownership.TRUSTED_S", 0.1)
    monkeypatch.setattr("redisflow_lab.partitions.consumer.RENEW_S", 5.0)
    (stream,) = partition_streams(name, 1)
    PartitionedProducer(server.redis, name, partitions=1).publish_many(orders("a:0", "a:1"))
    member = PartitionedConsumer(
        server.redis, name, "billing", partitions=1, member=0, of=1, block_ms=50
    )
    stop = StopEvent()

    def stop_it(_: Delivery) -> None:
        server.redis.set(f"{stream}:owner:billing", "0 1 0123456789ab", px=60_000)
        StopEvent().wait(0.3)
        stop.set()
        monkeypatch.setattr("redisflow_lab.partitions.consumer.RENEW_S", 0.05)

    with suppress(OwnedElsewhereError):
        member.run(stop_it, stop=stop)
    (row,) = server.redis.xpending_range(stream, "billing", "-", "+", 9)
    assert (row["consumer"], row["times_delivered"]) == (b"owner", 1)
    assert row["time_since_delivered"] < 30_000
    assert server.redis.get(f"{stream}:owner:billing") == b"0 1 0123456789ab"


def test_an_ownership_that_expires_while_it_is_renewed_is_taken_again(
    server: Lab, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stream,) = partition_streams(name, 1)
    client = stream_client(server.redis, stream)
    ownership = Ownership(client, stream, "billing", Member.new(0, 1))
    renew = client.pexpire

    def expire_first(key: str, lasts_ms: int) -> Any:
        monkeypatch.setattr(client, "pexpire", renew)
        server.redis.delete(key)
        return renew(key, lasts_ms)

    ownership.keep()
    assert ownership.is_trusted
    monkeypatch.setattr(client, "pexpire", expire_first)
    ownership.keep()
    assert server.redis.exists(f"{stream}:owner:billing")
    assert not ownership.is_trusted  # another process may have been the owner
    ownership.begin()
    assert ownership.is_trusted


def test_an_owner_asks_again_before_it_goes_on_after_an_outage(
    server: Lab, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a failover to a replica that did not have the key of this owner yet."""
    monkeypatch.setattr("redisflow_lab.partitions.consumer.RENEW_S", 2.0)
    member = PartitionedConsumer(
        server.redis, name, "billing", partitions=1, member=0, of=1, block_ms=50
    )
    key = f"{partition_streams(name, 1)[0]}:owner:billing"
    handled: list[str] = []

    def find_the_server_down(delivery: Delivery) -> None:
        if server.redis.get(key) != b"3 4 0123456789ab":
            server.redis.set(key, "3 4 0123456789ab", px=60_000)
            raise TransientError("the server is down")
        handled.append(delivery.message.content)

    PartitionedProducer(server.redis, name, partitions=1).publish_many(orders("a:0", "a:1"))
    with pytest.raises(OwnedElsewhereError, match="another process, member 3 of 4"):
        run_until_it_ends(member, find_the_server_down)
    assert handled == []


def test_the_partitions_of_a_member_that_leaves_are_free_at_once(
    server: Lab, name: str
) -> None:
    for _ in range(2):
        handled = Handled()
        member = PartitionedConsumer(
            server.redis, name, "billing", partitions=3, member=0, of=1, block_ms=50
        )
        with running(member, handler=handled):
            PartitionedProducer(server.redis, name, partitions=3).publish(
                Message("web", "a:0"), partition_key="a"
            )
            server.wait_until(lambda handled=handled: handled.count == 1, "it is handled")
        assert server.redis.keys(f"*{name}*:owner:*") == []


def test_the_first_keyed_publish_is_retried_as_well(own_lab: Lab) -> None:
    """It asks for the number of partitions before it writes."""
    producer = PartitionedProducer(own_lab.redis, "orders", partitions=2)
    own_lab.server.kill()
    with ThreadPoolExecutor(1) as threads:
        published = threads.submit(
            producer.publish, Message("web", "a:0"), partition_key="a", key="0", retry_for_s=20
        )
        own_lab.server.start()
        placed = published.result(timeout=20)
    assert own_lab.redis.xlen(placed.stream) == 1
    own_lab.server.kill()
    with pytest.raises(RedisError):
        PartitionedProducer(own_lab.redis, "orders", partitions=2).publish(
            Message("web", "a:1"), partition_key="a"
        )


# ---------------------------------------------------------------- bad input


def test_another_number_of_partitions_is_refused_before_anything_is_written(
    server: Lab, name: str
) -> None:
    PartitionedProducer(server.redis, name, partitions=4).publish(
        Message("web", "a:0"), partition_key="a"
    )
    says = f"{name} has 4 partitions, not 6"
    with pytest.raises(PartitionCountError, match=says):
        PartitionedProducer(server.redis, name, partitions=6).publish(
            Message("web", "a:1"), partition_key="a"
        )
    with pytest.raises(PartitionCountError, match=says):
        run_until_it_ends(
            PartitionedConsumer(server.redis, name, "billing", partitions=6, member=0, of=1),
            Handled(),
        )
    assert sum(server.redis.xlen(each) for each in partition_streams(name, 6)) == 1


@pytest.mark.parametrize("stored", ["many", "06", "\u0666", "5000", None])
def test_a_stored_number_that_is_none_is_refused(
    server: Lab, name: str, stored: str | None
) -> None:
    key = f"{name}:partitions"
    if stored is None:
        server.redis.rpush(key, "6")
    else:
        server.redis.set(key, stored)
    with pytest.raises(PartitionCountError, match=r"partitions holds .*, not a number of"):
        PartitionedProducer(server.redis, name, partitions=6).publish(
            Message("web", "a:1"), partition_key="a"
        )


@pytest.mark.parametrize("partitions", [0, 2.0, True, "3", 1_025])
def test_a_number_of_partitions_that_cannot_be_meant_is_refused(partitions: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="partitions must be"):
        partition_of("a", partitions)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_touch_what_its_parent_owns(server: Lab, name: str) -> None:
    (stream,) = partition_streams(name, 1)
    member = PartitionedConsumer(
        server.redis, name, "billing", partitions=1, member=0, of=1, block_ms=50
    )
    key = f"{stream}:owner:billing"
    with running(member, handler=Handled()):
        server.wait_until(lambda: server.redis.exists(key), "it is the owner")
        server.redis.config_resetstat()
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                run_until_it_ends(member, Handled())
            os._exit(0)
        os.waitpid(child, 0)
        stats = server.redis.info("commandstats")
        assert "cmdstat_del" not in stats
        assert server.redis.exists(key)


def test_a_handler_that_cannot_be_called_is_refused_before_anything_is_written(
    server: Lab, name: str
) -> None:
    member = PartitionedConsumer(server.redis, name, "billing", partitions=1, member=0, of=1)
    with pytest.raises(TypeError, match="handler must be callable"):
        member.run("bill", stop=StopEvent())  # type: ignore[arg-type]
    assert not server.redis.exists(f"{name}:partitions")


def test_a_key_that_cannot_name_an_owner_is_named(server: Lab, name: str) -> None:
    (stream,) = partition_streams(name, 1)
    server.redis.rpush(f"{stream}:owner:billing", "alice")
    member = PartitionedConsumer(server.redis, name, "billing", partitions=1, member=0, of=1)
    with pytest.raises(ResponseError, match=r":owner:billing names no owner: WRONGTYPE"):
        run_until_it_ends(member, Handled())


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"member": 4, "of": 4}, ValueError, "member must be one of 0 to 3, not 4"),
        ({"member": -1, "of": 4}, ValueError, "member must be one of 0 to 3, not -1"),
        ({"member": "0", "of": 4}, TypeError, "member must be an int, not str: '0'"),
        ({"member": True, "of": 4}, TypeError, "member must be an int, not bool: True"),
        ({"member": 0, "of": 0}, ValueError, "of must be at least 1, not 0"),
        ({"member": 0, "of": 13}, ValueError, "13 processes cannot share 12 partitions: 1 of"),
        ({"member": 0, "of": 1, "name": "alice"}, TypeError, "name is not given here"),
        ({"member": 0, "of": 1, "partitions": 0}, ValueError, "partitions must be at least 1"),
        ({"member": 0, "of": 1, "partitions": 5_000}, ValueError, "at most 1,024, not 5000"),
        ({"member": 0, "of": 1, "stream": "{orders}"}, ValueError, "no braces"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(
    server: Lab, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    arguments = {"stream": "orders", "group": "billing", "partitions": 12, **options}
    with pytest.raises(error, match=says):
        PartitionedConsumer(server.redis, **arguments)


def test_threads_may_share_a_producer_from_its_first_message_on(server: Lab, name: str) -> None:
    for number in range(5):
        producer = PartitionedProducer(server.redis, f"{name}{number}", partitions=4)
        placed = all_at_once(
            [
                partial(producer.publish, message, partition_key=key)
                for key, message in orders(*(f"{customer}:0" for customer in range(8)))
            ]
        )
        assert len({*placed}) == 8


def test_many_messages_have_the_type_that_is_given(server: Lab, name: str) -> None:
    producer = PartitionedProducer(server.redis, name, partitions=2)
    placed = producer.publish_many(orders("a:0", "b:0"), type="order.placed")
    for stream, entry_id in placed:
        ((_, fields),) = server.redis.xrange(stream, entry_id, entry_id)
        assert fields[b"type"] == b"order.placed"


def test_a_member_that_waits_for_the_number_of_partitions_says_so(own_lab: Lab) -> None:
    member = PartitionedConsumer(own_lab.redis, "orders", partitions=2, member=0, of=1)
    own_lab.server.kill()
    with running(member, handler=Handled()) as stop:
        own_lab.wait_until(
            lambda: all(health.outage for health in member.health.values()), "it waits"
        )
        assert all(health.is_running for health in member.health.values())
        stop.set()
    assert not any(health.is_running or health.outage for health in member.health.values())


@pytest.mark.parametrize("item", [Message("web", "a:0"), ("a",), None])
def test_a_message_without_its_key_is_refused_before_anything_is_written(
    server: Lab, name: str, item: Any
) -> None:
    producer = PartitionedProducer(server.redis, name, partitions=2)
    with pytest.raises(TypeError, match="messages must be pairs of a key and a message, as in"):
        producer.publish_many([*orders("a:0"), item])
    assert not any(server.redis.exists(each) for each in partition_streams(name, 2))


# ---------------------------------------------------------------- what a lab shows


def test_a_lab_shows_what_is_unread_and_who_reads_it(server: Lab, name: str) -> None:
    producer = PartitionedProducer(server.redis, name, partitions=2)
    placed = producer.publish_many(orders("a:0", "b:1", "c:2", "d:3", "e:4"))
    streams = partition_streams(name, 2)
    counts = [[place.stream for place in placed].count(stream) for stream in streams]
    assert all(counts)
    assert server.partitions(name).to_dict("list") == {
        "partition": streams, "length": counts, "lag": counts, "pending": [0, 0],
        "member": ["none", "none"],
    }  # fmt: skip
    handled = Handled()
    member = PartitionedConsumer(
        server.redis, name, "billing", partitions=2, member=0, of=2, block_ms=50
    )
    with running(member, handler=handled):
        server.wait_until(lambda: handled.count == counts[0], "its partition is handled")
        server.wait_until(lambda: not any(server.partitions(name)["pending"]), "acknowledged")
        table, picture = server.partitions(name), server.draw_partitions(name)
    assert [*table["lag"]] == [0, counts[1]]
    assert [*table["member"]] == ["member 0 of 2", "none"]
    assert picture.alt.endswith(
        f"the server: {streams[0]} with 0 not read, member 0 of 2; "
        f"{streams[1]} with {counts[1]} not read, no member."
    )
    with pytest.raises(RuntimeError, match=r"none of this has no partitions\. Publish with a"):
        server.draw_partitions("none of this")
