"""What the system promises, end to end: real processes, real kills, a real server."""

import json
import signal
import subprocess
import sys

from consumers import NewConsumer, Publish
from network import address_of
from redis import Redis

from redisflow_lab import Delivery, Message, RedisStreamProducer
from redisflow_lab.interfaces import Handler
from redisflow_lab.lab import Lab


def billing_on(client: Redis, invoices: str) -> Handler:
    """A handler whose side effect is an invoice in Redis."""

    def bill(delivery: Delivery) -> None:
        client.rpush(invoices, delivery.message.content)

    return bill


def listed(lab: Lab, invoices: str) -> list[str]:
    return [invoice.decode() for invoice in lab.redis.lrange(invoices, 0, -1)]


def publish_to(lab: Lab, stream: str, *contents: str) -> None:
    RedisStreamProducer(lab.redis, stream).publish_many(Message("web", c) for c in contents)


def test_a_running_consumer_handles_messages_as_they_are_published(
    lab: Lab, stream: str, publish: Publish
) -> None:
    invoices = f"{stream}:invoices"
    alice = lab.worker("alice", billing_on(lab.redis, invoices), stream=stream)
    publish("a", "b")
    alice.wait_for("acked", 2)
    publish("c")
    alice.wait_for("acked", 3)
    assert alice.stop() == "exit 0"
    assert listed(lab, invoices) == ["a", "b", "c"]
    assert lab.groups(stream)[["pending", "lag"]].values.tolist() == [[0, 0]]


def test_messages_wait_in_the_stream_while_the_consumer_is_offline(
    lab: Lab, stream: str, publish: Publish
) -> None:
    invoices = f"{stream}:invoices"
    bill = billing_on(lab.redis, invoices)
    publish("a")
    first = lab.worker("alice", bill, stream=stream)
    first.wait_for("acked", 1)
    first.stop()
    publish("b", "c")
    assert lab.groups(stream)[["pending", "lag"]].values.tolist() == [[0, 2]]
    second = lab.worker("alice", bill, stream=stream)
    second.wait_for("acked", 2)
    second.stop()
    assert listed(lab, invoices) == ["a", "b", "c"]


def test_messages_stay_pending_when_a_consumer_is_killed_before_it_acknowledges(
    lab: Lab, stream: str, publish: Publish
) -> None:
    invoices = f"{stream}:invoices"
    ids = publish("a", "b", "c")
    bill = billing_on(lab.redis, invoices)
    alice = lab.worker("alice", bill, stream=stream, crash="before-ack", after=2)
    assert alice.wait_end() == "SIGKILL"
    assert listed(lab, invoices) == ["a", "b"]
    table = lab.pending(stream)
    assert list(table["entry_id"]) == ids[1:]
    assert set(table["consumer"]) == {"alice"}


def test_pending_messages_are_replayed_before_new_ones(
    lab: Lab, stream: str, publish: Publish
) -> None:
    invoices = f"{stream}:invoices"
    bill = billing_on(lab.redis, invoices)
    publish("a", "b", "c")
    lab.worker("alice", bill, stream=stream, crash="before-ack").wait_end()
    publish("new")
    again = lab.worker("alice", bill, stream=stream)
    again.wait_for("acked", 4)
    again.stop()
    assert listed(lab, invoices) == ["a", "a", "b", "c", "new"]
    acked = again.events.query("kind == 'acked'")
    assert list(acked["deliveries"]) == [2, 2, 2, 1]
    assert len(lab.pending(stream)) == 0


def test_the_other_producer_and_the_consumer_go_on_when_a_producer_is_killed(
    lab: Lab, stream: str
) -> None:
    """The producers are processes: workers that forward their own stream's entries."""
    invoices = f"{stream}:invoices"
    client = lab.redis

    def forward(delivery: Delivery) -> None:
        RedisStreamProducer(client, stream).publish(delivery.message)

    alice = lab.worker("alice", billing_on(client, invoices), stream=stream)
    web = lab.worker("web", forward, stream=f"{stream}:web", group="out")
    mobile = lab.worker("mobile", forward, stream=f"{stream}:mobile", group="out")
    publish_to(lab, f"{stream}:web", "w1")
    publish_to(lab, f"{stream}:mobile", "m1")
    alice.wait_for("acked", 2)
    assert web.kill() == "SIGKILL"
    publish_to(lab, f"{stream}:mobile", "m2", "m3")
    alice.wait_for("acked", 4)
    assert sorted(listed(lab, invoices)) == ["m1", "m2", "m3", "w1"]
    assert [mobile.stop(), alice.stop()] == ["exit 0", "exit 0"]


def test_a_consumer_restarts_while_a_producer_is_offline(
    lab: Lab, stream: str, publish: Publish
) -> None:
    invoices = f"{stream}:invoices"
    bill = billing_on(lab.redis, invoices)
    publish("w1", producer="web")
    publish("m1", producer="mobile")
    lab.worker("alice", bill, stream=stream, crash="after-delivery").wait_end()
    publish("m2", producer="mobile")  # web is offline, and so is alice
    assert listed(lab, invoices) == []
    alice = lab.worker("alice", bill, stream=stream)
    publish("m3", producer="mobile")
    alice.wait_for("acked", 4)
    alice.stop()
    assert listed(lab, invoices) == ["w1", "m1", "m2", "m3"]


def test_a_killed_server_keeps_entries_and_pending_list(own_lab: Lab, publish: Publish) -> None:
    bill = billing_on(own_lab.redis, "invoices")
    ids = publish("a", "b", "c")
    own_lab.worker("alice", bill, crash="before-ack", after=2).wait_end()
    own_lab.server.kill()
    own_lab.server.start()
    assert own_lab.stream("orders")["length"].tolist() == [3]
    assert list(own_lab.pending("orders")["entry_id"]) == ids[1:]
    publish("d")
    alice = own_lab.worker("alice", bill)
    alice.wait_for("acked", 3)
    alice.stop()
    assert listed(own_lab, "invoices") == ["a", "b", "b", "c", "d"]


def test_each_crash_point_is_at_the_instruction_of_its_name(lab: Lab, stream: str) -> None:
    expected = {"after-delivery": (0, 1), "before-ack": (1, 1), "after-ack": (1, 0)}
    for crash, (invoiced, still_pending) in expected.items():
        key = f"{stream}:{crash}"
        publish_to(lab, key, "a")
        bill = billing_on(lab.redis, f"{key}:invoices")
        worker = lab.worker("alice", bill, stream=key, crash=crash)
        assert worker.wait_end() == signal.SIGKILL.name
        found = (len(listed(lab, f"{key}:invoices")), len(lab.pending(key)))
        assert found == (invoiced, still_pending), crash


PRODUCER = """
import json, sys
from threading import Event
from redis import Redis
from redisflow_lab import Message, RedisStreamProducer
address, stream, name = json.load(sys.stdin)
producer = RedisStreamProducer(Redis(**address), stream)
number = 0
while True:
    producer.publish(Message(name, f"{name} {number}"))
    number += 1
    Event().wait(0.005)  # a slow machine has to keep up with it
"""


def producer_process(lab: Lab, stream: str, name: str) -> subprocess.Popen[bytes]:
    """A process that publishes until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", PRODUCER], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(json.dumps([address_of(lab), stream, name]).encode())
    process.stdin.close()
    return process


def test_a_producer_killed_while_it_writes_stops_no_other_process(
    lab: Lab, stream: str
) -> None:
    invoices = f"{stream}:invoices"
    alice = lab.worker("alice", billing_on(lab.redis, invoices), stream=stream)
    web, mobile = (producer_process(lab, stream, name) for name in ("web", "mobile"))
    try:
        lab.wait_until(
            lambda: {bill.split()[0] for bill in listed(lab, invoices)} == {"web", "mobile"},
            "bills of both",
            timeout_s=30,
        )
        web.kill()
        assert web.wait() == -signal.SIGKILL
        before = sum(bill.startswith("mobile") for bill in listed(lab, invoices))
        lab.wait_until(
            lambda: sum(b.startswith("mobile") for b in listed(lab, invoices)) > before + 50,
            "more bills of the one that is running",
        )
        assert alice.count("failed") == 0
    finally:
        for process in (web, mobile):
            process.kill()
            process.wait()
    alice.wait_for("acked", lab.redis.xlen(stream), timeout_s=60)
    alice.stop()
    written = [Message.from_fields(fields).content for _, fields in lab.redis.xrange(stream)]
    assert listed(lab, invoices) == written  # all of them, in order, once


def test_the_same_producer_and_consumer_go_on_after_the_server_was_killed(
    own_lab: Lab, consumer: NewConsumer
) -> None:
    producer = RedisStreamProducer(own_lab.redis, "orders")
    alice = consumer(block_ms=50)
    ids = producer.publish_many(Message("web", str(number)) for number in range(100))
    seen: list[Delivery] = []
    alice.read_new(seen.append)
    for _ in range(2):
        own_lab.server.kill()
        own_lab.server.start()
    ids.append(producer.publish(Message("web", "100")))
    while alice.read_new(seen.append):
        pass
    assert [delivery.entry_id for delivery in seen] == ids
    assert own_lab.groups("orders")[["pending", "lag"]].values.tolist() == [[0, 0]]
