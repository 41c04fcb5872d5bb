"""Behind Sentinel, producers and consumers go over to the primary that it names."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from threading import Event as StopEvent
from threading import Thread

import pytest
from consumers import running
from redis import Redis
from redis.exceptions import RedisError, ResponseError
from redis.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from sentinels import SERVICE, Sentinels

from redisflow_lab import Message, RedisStreamConsumer, RedisStreamProducer
from redisflow_lab._internal.connection import stream_client
from redisflow_lab._internal.wire import CommandPipe, round_trip
from redisflow_lab.lab.waiting import wait_until

pytestmark = pytest.mark.usefixtures("process_server")


@pytest.mark.parametrize(
    ("settings", "kind"),
    [({}, SentinelManagedConnection), ({"ssl": True}, SentinelManagedSSLConnection)],
    ids=str,
)
@pytest.mark.parametrize("role", ["master_for", "slave_for"])
def test_the_kind_of_pool_is_kept(
    settings: dict[str, bool], kind: type[object], role: str
) -> None:
    sentinel = Sentinel([("127.0.0.1", 1)], password="secret")
    given = getattr(sentinel, role)(SERVICE, check_connection=True, **settings)
    pool = stream_client(given, "orders").connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool is not given.connection_pool
    assert (pool.service_name, pool.sentinel_manager) == (SERVICE, sentinel)
    assert (pool.is_master, pool.check_connection) == (role == "master_for", True)
    assert issubclass(pool.connection_class, kind)
    assert pool.connection_kwargs["password"] == "secret"
    assert pool.connection_kwargs["connection_pool"] is pool.proxy


def sentinel_of(sentinels: Sentinels) -> Sentinel:
    return Sentinel(
        [("127.0.0.1", sentinels.port)], socket_timeout=1.0, password=sentinels.password
    )


def fail_over(sentinels: Sentinels) -> int:
    """A planned failover: the old primary lives on. Returns the port of the new one."""
    sentinel = sentinel_of(sentinels)
    _, before = sentinel.discover_master(SERVICE)

    def begins() -> bool:
        try:
            Redis(port=sentinels.port).execute_command("SENTINEL", "FAILOVER", SERVICE)
        except ResponseError as error:
            if not str(error).startswith("NOGOODSLAVE"):  # it has not asked them yet
                raise
            return False
        return True

    wait_until(begins, "Sentinel begins the failover", timeout_s=30)
    named: list[int] = []

    def names_another() -> bool:
        try:
            named.append(sentinel.discover_master(SERVICE)[1])
        except RedisError:  # while it is being replaced
            return False
        return named[-1] != before

    wait_until(names_another, "Sentinel names the new primary", timeout_s=30)
    return named[-1]


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    with closing(Sentinels(tmp_path)) as sentinels:
        yield sentinels


def test_a_connection_that_finds_a_new_primary_closes_those_to_the_old_one(
    sentinels: Sentinels,
) -> None:
    """A planned failover leaves the old primary alive, and to a connection nothing happens."""
    client = stream_client(sentinel_of(sentinels).master_for(SERVICE), "orders")
    with ExitStack() as two:
        for _ in range(2):
            two.enter_context(closing(CommandPipe(client)))
    new = fail_over(sentinels)
    with ExitStack() as three:  # two of the old connections, and one more
        for _ in range(3):
            three.enter_context(closing(CommandPipe(client)))
    for _ in range(3):
        (port,) = round_trip(client, [("CONFIG", "GET", "port")])
        assert int(port[1]) == new


def test_keyed_publishes_go_on_at_the_new_primary_of_a_planned_failover(
    tmp_path: Path,
) -> None:
    """With a replica left, the new primary takes writes at once; the old one refuses them."""
    settings = "min-replicas-to-write 1\nmin-replicas-max-lag 2\n"
    with closing(Sentinels(tmp_path, replicas=2, settings=settings)) as sentinels:
        primary = sentinel_of(sentinels).master_for(SERVICE)
        producer = RedisStreamProducer(primary, "orders")
        published: list[str] = []
        stop = StopEvent()

        def publish() -> None:
            while not stop.is_set():
                key = str(len(published))
                with suppress(RedisError):  # and then the same key again
                    producer.publish(Message("web", key), key=key)
                    published.append(key)
                stop.wait(0.005)

        publishing = Thread(target=publish)
        publishing.start()
        try:
            wait_until(lambda: len(published) > 20, "it publishes")
            port = fail_over(sentinels)
            new = Redis(host="127.0.0.1", port=port, password=sentinels.password)
            # The old primary gets to know only after ten seconds that it is none any more.
            wait_until(lambda: published[-1] in contents(new), "it goes on there", timeout_s=5)
        finally:
            stop.set()
            publishing.join()


@pytest.mark.parametrize(
    "publish",
    [
        lambda producer: producer.publish(Message("web", "b")),
        lambda producer: producer.publish_many([Message("web", "b")]),
    ],
    ids=["publish", "publish_many"],
)
def test_a_connection_to_a_former_primary_is_closed_at_its_first_refusal(
    sentinels: Sentinels, publish: Callable[[RedisStreamProducer], object]
) -> None:
    client = sentinel_of(sentinels).master_for(SERVICE)
    producer = RedisStreamProducer(client, "orders")
    producer.publish(Message("web", "a"))
    client.replicaof("127.0.0.1", 1)
    (before,) = round_trip(producer._redis, [("CLIENT", "ID")])
    with pytest.raises(RedisError):
        publish(producer)
    (after,) = round_trip(producer._redis, [("CLIENT", "ID")])
    assert after != before


def contents(client: Redis) -> list[str]:
    return [Message.from_fields(fields).content for _, fields in client.xrange("orders")]


def test_a_name_that_no_sentinel_knows_is_waited_for_and_named(
    sentinels: Sentinels, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be known in a moment, so this is an outage, and says what is missing."""
    unknown = sentinel_of(sentinels).master_for("another")
    alice = RedisStreamConsumer(unknown, "orders", "billing", "alice")
    with running(alice, handler=lambda _: None):
        wait_until(
            lambda: alice.health.outage == "no Sentinel names a primary", "it says what it is"
        )
    assert "no Sentinel names a primary, retrying: No master found for 'another'" in caplog.text
