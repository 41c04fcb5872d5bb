"""A publish with a key is retried after each error that a consumer would wait for."""

import logging
import threading
from collections.abc import Callable

import pytest
import redis
from network import address_of, client_losing_answers_to
from redis import Redis

from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until

pytestmark = pytest.mark.usefixtures("process_server")


def setting(name: str, bad: str, good: str) -> tuple[Callable[[Lab], object], ...]:
    """Let this setting of the server be bad for a while."""
    return (
        lambda lab: lab.redis.config_set(name, bad),
        lambda lab: lab.redis.config_set(name, good),
    )


@pytest.mark.parametrize(
    ("begins", "ends", "says"),
    [
        (*setting("min-replicas-to-write", "1", "0"), "NOREPLICAS"),
        (*setting("maxmemory", "1", "0"), "maxmemory"),
        (
            lambda lab: lab.redis.replicaof("127.0.0.1", 1),
            lambda lab: lab.redis.replicaof("NO", "ONE"),
            "read only replica",
        ),
        (lambda lab: block_with_a_script(lab), lambda lab: lab.redis.script_kill(), "BUSY"),
    ],
    ids=["too few replicas", "out of memory", "a replica", "a script"],
)
def test_it_is_retried_while_the_server_refuses_writes(
    own_lab: Lab,
    caplog: pytest.LogCaptureFixture,
    begins: Callable[[Lab], object],
    ends: Callable[[Lab], object],
    says: str,
) -> None:
    producer = RedisStreamProducer(own_lab.redis, "orders")
    producer.publish(Message("web", "a"), key="1")
    begins(own_lab)

    def end() -> None:
        wait_until(lambda: "key 2 to orders" in caplog.text, "it was refused")
        ends(own_lab)

    ending = threading.Thread(target=end)
    ending.start()
    with caplog.at_level(logging.WARNING, logger="redisflow_lab.producer"):
        producer.publish(Message("web", "b"), key="2")
    ending.join()
    assert says in caplog.text
    assert own_lab.redis.xlen("orders") == 2


def block_with_a_script(lab: Lab) -> None:
    """A script that runs until it is killed."""
    lab.redis.config_set("busy-reply-threshold", 50)
    threading.Thread(target=run_until_killed, args=(lab,)).start()

    def is_busy() -> bool:
        try:
            lab.redis.ping()
        except redis.ResponseError as error:
            return str(error).startswith("BUSY ")
        return False

    wait_until(is_busy, "the server is busy")


def run_until_killed(lab: Lab) -> None:
    with pytest.raises(redis.ResponseError, match="killed"):
        Redis(**address_of(lab)).eval("while true do end", 0)


def test_it_is_retried_after_a_proxy_has_answered_and_written_once(
    lab: Lab, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    says = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"
    message = Message("web", "a")
    with client_losing_answers_to(stream.encode(), lab, times=3, instead=says) as client:
        entry_id = RedisStreamProducer(client, stream).publish(message, key="1")
    assert 'got "H" as reply type byte' in caplog.text
    assert [found.decode() for found, _ in lab.redis.xrange(stream)] == [entry_id]


def test_a_permanent_error_is_raised_at_the_first_try(
    lab: Lab, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    lab.redis.set(stream, "not a stream")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        RedisStreamProducer(lab.redis, stream).publish(Message("web", "a"), key="1")
    client = Redis(**{**address_of(lab), "password": "wrong"})
    with pytest.raises(redis.AuthenticationError):
        RedisStreamProducer(client, stream).publish(Message("web", "a"), key="1")
    assert "retrying" not in caplog.text
