"""A user who may not run one of the commands: it works all the same, or the error names it."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event as StopEvent

import pytest
import redis
from consumers import numbered, rows, running
from handlers import collect_into, collect_until, decline
from idle import deliver_to
from network import address_of
from readme import listed
from redis import Redis

from redisflow_lab import (
    Delivery,
    Message,
    NotReplicatedError,
    RedisStreamConsumer,
    RedisStreamProducer,
    handle_once,
)
from redisflow_lab.dead_letters import DeadLetters, Reason
from redisflow_lab.lab import Lab
from redisflow_lab.partitions import (
    PartitionedConsumer,
    PartitionedProducer,
    partition_streams,
)
from redisflow_lab.retention import trim

NEEDED = [
    "exec", "get", "multi", "set", "watch",
    "xack", "xadd", "xautoclaim", "xclaim", "xdel", "xlen", "xinfo|stream", "xpending",
    "xrange", "xreadgroup",
]  # fmt: skip
"""What README lists as needed."""
OPTIONAL = [
    "eval",
    "del",
    "type",
    "xgroup|create",
    "xgroup|delconsumer",
    "command",
]


@pytest.fixture
def without(own_lab: Lab) -> Callable[[str], Redis]:
    """A client of a user who may run every command but one."""

    def without(command: str) -> Redis:
        own_lab.redis.execute_command(
            "ACL", "SETUSER", "service", "reset", "on", ">pw", "~*", "+@all", f"-{command}"
        )
        return Redis(**{**address_of(own_lab), "username": "service", "password": "pw"})

    return without


@pytest.fixture
def prepared(own_lab: Lab) -> Iterator[Redis]:
    """A group that an administrator made, and an entry that another consumer left there."""
    r = own_lab.redis
    r.xgroup_create("orders", "billing", id="0", mkstream=True)
    RedisStreamProducer(r, "orders").publish(Message("web", "left"))
    r.xreadgroup("billing", "dead", {"orders": ">"})
    (row,) = r.xpending_range("orders", "billing", "-", "+", 1)
    r.xclaim("orders", "billing", "dead", 0, [row["message_id"]], idle=99_000, justid=True)
    return r


def use_everything(client: Redis, handled: list[str]) -> None:
    """Publish, consume, replay, claim, dead-letter, redrive, stop."""
    producer = RedisStreamProducer(client, "orders")
    producer.publish(Message("web", "a"))
    producer.publish_many([Message("web", "b"), Message("web", "poison")])
    once = handle_once(lambda pipeline, _: pipeline.incr("effects"), client, "done")
    stop = StopEvent()

    def handle(delivery: Delivery) -> None:
        content = delivery.message.content
        if content == "poison" and len(handled) < 4:
            raise ValueError("the card was declined")
        delivery.heartbeat()
        once(delivery)
        handled.append(content)

    alice = RedisStreamConsumer(
        client, "orders", "billing", "alice", max_deliveries=2, block_ms=20
    )
    alice.ensure_group()
    alice.take_over(handle)
    alice.read_new(handle)
    alice.replay_pending(handle)
    producer.publish(Message("web", "c"), key="c")
    producer.publish(Message("web", "c"), key="c")
    alice.read_new(handle)
    letters = DeadLetters(client, "orders")
    letters.redrive(*(letter.letter_id for letter in letters))
    assert len(letters) == 0
    stop.set()
    alice.read_new(handle)
    alice.leave()
    alice.run(handle, stop=stop)


EVERYTHING = ["left", "a", "b", "c", "poison"]


@pytest.mark.parametrize("command", [name for name in OPTIONAL if name != "eval"])
def test_it_works_without(
    prepared: Redis, without: Callable[[str], Redis], command: str
) -> None:
    handled: list[str] = []
    use_everything(without(command), handled)
    assert handled == EVERYTHING
    assert prepared.get("effects") == b"5"


def test_without_eval_only_a_publish_with_a_key_does_not_work(
    own_lab: Lab,
    prepared: Redis,
    without: Callable[[str], Redis],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = without("eval")
    producer = RedisStreamProducer(client, "orders")
    with pytest.raises(redis.exceptions.NoPermissionError, match=r"EVAL.* without a key"):
        producer.publish(Message("web", "c"), key="c")
    publish = RedisStreamProducer.publish
    seen: set[str] = set()

    def publish_once(
        self: RedisStreamProducer, message: Message, *, key: str | None = None
    ) -> str:
        if key in seen:
            return ""
        seen.update([key] if key else [])
        return publish(self, message)

    monkeypatch.setattr(RedisStreamProducer, "publish", publish_once)
    handled: list[str] = []
    use_everything(client, handled)
    assert handled == EVERYTHING
    assert rows(own_lab.groups(), "pending", "lag") == [[0, 0]]


def test_without_eval_a_trimmed_entry_is_dead_lettered_with_its_true_count(
    prepared: Redis, without: Callable[[str], Redis]
) -> None:
    (row,) = prepared.xpending_range("orders", "billing", "-", "+", 1)
    prepared.xclaim("orders", "billing", "alice", 0, [row["message_id"]], retrycount=3)
    prepared.xtrim("orders", maxlen=0, approximate=False)
    alice = RedisStreamConsumer(without("eval"), "orders", "billing", "alice")
    alice.replay_pending(lambda _: None)
    (letter,) = DeadLetters(prepared, "orders")
    assert (letter.reason, letter.deliveries) == (Reason.TRIMMED, 3)


@pytest.mark.parametrize("command", NEEDED)
def test_an_error_names_the_command_that_is_needed_and_nothing_is_lost(
    own_lab: Lab,
    prepared: Redis,
    without: Callable[[str], Redis],
    command: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    handled: list[str] = []
    client = without(command)
    said = error_of(lambda: use_everything(client, handled)) + caplog.text
    assert re.search(rf"\b{command.replace('|', '[| ]')}\b", said.lower())
    published = {"left", *(message.content for message in messages(own_lab))}
    RedisStreamProducer(own_lab.redis, "orders").publish(Message("web", "end"))
    alice = RedisStreamConsumer(
        own_lab.redis, "orders", "billing", "alice", min_idle_ms=1, block_ms=20
    )
    stop = StopEvent()
    alice.run(collect_until("end", handled, stop), stop=stop)
    dead = {
        Message.from_fields(dict(letter.fields)).content
        for letter in DeadLetters(own_lab.redis, "orders")
    }
    assert published <= {*handled, *dead}


@pytest.mark.parametrize("command", [name for name in NEEDED if name.startswith("x")])
def test_restarts_while_a_permission_is_missing_use_up_no_delivery(
    own_lab: Lab, without: Callable[[str], Redis], command: str
) -> None:
    """As of a service that is started again and again until somebody notices."""
    redis_of_all = own_lab.redis
    redis_of_all.xgroup_create("orders", "billing", id="0", mkstream=True)
    publish_numbered(redis_of_all, 6)
    deliver_to(own_lab, "orders", "alice", 4)
    client = without(command)
    handled: list[str] = []
    for _ in range(12):
        alice = RedisStreamConsumer(client, "orders", "billing", "alice", block_ms=20)
        stop = StopEvent()
        if "5" in handled:  # it works without
            break
        with suppress(redis.exceptions.NoPermissionError):
            alice.run(collect_until("5", handled, stop), stop=stop)
    assert len(DeadLetters(redis_of_all, "orders")) == 0
    stop = StopEvent()
    publish_numbered(redis_of_all, 1, first=6)
    alice = RedisStreamConsumer(redis_of_all, "orders", "billing", "alice", block_ms=20)
    alice.run(collect_until("6", handled, stop), stop=stop)
    assert {*handled} == {*map(str, range(7))}
    assert len(DeadLetters(redis_of_all, "orders")) == 0
    assert rows(own_lab.groups(), "pending", "lag") == [[0, 0]]


@pytest.mark.parametrize("also", ["+eval", "-eval"])
def test_a_poison_message_leaves_no_dead_letters_while_it_cannot_be_acknowledged(
    own_lab: Lab, without: Callable[[str], Redis], also: str
) -> None:
    own_lab.redis.xgroup_create("orders", "billing", id="0", mkstream=True)
    publish_numbered(own_lab.redis, 1)
    client = without("xack")
    own_lab.redis.execute_command("ACL", "SETUSER", "service", also)
    for _ in range(5):
        alice = RedisStreamConsumer(client, "orders", "billing", "alice", max_deliveries=1)
        for step in (alice.replay_pending, alice.read_new):
            with suppress(redis.exceptions.NoPermissionError):
                step(decline)
    assert own_lab.redis.xlen("orders:dead") == 0
    assert len(own_lab.pending()) == 1


def publish_numbered(redis: Redis, count: int, *, first: int = 0) -> None:
    messages = (Message("web", str(first + number)) for number in range(count))
    RedisStreamProducer(redis, "orders").publish_many(messages)


def test_the_permissions_that_the_readme_lists_are_enough(
    own_lab: Lab, prepared: Redis
) -> None:
    permissions = [
        *listed("To consume"), *listed("To publish"), *listed("To publish with a key"),
        *listed("To use `DeadLetters`"), *listed("To use `handle_once`"),
    ]  # fmt: skip
    keys = ["~orders", "~orders:dead", "~orders:published:*", "~done:*", "~effects"]
    own_lab.redis.execute_command(
        "ACL", "SETUSER", "service", "reset", "on", ">pw", *keys, *permissions, "+incrby"
    )
    client = Redis(**{**address_of(own_lab), "username": "service", "password": "pw"})
    handled: list[str] = []
    use_everything(client, handled)
    assert handled == EVERYTHING


def test_the_permissions_to_consume_that_the_readme_lists_are_enough(
    own_lab: Lab, prepared: Redis
) -> None:
    own_lab.redis.execute_command(
        "ACL", "SETUSER", "service", "reset", "on", ">pw", "~orders", "~orders:dead",
        *listed("To consume"),
    )  # fmt: skip
    client = Redis(**{**address_of(own_lab), "username": "service", "password": "pw"})
    RedisStreamProducer(prepared, "orders").publish(Message("web", "last"))
    handled: list[str] = []
    stop = StopEvent()
    RedisStreamConsumer(client, "orders", "billing", "alice", block_ms=20).run(
        collect_until("last", handled, stop), stop=stop
    )
    assert handled == ["left", "last"]


def test_the_permissions_for_partitions_that_the_readme_lists_are_enough(
    own_lab: Lab,
) -> None:
    permissions = [
        *listed("To consume"), *listed("To publish"), *listed("To publish with a key"),
        *listed("To use partitions"), *listed("To wait for replicas"),
        *listed("To trim, by a `Retention` or by `trim`"),
    ]  # fmt: skip
    keys = ["~{orders:*}*", "~orders:partitions"]
    own_lab.redis.execute_command(
        "ACL", "SETUSER", "service", "reset", "on", ">pw", *keys, *permissions
    )
    streams = partition_streams("orders", 2)
    for stream in streams:
        own_lab.redis.xgroup_create(stream, "billing", mkstream=True)
    client = Redis(**{**address_of(own_lab), "username": "service", "password": "pw"})
    web = PartitionedProducer(client, "orders", partitions=2)
    web.publish_many((content, Message("web", content)) for content in numbered(10))
    with pytest.raises(NotReplicatedError):
        web.publish(
            Message("web", "10"), partition_key="10", key="10", wait_replicas=1, wait_ms=10
        )
    handled: list[str] = []
    alice = PartitionedConsumer(
        client, "orders", "billing", partitions=2, member=0, of=1, block_ms=20
    )
    with running(alice, handler=collect_into(handled)):
        own_lab.wait_until(lambda: len(handled) == 11, "all are handled")
    assert sum(trim(client, each, acknowledged=True).removed for each in streams) == 11
    assert not any(own_lab.redis.keys("*:owner:*"))


@pytest.mark.parametrize("key", [None, "1001"])
def test_a_user_who_may_not_wait_for_replicas_is_told_before_anything_is_written(
    own_lab: Lab, without: Callable[[str], Redis], key: str | None
) -> None:
    producer = RedisStreamProducer(without("wait"), "orders")
    with pytest.raises(redis.exceptions.NoPermissionError, match=r"wait_replicas needs .*WAIT"):
        producer.publish(Message("web", "a"), key=key, wait_replicas=1)
    assert own_lab.redis.xlen("orders") == 0


def error_of(call: Callable[[], None]) -> str:
    """The text of the ResponseError that a call raises; empty if it raises none."""
    try:
        call()
    except redis.exceptions.ResponseError as error:
        return str(error)
    return ""


def messages(lab: Lab) -> list[Message]:
    return [Message.from_fields(fields) for _, fields in lab.redis.xrange("orders")]
