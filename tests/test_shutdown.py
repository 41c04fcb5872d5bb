"""A consumer shuts down gracefully: it finishes one message and hands over the rest."""

from threading import Event as StopEvent
from threading import Timer

import pytest
from consumers import NewConsumer, Publish, numbered, rows, running
from handlers import collect_into, collect_until, decline, decline_only
from idle import deliver_to
from network import Fault, Proxy, address_of, at
from redis import Redis

from redisflow_lab import Delivery, TransientError
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until


def test_a_stop_finishes_the_current_message_and_starts_no_other(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    publish(*numbered(4))
    stop = StopEvent()
    handled: list[str] = []
    consumer(batch=2).run(collect_until("0", handled, stop), stop=stop)
    assert handled == ["0"]
    assert rows(lab.groups(stream), "pending", "lag") == [[1, 2]]


def test_what_was_not_begun_can_be_claimed_at_once_after_a_shutdown(
    publish: Publish, consumer: NewConsumer
) -> None:
    alice, bob = consumer("alice"), consumer("bob")
    publish(*numbered(3))
    stop = StopEvent()
    handled: list[str] = []
    alice.run(collect_until("0", handled, stop), stop=stop)
    assert handled == ["0"]
    bob.take_over(collect_into(handled))  # at once: no idle time to wait for
    assert handled == ["0", "1", "2"]


def test_leave_removes_a_consumer_only_when_nothing_is_pending_with_it(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    alice = consumer("alice")
    publish("0")
    alice.read_new(decline)
    assert alice.leave() is False
    assert list(lab.consumers(stream)["consumer"]) == ["alice"]
    alice.replay_pending(lambda _: None)
    assert alice.leave() is True
    assert len(lab.consumers(stream)) == 0


def test_the_steps_of_an_interrupted_run_ignore_its_stop(
    publish: Publish, consumer: NewConsumer
) -> None:
    publish("0", "1")
    alice = consumer()
    stop = StopEvent()

    def stop_and_interrupt(_: Delivery) -> None:
        stop.set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alice.run(stop_and_interrupt, stop=stop)
    handled: list[str] = []
    alice.replay_pending(collect_into(handled))
    assert handled == ["0", "1"]


def test_a_stop_ends_the_loop_while_the_server_is_down(
    own_lab: Lab, publish: Publish, consumer: NewConsumer
) -> None:
    publish("a")
    handled: list[str] = []
    with running(consumer(), handler=collect_into(handled)) as stop:
        wait_until(lambda: handled == ["a"], "a is handled")
        own_lab.server.kill()
        stop.set()
    own_lab.server.start()


def test_an_interrupt_ends_the_loop_while_the_server_is_down(
    own_lab: Lab, publish: Publish, consumer: NewConsumer
) -> None:
    """A completed message cannot be acknowledged then, and that is not retried forever."""
    publish("a", "b")

    def interrupt(delivery: Delivery) -> None:
        if delivery.message.content == "b":
            own_lab.server.kill()
            raise KeyboardInterrupt

    stop = StopEvent()
    too_late = Timer(2, stop.set)
    too_late.start()
    with pytest.raises(KeyboardInterrupt):
        consumer(ack_every=10).run(interrupt, stop=stop)
    too_late.cancel()
    own_lab.server.start()


def test_what_a_replay_has_not_begun_can_be_claimed_at_once(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    alice, bob = consumer("alice", batch=5), consumer("bob", batch=100)
    publish(*numbered(30))
    deliver_to(lab, stream, "alice", 30)
    handled: list[str] = []
    stop = StopEvent()
    alice.run(collect_until("7", handled, stop), stop=stop)
    assert handled == numbered(8)
    bob.take_over(collect_into(handled))
    assert handled == numbered(30)


def test_what_an_outage_has_interrupted_can_be_claimed_at_once(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    """The stop comes while the consumer waits to try again."""
    bob = consumer("bob", batch=100)
    publish(*numbered(10))
    handled: list[str] = []
    stop = StopEvent()
    with Proxy(lab, at(b"XACK", Fault(), times=1)) as proxy:
        alice = consumer("alice", redis=proxy.client)

        def handle(delivery: Delivery) -> None:
            handled.append(delivery.message.content)
            stop.set()

        alice.run(handle, stop=stop)
    assert handled == ["0"]
    bob.take_over(collect_into(handled))
    assert handled == numbered(10)


def test_a_message_that_has_failed_is_handed_over_too(
    publish: Publish, consumer: NewConsumer
) -> None:
    alice, bob = consumer("alice"), consumer("bob")
    publish("0", "1")
    handled: list[str] = []
    with running(alice, handler=decline_only("0", handled)):
        wait_until(lambda: handled == ["1"], "the other is handled")
    bob.take_over(collect_into(handled))
    assert handled == ["1", "0"]


def test_names_that_are_left_over_can_be_removed(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    alice = consumer("alice")
    publish("0")
    deliver_to(lab, stream, "killed with an entry", 1)
    for number in range(3):
        consumer(f"killed-{number}")
    assert alice.remove_idle_consumers(60_000) == []
    wait_until(lambda: lab.consumers(stream)["idle_ms"].min() >= 20, "all are idle for 20 ms")
    assert sorted(alice.remove_idle_consumers(20)) == ["killed-0", "killed-1", "killed-2"]
    assert sorted(lab.consumers(stream)["consumer"]) == ["alice", "killed with an entry"]
    with pytest.raises(ValueError, match="idle_ms must be at least 1"):
        alice.remove_idle_consumers(0)


@pytest.mark.parametrize("permissions", ["+@all", "+@all -eval"])
@pytest.mark.parametrize("batch", [1, 4])
def test_restarts_use_up_no_delivery(
    own_lab: Lab, publish: Publish, consumer: NewConsumer, batch: int, permissions: str
) -> None:
    """Neither of what was not begun, nor of what waits for a transient error."""
    own_lab.redis.execute_command(
        "ACL", "SETUSER", "service", "reset", "on", ">pw", "~*", *permissions.split()
    )
    client = Redis(**{**address_of(own_lab), "username": "service", "password": "pw"})
    publish(*numbered(4))

    def wait(_: Delivery) -> None:
        stop.set()
        raise TransientError("the database is down")

    for _ in range(6):
        stop = StopEvent()
        consumer("alice", redis=client, batch=batch, max_deliveries=2).run(wait, stop=stop)
    assert set(own_lab.pending()["deliveries"]) == {1}
    handled: list[str] = []
    stop = StopEvent()
    alice = consumer("alice", redis=client, batch=batch, max_deliveries=2)
    alice.run(collect_until("3", handled, stop), stop=stop)
    assert handled == numbered(4)


def test_a_restart_does_not_forget_that_a_message_has_failed(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer
) -> None:
    publish("0", "1")
    stop = StopEvent()

    def handle(_: Delivery) -> None:
        stop.set()
        raise ValueError("the card was declined")

    for _ in range(3):
        stop.clear()
        consumer("alice").run(handle, stop=stop)
    assert lab.pending(stream)["deliveries"].tolist() == [3, 1]
