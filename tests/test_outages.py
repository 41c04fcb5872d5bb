"""A consumer in `run` survives what happens to the server, and logs each outage once."""

import logging
import threading
from collections.abc import Callable
from itertools import groupby
from threading import Event as StopEvent

import pytest
import redis
from consumers import NewConsumer, Publish, running
from handlers import collect_into, collect_until
from network import address_of, client_losing_answers_to
from redis import Redis

from redisflow_lab import Delivery, RedisStreamConsumer
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until

PREFIX = "alice of billing on orders: "
HTTP_503 = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the consumer logged as a warning, without the words that each line begins with."""
    return [
        record.getMessage().removeprefix(PREFIX)
        for record in caplog.records
        if record.name == "redisflow_lab.consumer" and record.levelno >= logging.WARNING
    ]


def test_the_loop_goes_on_after_the_server_was_killed_and_started(
    own_lab: Lab, publish: Publish, consumer: NewConsumer, caplog: pytest.LogCaptureFixture
) -> None:
    handled: list[str] = []
    publish("a")
    with running(consumer(), handler=collect_into(handled)):
        for number in range(2):
            wait_until(lambda number=number: len(handled) == number + 1, "handled")
            own_lab.server.kill()
            wait_until(
                lambda number=number: (
                    sum("is lost" in line for line in warnings(caplog)) > number
                ),
                "it has noticed",
            )
            own_lab.server.start()
            publish(f"after {number}")
        wait_until(lambda: len(handled) == 3, "all is handled")
    assert handled == ["a", "after 0", "after 1"]
    lines = warnings(caplog)
    said = [line.split(",")[0].split(" after")[0] for line in lines]
    # A server that is met while it loads its data is named, too, and may hang up again.
    other = [line for line in said if line != "the server is loading its data"]
    assert [line for line, _ in groupby(other)] == ["the connection is lost", "recovered"] * 2


def test_a_completed_message_is_not_handled_again_after_a_failed_acknowledgement(
    own_lab: Lab, publish: Publish, consumer: NewConsumer, caplog: pytest.LogCaptureFixture
) -> None:
    """The server dies between the handler and the acknowledgement, this process does not."""
    publish("a", "b")
    handled: list[str] = []

    def handle(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        if delivery.message.content == "a":
            own_lab.server.kill()

    with running(consumer(), handler=handle):
        wait_until(lambda: bool(warnings(caplog)), "the acknowledgement failed")
        own_lab.server.start()
        wait_until(lambda: "b" in handled, "b is handled")
        wait_until(lambda: len(own_lab.pending()) == 0, "nothing is pending")
    assert handled == ["a", "b"]


def test_a_lost_connection_costs_a_failed_message_no_delivery(
    own_lab: Lab, publish: Publish, consumer: NewConsumer, caplog: pytest.LogCaptureFixture
) -> None:
    """Each replay is a delivery: a shaky network must not use them up."""
    publish("bad", "good")
    handled: list[str] = []

    def handle(delivery: Delivery) -> None:
        if delivery.message.content == "bad":
            raise ValueError("no")
        handled.append(delivery.message.content)

    with running(consumer(), handler=handle):
        for number in range(8):
            wait_until(lambda number=number: len(handled) == number + 1, "it is handled")
            wait_until(lambda: len(own_lab.pending()) == 1, "only one is pending")
            own_lab.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            publish(f"good {number}")
        wait_until(lambda: len(handled) == 9, "all are handled")
        wait_until(lambda: len(own_lab.pending()) == 1, "the last one is acknowledged")
        assert list(own_lab.pending()["deliveries"]) == [1]
    assert len(own_lab.dead_letters()) == 0


def test_a_stream_that_vanishes_is_created_again(
    own_lab: Lab, publish: Publish, consumer: NewConsumer, caplog: pytest.LogCaptureFixture
) -> None:
    handled: list[str] = []
    publish("a")
    with running(consumer(), handler=collect_into(handled)):
        wait_until(lambda: handled == ["a"], "a is handled")
        own_lab.redis.flushall()
        publish("b")
        wait_until(lambda: handled == ["a", "b"], "b is handled")
    assert warnings(caplog)[0].startswith("the stream or its group has vanished, retrying")


def test_the_loop_goes_on_after_the_server_was_a_replica_for_a_while(
    own_lab: Lab, publish: Publish, consumer: NewConsumer, caplog: pytest.LogCaptureFixture
) -> None:
    """READONLY is what a client is told that is still connected to the old primary."""
    primary = Lab("own")
    try:
        handled: list[str] = []
        publish("a")
        with running(consumer(), handler=collect_into(handled)):
            wait_until(lambda: handled == ["a"], "a is handled")
            address = address_of(primary)
            own_lab.redis.config_set("masterauth", address["password"])
            own_lab.redis.replicaof(address["host"], address["port"])
            wait_until(lambda: warnings(caplog), "it has noticed")
            own_lab.redis.replicaof("NO", "ONE")
            publish("b")
            wait_until(lambda: handled == ["a", "b"], "b is handled")
        assert any(
            "the server is a replica" in line or "vanished" in line for line in warnings(caplog)
        )
    finally:
        primary.close()


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        (
            lambda lab: lab.redis.config_set("min-replicas-to-write", 1),
            lambda lab: lab.redis.config_set("min-replicas-to-write", 0),
        ),
        (lambda lab: cannot_save(lab), lambda lab: lab.redis.config_set("save", "")),
    ],
    ids=["too few replicas", "no snapshot"],
)
@pytest.mark.usefixtures("process_server")
def test_the_loop_goes_on_after_the_server_refused_writes(
    own_lab: Lab,
    publish: Publish,
    consumer: NewConsumer,
    caplog: pytest.LogCaptureFixture,
    begins: Callable[[Lab], object],
    ends: Callable[[Lab], object],
) -> None:
    handled: list[str] = []
    publish("a")
    with running(consumer(), handler=collect_into(handled)):
        wait_until(lambda: handled == ["a"], "a is handled")
        begins(own_lab)
        wait_until(lambda: warnings(caplog), "it has noticed")
        ends(own_lab)
        publish("b")
        wait_until(lambda: handled == ["a", "b"], "b is handled")


def cannot_save(lab: Lab) -> None:
    """What a full disk does: a snapshot fails, and the server refuses writes from then on."""
    (lab.server.folder / "dump.rdb").mkdir()  # type: ignore[attr-defined]
    lab.redis.config_set("save", "3600 1")
    lab.redis.bgsave()
    wait_until(
        lambda: lab.redis.info("persistence")["rdb_last_bgsave_status"] == "err", "it failed"
    )


def test_the_loop_goes_on_after_a_script_kept_the_server_busy(
    own_lab: Lab, publish: Publish, consumer: NewConsumer, caplog: pytest.LogCaptureFixture
) -> None:
    own_lab.redis.config_set("busy-reply-threshold", 50)
    publish("a", "b")
    handled: list[str] = []
    script = threading.Thread(target=lambda: Redis(**address_of(own_lab)).eval(BUSY_1_S, 0))

    def handle(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        if len(handled) == 1:
            script.start()
            wait_until(lambda: is_busy(own_lab), "the server is busy")

    with running(consumer(), handler=handle):
        wait_until(lambda: handled[-1:] == ["b"], "b is handled")
        script.join()
    assert "a script keeps the server busy" in warnings(caplog)[0]


BUSY_1_S = """
local function now() local t = redis.call('TIME') return t[1] + t[2] / 1e6 end
local until_s = now() + 1
while now() < until_s do end
"""


def is_busy(lab: Lab) -> bool:
    try:
        lab.redis.ping()
    except redis.ResponseError as error:
        return str(error).startswith("BUSY ")
    return False


def test_the_loop_goes_on_after_the_server_was_out_of_memory(
    own_lab: Lab, publish: Publish, consumer: NewConsumer, caplog: pytest.LogCaptureFixture
) -> None:
    """A dead letter needs memory. Without it, its message stays pending."""
    publish("bad")
    handled: list[str] = []

    def handle(delivery: Delivery) -> None:
        if delivery.message.content == "bad":
            own_lab.redis.config_set("maxmemory", "1")
            raise ValueError("no")
        handled.append(delivery.message.content)

    with running(consumer(max_deliveries=1), handler=handle):
        wait_until(lambda: "dead letters cannot be written" in caplog.text, "it has noticed")
        own_lab.redis.config_set("maxmemory", "0")
        publish("good")
        wait_until(lambda: handled == ["good"], "the good one is handled")
    assert caplog.text.count("dead letters cannot be written") == 1
    letters = own_lab.dead_letters()
    assert letters[["deliveries", "reason"]].values.tolist() == [[1, "failed"]]


def test_a_consumer_starts_on_a_server_that_is_full(
    own_lab: Lab, publish: Publish, consumer: NewConsumer
) -> None:
    """Consumers are what empties it. The server refuses XGROUP CREATE, and nothing else."""
    consumer()
    publish("a", "b")
    own_lab.redis.config_set("maxmemory", "1")
    handled: list[str] = []
    stop = StopEvent()
    alice = RedisStreamConsumer(own_lab.redis, "orders", "billing", "alice", block_ms=20)
    alice.run(collect_until("b", handled, stop), stop=stop)
    own_lab.redis.config_set("maxmemory", "0")
    assert handled == ["a", "b"]
    assert len(own_lab.pending()) == 0


@pytest.mark.parametrize("command", [b"XREADGROUP", b"XACK"])
def test_the_loop_goes_on_after_a_proxy_has_answered_in_the_place_of_the_server(
    own_lab: Lab,
    publish: Publish,
    consumer: NewConsumer,
    caplog: pytest.LogCaptureFixture,
    command: bytes,
) -> None:
    """A load balancer whose server is away says so in HTTP."""
    handled: list[str] = []
    publish("a")
    consumer()  # makes the group
    with client_losing_answers_to(command, own_lab, times=2, instead=HTTP_503) as client:
        alice = RedisStreamConsumer(client, "orders", "billing", "alice", block_ms=20)
        with running(alice, handler=collect_into(handled)):
            wait_until(lambda: handled == ["a"], "a is handled")
            wait_until(lambda: len(own_lab.pending()) == 0, "a is acknowledged")
            publish("b")
            wait_until(lambda: handled == ["a", "b"], "b is handled")
    assert 'got "H" as reply type byte' in warnings(caplog)[0]
    assert warnings(caplog)[0].startswith("the connection is broken, retrying")


def test_a_refused_password_is_raised(own_lab: Lab) -> None:
    settings = {**address_of(own_lab), "password": "wrong"}
    consumer = RedisStreamConsumer(Redis(**settings), "orders", "billing", "alice")
    with pytest.raises(redis.AuthenticationError):
        consumer.run(lambda _: None, stop=threading.Event())
