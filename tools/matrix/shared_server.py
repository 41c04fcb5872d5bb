"""A server with other people's keys of every type, and a user limited to our prefix."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from redisflow_lab.lab.process import PrivateFolder
from redisflow_lab.lab.server.own import OwnServer
from redisflow_lab.lab.waiting import wait_until


class KeysChangedError(Exception):
    """The course left a key behind, or changed one that is not its own."""


@contextmanager
def shared_server(binary: Path) -> Iterator[str]:
    """Start a shared server from this binary, and yield its URL.

    Raises KeysChangedError at the end if the keys differ from those at the beginning.
    """
    folder = PrivateFolder()
    server = OwnServer(binary, "a shared server", folder.path / "server")
    try:
        redis = server.connect()
        password = secrets.token_urlsafe(16)
        populate(redis, password)
        before = all_keys(redis)
        yield f"redis://learner:{password}@127.0.0.1:{server.port}/0"
        compare(redis, before)
    finally:
        server.close()
        folder.remove()


def compare(redis: Redis, before: dict[bytes, tuple[bytes | None, bool]]) -> None:
    """Raise KeysChangedError unless the keys are as `before`, or soon become so."""
    try:
        wait_until(lambda: all_keys(redis) == before, "its keys are as before")
    except TimeoutError:
        after = all_keys(redis)
        differ = [key for key in {*before, *after} if before.get(key) != after.get(key)]
        raise KeysChangedError(f"left, changed or deleted: {sorted(differ)}") from None


def populate(redis: Redis, password: str) -> None:
    """Write keys of every type, some with names close to ours or to those in the chapters.

    Also create the user "learner", limited to our prefix and to commands that are not
    dangerous: the ACL that the README documents.
    """
    redis.acl_setuser(
        "learner",
        enabled=True,
        passwords=[f"+{password}"],
        keys=["redisflow:*"],
        commands=["+@all", "-@dangerous"],
    )
    redis.set("somebody's", "value", ex=36_000)
    redis.set(b"\xff\x00", b"\xff")
    redis.set("redisflow", "a name that is nearly ours")
    redis.hset("redisflowers", mapping={"rose": "1", "tulip": "2"})
    redis.rpush("list", *range(200))
    redis.sadd("set", "a", "b")
    redis.zadd("sorted set", {"a": 1.5})
    redis.setbit("bits", 1_000, 1)
    redis.pfadd("visitors", "a", "b")
    redis.geoadd("places", (13.4, 52.5, "Berlin"))
    for stream in ("orders", "orders:dead", "many", "invoices"):
        redis.xadd(stream, {"data": b"\x00\xff"}, id="1-0")
    redis.xgroup_create("orders", "billing", id="0")
    redis.xreadgroup("billing", "alice", {"orders": ">"})


def all_keys(redis: Redis) -> dict[bytes, tuple[bytes | None, bool]]:
    """Every key with its value, byte for byte, and whether it expires."""
    keys = map(bytes, redis.scan_iter(count=1_000))
    return {key: (redis.dump(key), redis.ttl(key) > 0) for key in keys}
