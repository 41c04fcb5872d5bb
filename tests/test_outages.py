"""The loop goes on where it was, whatever happens to the server, and says so once."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis
from network import address_of
from redis import Redis

from redisflow_lab import Delivery, Message, RedisStreamConsumer, RedisStreamProducer
from redisflow_lab._internal.backoff import Backoff, transient_reason
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until
from redisflow_lab.signals import stop_on_signals

WHO = "alice of billing on orders: "


@contextmanager
def running(
    lab: Lab, handler: Callable[[Delivery], object], **options: object
) -> Iterator[threading.Event]:
    """A consumer in a thread, stopped and joined at the end; what it raised is raised."""
    stop = threading.Event()
    raised: list[BaseException] = []
    consumer = RedisStreamConsumer(
        lab.redis,
        "orders",
        "billing",
        "alice",
        **{"block_ms": 50, **options},  # type: ignore[arg-type]
    )

    def run() -> None:
        try:
            consumer.run(handler, stop=stop)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()
        if raised:
            raise raised[0]


def collecting(into: list[str]) -> Callable[[Delivery], None]:
    return lambda delivery: into.append(delivery.message.content)


def write(lab: Lab, *contents: str) -> None:
    RedisStreamProducer(lab.redis, "orders").publish_many(Message("web", c) for c in contents)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage().removeprefix(WHO)
        for record in caplog.records
        if record.name == "redisflow_lab.consumer" and record.levelno >= logging.WARNING
    ]


def test_a_killed_server_that_comes_back(
    own_lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    handled: list[str] = []
    write(own_lab, "a")
    with running(own_lab, collecting(handled)):
        for number in range(2):
            wait_until(lambda number=number: len(handled) == number + 1, "handled")
            own_lab.server.kill()
            wait_until(
                lambda number=number: sum("is lost" in line for line in said(caplog)) > number,
                "it noticed",
            )
            own_lab.server.start()
            write(own_lab, f"after {number}")
        wait_until(lambda: len(handled) == 3, "all is handled")
    assert handled == ["a", "after 0", "after 1"]
    lines = said(caplog)
    assert [line.split(",")[0].split(" after")[0] for line in lines] == [
        "the connection is lost",
        "recovered",
    ] * 2


def test_what_was_handled_and_not_acknowledged_is_not_handled_again(
    own_lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """The server dies between the handler and the acknowledgement, this process does not."""
    write(own_lab, "a", "b")
    handled: list[str] = []

    def handle(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        if delivery.message.content == "a":
            own_lab.server.kill()

    with running(own_lab, handle):
        wait_until(lambda: bool(said(caplog)), "the acknowledgement failed")
        own_lab.server.start()
        wait_until(lambda: "b" in handled, "b is handled")
        wait_until(lambda: len(own_lab.pending("orders")) == 0, "nothing is pending")
    assert handled == ["a", "b"]


def test_a_message_that_failed_waits_its_time_also_when_connections_break(
    own_lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """Each replay is a delivery: a shaky network must not use them up."""
    write(own_lab, "bad", "good")
    handled: list[str] = []

    def handle(delivery: Delivery) -> None:
        if delivery.message.content == "bad":
            raise ValueError("no")
        handled.append(delivery.message.content)

    with running(own_lab, handle):
        for number in range(8):
            wait_until(lambda number=number: len(handled) == number + 1, "it is handled")
            wait_until(lambda: len(own_lab.pending("orders")) == 1, "only one is pending")
            own_lab.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            write(own_lab, f"good {number}")
        wait_until(lambda: len(handled) == 9, "all are handled")
        assert list(own_lab.pending("orders")["deliveries"]) == [1]
    assert len(own_lab.dead_letters("orders")) == 0


def test_a_stream_that_vanishes_is_made_again(
    own_lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    handled: list[str] = []
    write(own_lab, "a")
    with running(own_lab, collecting(handled)):
        wait_until(lambda: handled == ["a"], "a is handled")
        own_lab.redis.flushall()
        write(own_lab, "b")
        wait_until(lambda: handled == ["a", "b"], "b is handled")
    assert said(caplog)[0].startswith("the stream or its group has vanished, retrying")


def test_a_server_that_is_demoted_and_promoted_again(
    own_lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """READONLY is what a client is told that is still connected to the old primary."""
    primary = Lab("own")
    try:
        handled: list[str] = []
        write(own_lab, "a")
        with running(own_lab, collecting(handled)):
            wait_until(lambda: handled == ["a"], "a is handled")
            address = address_of(primary)
            own_lab.redis.config_set("masterauth", address["password"])
            own_lab.redis.replicaof(address["host"], address["port"])
            wait_until(lambda: said(caplog), "it noticed")
            own_lab.redis.replicaof("NO", "ONE")
            write(own_lab, "b")
            wait_until(lambda: handled == ["a", "b"], "b is handled")
        assert any(
            "the server is a replica" in line or "vanished" in line for line in said(caplog)
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
def test_a_server_that_refuses_to_write_is_waited_for(
    own_lab: Lab,
    caplog: pytest.LogCaptureFixture,
    begins: Callable[[Lab], object],
    ends: Callable[[Lab], object],
) -> None:
    handled: list[str] = []
    write(own_lab, "a")
    with running(own_lab, collecting(handled)):
        wait_until(lambda: handled == ["a"], "a is handled")
        begins(own_lab)
        wait_until(lambda: said(caplog), "it noticed")
        ends(own_lab)
        write(own_lab, "b")
        wait_until(lambda: handled == ["a", "b"], "b is handled")


def cannot_save(lab: Lab) -> None:
    """What a full disk does: a snapshot fails, and the server refuses writes from then on."""
    (lab.server.folder / "dump.rdb").mkdir()  # type: ignore[attr-defined]
    lab.redis.config_set("save", "3600 1")
    lab.redis.bgsave()
    wait_until(
        lambda: lab.redis.info("persistence")["rdb_last_bgsave_status"] == "err", "it failed"
    )


def test_a_script_that_keeps_the_server_busy_is_waited_for(
    own_lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    own_lab.redis.config_set("busy-reply-threshold", 50)
    write(own_lab, "a", "b")
    handled: list[str] = []
    script = threading.Thread(target=lambda: Redis(**address_of(own_lab)).eval(BUSY_1_S, 0))

    def handle(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        if len(handled) == 1:
            script.start()
            wait_until(lambda: is_busy(own_lab), "the server is busy")

    with running(own_lab, handle):
        wait_until(lambda: handled[-1:] == ["b"], "b is handled")
        script.join()
    assert "a script keeps the server busy" in said(caplog)[0]


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


def test_a_server_that_is_full_is_waited_for(
    own_lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """A dead letter needs memory. Without it, its message stays pending."""
    write(own_lab, "bad")
    handled: list[str] = []

    def handle(delivery: Delivery) -> None:
        if delivery.message.content == "bad":
            own_lab.redis.config_set("maxmemory", "1")
            raise ValueError("no")
        handled.append(delivery.message.content)

    with running(own_lab, handle, max_deliveries=1):
        wait_until(lambda: said(caplog), "it noticed")
        own_lab.redis.config_set("maxmemory", "0")
        write(own_lab, "good")
        wait_until(lambda: handled == ["good"], "the good one is handled")
    assert "the server is out of memory" in said(caplog)[0]
    letters = own_lab.dead_letters("orders")
    assert letters[["deliveries", "reason"]].values.tolist() == [[2, "unfinished"]]


def test_a_password_that_is_refused_ends_the_loop(own_lab: Lab) -> None:
    settings = {**address_of(own_lab), "password": "wrong"}
    consumer = RedisStreamConsumer(Redis(**settings), "orders", "billing", "alice")
    with pytest.raises(redis.AuthenticationError):
        consumer.run(lambda _: None, stop=threading.Event())


def test_a_stop_ends_the_loop_also_while_the_server_is_down(own_lab: Lab) -> None:
    write(own_lab, "a")
    handled: list[str] = []
    with running(own_lab, collecting(handled)) as stop:
        wait_until(lambda: handled == ["a"], "a is handled")
        own_lab.server.kill()
        stop.set()
    own_lab.server.start()


def test_an_interrupt_ends_the_loop_also_while_the_server_is_down(own_lab: Lab) -> None:
    """There is something to acknowledge, which fails, and that would be sat out."""
    write(own_lab, "a", "b")

    def interrupted(delivery: Delivery) -> None:
        if delivery.message.content == "b":
            own_lab.server.kill()
            raise KeyboardInterrupt

    consumer = RedisStreamConsumer(own_lab.redis, "orders", "billing", "alice", ack_every=10)
    stop = threading.Event()
    too_late = threading.Timer(2, stop.set)
    too_late.start()
    with pytest.raises(KeyboardInterrupt):
        consumer.run(interrupted, stop=stop)
    too_late.cancel()
    own_lab.server.start()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (redis.ConnectionError("gone"), "the connection is lost"),
        (redis.TimeoutError("slow"), "the server does not answer"),
        (redis.exceptions.BusyLoadingError("LOADING"), "the server is loading its data"),
        (redis.ReadOnlyError("READONLY"), "the server is a replica"),
        (redis.exceptions.OutOfMemoryError("OOM"), "the server is out of memory"),
        (redis.ResponseError("NOGROUP no such"), "the stream or its group has vanished"),
        (redis.ResponseError("UNBLOCKED the"), "the stream or its group has vanished"),
        (redis.ResponseError("BUSY Redis is busy running"), "a script keeps the server busy"),
        (redis.ResponseError("MISCONF Redis is"), "the server cannot write to its disk"),
        (redis.ResponseError("NOREPLICAS Not"), "the server has too few replicas"),
        (redis.exceptions.ClusterDownError("The cluster is down"), "the cluster is down"),
        (redis.exceptions.MasterDownError("Link with"), "the server has lost its primary"),
        (
            redis.ResponseError("Command # 1 (XADD x) of pipeline caused error: MISCONF Redis"),
            "the server cannot write to its disk",
        ),
        (
            redis.exceptions.ExecAbortError("Transaction discarded because of: MISCONF Redis"),
            "the server cannot write to its disk",
        ),
        (redis.ResponseError("BUSYKEY Target key name already exists."), None),
        (redis.ResponseError("WRONGTYPE"), None),
        (redis.AuthenticationError("no"), None),
        (redis.exceptions.NoPermissionError("NOPERM"), None),
    ],
)
def test_transient_errors_have_a_reason_and_permanent_ones_none(
    error: redis.RedisError, reason: str | None
) -> None:
    assert transient_reason(error) == reason


def test_one_line_for_each_change_and_not_for_each_try(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stop = threading.Event()
    stop.set()  # does not wait
    backoff = Backoff(logging.getLogger("test"), "alice")
    for error in [redis.ConnectionError("gone")] * 3 + [redis.TimeoutError("slow")] * 3:
        backoff.wait_or_raise(error, stop)
    backoff.reset()
    backoff.reset()
    assert [record.getMessage() for record in caplog.records] == [
        "alice: the connection is lost, retrying: gone",
        "alice: the server does not answer, retrying: slow",
        "alice: recovered after 6 tries",
    ]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        backoff.wait_or_raise(redis.ResponseError("WRONGTYPE"), stop)


def test_an_outage_of_hours_is_sat_out_like_one_of_seconds() -> None:
    stop = threading.Event()
    stop.set()  # does not wait
    backoff = Backoff(logging.getLogger("test"), "alice")
    for _ in range(2_000):
        backoff.wait_or_raise(redis.ConnectionError("gone"), stop)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_to_stop_and_the_second_one_insists(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    insisted: list[int] = []
    signal.signal(number, lambda *_: insisted.append(1))
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), number)
            wait_until(stop.is_set, "the first is seen")
            os.kill(os.getpid(), number)
            wait_until(lambda: insisted == [1], "the second does what it did before")
    finally:
        signal.signal(number, before)


def test_another_thread_does_not_wait_for_a_blocked_reader(own_lab: Lab) -> None:
    """A client with a single connection is given; the consumer brings its own."""
    one = Redis(**address_of(own_lab), max_connections=1, single_connection_client=True)
    consumer = RedisStreamConsumer(one, "orders", "billing", "alice", block_ms=60_000)
    consumer.ensure_group()
    reading = threading.Thread(target=consumer.read_new, args=(lambda _: None,))
    reading.start()
    wait_until(
        lambda: any("xreadgroup" in c["cmd"] for c in own_lab.redis.client_list()), "it reads"
    )
    assert one.ping()
    RedisStreamProducer(one, "orders").publish(Message("web", "a"))
    reading.join(5)
    assert not reading.is_alive()
