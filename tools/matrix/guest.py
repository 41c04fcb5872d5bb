"""Somebody's server: a password, a user who may touch only our keys, and keys of all types."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from redisflow_lab.lab.process import PrivateFolder
from redisflow_lab.lab.server.own import OwnServer
from redisflow_lab.lab.waiting import wait_until


class BadGuestError(Exception):
    """The course left a key, or changed one that is not ours."""


@contextmanager
def visited(binary: Path) -> Iterator[str]:
    """The URL of such a server, which this binary runs.

    Raises BadGuestError in the end if its keys are not as before.
    """
    folder = PrivateFolder()
    server = OwnServer(binary, "somebody's", folder.path / "server")
    try:
        redis = server.connect()
        password = secrets.token_urlsafe(16)
        furnish(redis, password)
        before = everything(redis)
        yield f"redis://learner:{password}@127.0.0.1:{server.port}/0"
        compare(redis, before)
    finally:
        server.close()
        folder.remove()


def compare(redis: Redis, before: dict[bytes, tuple[bytes | None, bool]]) -> None:
    """Raises BadGuestError unless everything is as before, or soon will be."""
    try:
        wait_until(lambda: everything(redis) == before, "its keys are as before")
    except TimeoutError:
        after = everything(redis)
        differ = [key for key in {*before, *after} if before.get(key) != after.get(key)]
        raise BadGuestError(f"left, changed or deleted: {sorted(differ)}") from None


def furnish(redis: Redis, password: str) -> None:
    """Keys of every type, some named nearly as ours, some as the streams of the chapters.

    And "learner", a user who may touch only our keys, without the dangerous commands.
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


def everything(redis: Redis) -> dict[bytes, tuple[bytes | None, bool]]:
    """Every key, byte for byte, and whether it expires."""
    keys = map(bytes, redis.scan_iter(count=1_000))
    return {key: (redis.dump(key), redis.ttl(key) > 0) for key in keys}
