"""A network that loses, cuts and delays: at every command that a consumer sends."""

import pytest
from consumers import NewConsumer, Publish, numbered, rows, running
from idle import deliver_to, make_idle
from network import Fault, Plan, Proxy, at
from redis.client import Pipeline

from redisflow_lab import (
    Delivery,
    Message,
    RedisStreamConsumer,
    RedisStreamProducer,
    handle_once,
)
from redisflow_lab.dead_letters import DeadLetters
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until

FAULTS = {
    "does not arrive": Fault(is_ignored=True),
    "is answered, and the answer is lost": Fault(),
    "is answered too late": Fault(delay_s=0.3),
}
COMMANDS = ["CLIENT", "TYPE", "XREADGROUP", "XACK", "XPENDING", "XAUTOCLAIM", "EVAL"]
"""All that a consumer sends, from the handshake on. Redelivery, leases, dead letters and the
end of a name are scripts, so EVAL stands for each of them, and for a keyed publish."""


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_promise_is_kept_when_a_command(
    lab: Lab,
    stream: str,
    publish: Publish,
    consumer: NewConsumer,
    dead_letters: DeadLetters,
    command: str,
    fault: Fault,
) -> None:
    plan = at(f"\r\n{command}\r\n".encode(), fault, times=3)
    keep_every_promise(lab, stream, publish, consumer, dead_letters, plan)


def keep_every_promise(
    lab: Lab,
    stream: str,
    publish: Publish,
    consumer: NewConsumer,
    dead_letters: DeadLetters,
    plan: Plan,
) -> None:
    """Publish, replay, claim, read, fail, dead-letter and shut down in such a network."""
    good = ["replayed", "replayed too", "left", "left too", *numbered(20), "keyed"]
    effects = f"{stream}:effects"

    def effect(pipeline: Pipeline, delivery: Delivery) -> None:
        pipeline.hincrby(effects, delivery.message.content, 1)

    once = handle_once(effect, lab.redis, f"{stream}:done", key=content_of)

    def handle(delivery: Delivery) -> None:
        if content_of(delivery) == "poison":
            raise ValueError("the card was declined")
        once(delivery)

    bob = consumer("bob", min_idle_ms=200)
    publish(*good[:2])
    deliver_to(lab, stream, "alice", 2)
    ids = publish(*good[2:4])
    deliver_to(lab, stream, "carol", 2)
    make_idle(lab, stream, *ids)
    publish("poison", *numbered(20))
    with Proxy(lab, plan) as proxy:
        producer = RedisStreamProducer(proxy.client, stream)
        producer.publish(Message("web", "keyed"), key="keyed")
        options = {"min_idle_ms": 200, "max_deliveries": 6, "batch": 6, "ack_every": 3}
        alice = RedisStreamConsumer(
            proxy.client, stream, "billing", "alice", block_ms=20, **options
        )
        with running(alice, bob, handler=handle):
            wait_until(
                lambda: rows(lab.groups(stream), "pending", "lag") == [[0, 0]],
                "all is handled or dead-lettered",
            )
    assert proxy.faults > 0
    counts = {name.decode(): int(n) for name, n in lab.redis.hgetall(effects).items()}
    assert counts == dict.fromkeys(good, 1)
    letters = [Message.from_fields(dict(letter.fields)).content for letter in dead_letters]
    assert set(letters) == {"poison"}
    assert lab.redis.xlen(stream) == len(good) + 1


def content_of(delivery: Delivery) -> str:
    content: str = delivery.message.content
    return content
