"""Idempotent effects in Redis: deduplicated by key when a message is redelivered."""

import re
from collections.abc import Callable

from redis import Redis, RedisCluster
from redis.client import Pipeline
from redis.crc import key_slot
from redis.exceptions import (
    ClusterCrossSlotError,
    MovedError,
    NoPermissionError,
    RedisError,
    ResponseError,
    WatchError,
)

from redisflow_lab._internal.backoff import transient_reason
from redisflow_lab._internal.checks import check_client, check_name, check_positive, name_part
from redisflow_lab._internal.connection import slot_client
from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.slot import following
from redisflow_lab._internal.user_code import check_finished
from redisflow_lab.interfaces import Delivery, Handler, TransientError

Effect = Callable[[Pipeline, Delivery], object]
"""Queues Redis commands on a pipeline that is in MULTI, and does not execute it."""


def handle_once(
    effect: Effect,
    redis: Redis | RedisCluster,
    scope: str | Callable[[Delivery], str],
    *,
    key: Callable[[Delivery], str] | None = None,
    remember_s: int = 7 * 24 * 3_600,
) -> Handler:
    """Make a handler that applies an effect in Redis once for each key.

    One MULTI/EXEC writes the effect and a deduplication key, and WATCHes that key. So a crash
    leaves both or neither. If two consumers handle the same message at the same time, one of
    them writes, and the other finds the deduplication key.

    effect:     called with a pipeline and the delivery; queues the commands of the effect
    redis:      a client of the server, or the cluster, that holds the effect. It may be
                another one than that of the stream. If it is the same, give the client that
                the consumer has: behind Sentinel, it follows a failover together with it
    scope:      prefix of the deduplication key, which is `<scope>:<key>`; usually
                "<stream>:done:<group>". Or a function that returns it for a delivery: with
                partitions, `lambda delivery: f"{delivery.stream}:done:billing"
    key:        returns the key of a delivery. The entry id (default) deduplicates
                redeliveries, but not a message that was published twice. Entries of two
                streams may have the same id: so the stream is part of the key, with its colons
                written as %3A, unless the scope is "<stream>:done" or "<stream>:done:<group>"
    remember_s: when the deduplication key expires, in seconds (default: a week). A message
                that is delivered later than that, for example a dead letter that is redriven,
                has its effect again

    A server that may evict keys (`maxmemory-policy` other than `noeviction`, and above all
    `volatile-*`) may evict the deduplication key earlier, and then the effect happens again.
    So use a server with `noeviction`.

    Raises TypeError or ValueError for bad arguments. The handler raises what `effect` and
    `key` raise, and

    - TransientError while the server of the effect is down or full, so that an outage uses
      up no delivery
    - TypeError if `key` returns something other than text, or `effect` returns unfinished
      work, such as a coroutine
    - redis.ResponseError if a queued command fails

    Redis does not roll back: when one queued command fails, for example on a key of another
    type, the others have been executed. Then the deduplication key is deleted and the error
    raised, so that the next delivery executes all of them again. A crash between EXEC and
    that deletion leaves the key, and the failed command is not executed again.
    https://redis.io/docs/latest/develop/using-commands/transactions/

    In a Redis Cluster the deduplication key and all keys of the effect must be in one slot. So
    give the scope the hash tag of these keys, such as "{stock}:done:billing"; without one,
    ValueError is raised.
    """
    if not callable(effect):
        raise TypeError(f"effect must be callable, not {type(effect).__name__}: {effect!r}")
    check_client(redis)
    if not callable(scope):
        _check_scope(redis, scope)
    check_positive("remember_s", remember_s)
    clients: dict[int | None, Redis] = {}  # by slot; one, if there is no cluster

    def handle(delivery: Delivery) -> None:
        mark = mark_of(delivery)
        slot = key_slot(mark.encode()) if isinstance(redis, RedisCluster) else None
        if slot not in clients:
            clients[slot] = slot_client(redis, mark)
        client = clients[slot]
        try:
            following(client, lambda: apply_once(client, mark, delivery))
        except RedisError as error:
            if why := _misplaced(error, slot):
                raise ResponseError(why) from None
            reason = transient_reason(error)
            if reason is None:
                raise
            raise TransientError(f"{reason}: {error}") from error

    def mark_of(delivery: Delivery) -> str:
        prefix = scope
        if callable(prefix):
            prefix = prefix(delivery)
            _check_scope(redis, prefix)
        if key is not None:
            return f"{prefix}:{name_part(check_name('key', key(delivery)))}"
        if delivery.stream and not _names(prefix, delivery.stream):
            prefix = f"{prefix}:{name_part(delivery.stream)}"
        return f"{prefix}:{delivery.entry_id}"

    def apply_once(client: Redis, mark: str, delivery: Delivery) -> None:
        with client.pipeline() as pipeline:
            while True:
                pipeline.watch(mark)
                try:
                    if _is_mark(mark, pipeline.get(mark)):
                        return
                except WatchError:
                    continue  # redis-py also raises it if the connection breaks here
                pipeline.multi()
                check_finished("effect", effect(pipeline, delivery))
                if not pipeline.explicit_transaction:
                    raise TypeError(
                        "effect has executed, reset or discarded the pipeline; it must only "
                        "queue commands, which run together with the deduplication key"
                    )
                pipeline.set(mark, delivery.entry_id, ex=remember_s)
                try:
                    replies = pipeline.execute(raise_on_error=False)
                    break
                except WatchError:
                    continue  # another consumer has just written the deduplication key
                except ResponseError as error:
                    raise _explained(error) from None
        refused = [reply for reply in replies if isinstance(reply, ResponseError)]
        if refused:
            client.delete(mark)  # we wrote it, but the effect is incomplete
            raise refused[0]

    return handle


def _names(scope: str, stream: str) -> bool:
    """Whether a scope is of this stream, and of no other whose name begins or ends like it."""
    rest = scope.removeprefix(f"{stream}:done")
    return rest != scope and rest[:1] in ("", ":") and ":done" not in rest


def _check_scope(redis: Redis | RedisCluster, scope: str) -> None:
    """Raise ValueError if deduplication keys with this scope are in many slots of a cluster."""
    check_name("scope", scope)
    if not isinstance(redis, RedisCluster):
        return
    if key_slot(f"{scope}:a".encode()) != key_slot(f"{scope}:b".encode()):
        raise ValueError(
            f"scope must have a hash tag in a cluster, but it is {scope!r}: each deduplication "
            "key would be in another slot than the effect. Give it the hash tag of the keys "
            f"that the effect writes, such as '{{stock}}:{scope}'"
        )


def _misplaced(error: RedisError, slot: int | None) -> str | None:
    """Why the deduplication key and the effect cannot be written here; None for other errors.

    slot: of the deduplication key; None if the client is not of a cluster
    """
    match error:
        case MovedError() if slot is None:
            return (
                f"the deduplication key is on another node of a Redis Cluster, "
                f"{error.host}:{error.port}. Give handle_once a client of the whole "
                "cluster, a redis.RedisCluster"
            )
        case MovedError() if error.slot_id == slot:
            return None  # two nodes name each other while the slot moves
        case ClusterCrossSlotError() | MovedError() if slot is not None:
            return (
                f"the effect and its deduplication key are in different slots of the cluster: "
                f"{error}. Give the scope and all keys of the effect one hash tag, "
                "such as {stock}"
            )
    return None


def _is_mark(name: str, value: object) -> bool:
    """Whether the effect was applied. Raises ValueError if the key holds something else."""
    if value is None:
        return False
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    if re.fullmatch(r"\d+-\d+", text):
        return True
    raise ValueError(
        f"the key '{printable(name)}' was not written by handle_once: it holds "
        f"'{printable(text, 40)}'. Choose a scope that no other keys begin with"
    )


def _explained(error: ResponseError) -> ResponseError:
    """If MULTI is not permitted, redis-py only reports that EXEC fails: name the real cause."""
    if "EXEC without MULTI" not in str(error):
        return error
    return NoPermissionError(
        "handle_once needs a transaction, and this user may not run 'MULTI'. Allow it. Until "
        "then the effect happens at each delivery"
    )
