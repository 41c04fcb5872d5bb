"""Idempotent effects: once per key, although a message may be delivered more than once."""

import re
from collections.abc import Callable

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import NoPermissionError, RedisError, ResponseError, WatchError

from redisflow_lab._internal.backoff import transient_reason
from redisflow_lab._internal.checks import check_client, check_name, check_positive, name_part
from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.user_code import check_finished
from redisflow_lab.interfaces import Delivery, Handler, TransientError

Effect = Callable[[Pipeline, Delivery], object]
"""Queues Redis commands on a pipeline that is in MULTI. It must not execute the pipeline."""


def handle_once(
    effect: Effect,
    redis: Redis,
    scope: str,
    *,
    key: Callable[[Delivery], str] = lambda delivery: delivery.entry_id,
    remember_s: int = 7 * 24 * 3_600,
) -> Handler:
    """Make a handler whose effect in Redis happens once for each key.

    The effect and a mark that it has happened are written in one MULTI/EXEC, which watches
    the mark. So a crash leaves both or neither; and if two consumers handle the same message
    at the same time, one writes and the other finds the mark.

    effect:     called with a pipeline and the delivery; queues the commands of the effect
    redis:      a client of the server that holds the effect, which may be another one than
                that of the stream
    scope:      the mark is the key `<scope>:<key>`; usually "<stream>:done:<group>"
    key:        makes the key of a delivery. The entry id (default) deduplicates
                redeliveries, but not a message that was published twice. A colon in it is
                written as %3A
    remember_s: how long a mark is kept, in seconds (default: a week). A message that is
                delivered later than that, for example a dead letter that is redriven, has
                its effect again

    The mark is a key that expires. A server that may evict such keys (`maxmemory-policy`
    other than `noeviction`, and `volatile-*` first of all) may forget it earlier, and the
    effect happens again: let `redis` be a server with `noeviction`.

    Raises TypeError or ValueError for bad arguments. The handler raises what `effect` and
    `key` raise, and

    - TransientError while the server of the effect is down or full: an outage uses up no
      delivery
    - TypeError if `key` returns something other than text, or `effect` returns work that is
      still to be done
    - redis.ResponseError if a queued command fails

    Redis does not roll back: when a queued command fails, for example on a key of another
    type, the others have been carried out. The mark is then removed and the error raised, so
    the next delivery writes them again. A crash between the two leaves the mark.
    https://redis.io/docs/latest/develop/using-commands/transactions/

    On a Redis Cluster the mark and all keys of the effect must be in one slot.
    """
    if not callable(effect):
        raise TypeError(f"effect must be callable, not {type(effect).__name__}: {effect!r}")
    check_client(redis)
    scope = check_name("scope", scope)
    check_positive("remember_s", remember_s)

    def handle(delivery: Delivery) -> None:
        try:
            apply_once(delivery)
        except RedisError as error:
            reason = transient_reason(error)
            if reason is None:
                raise
            raise TransientError(f"{reason}: {error}") from error

    def apply_once(delivery: Delivery) -> None:
        mark = f"{scope}:{name_part(check_name('key', key(delivery)))}"
        with redis.pipeline() as pipeline:
            while True:
                pipeline.watch(mark)
                try:
                    if _is_mark(mark, pipeline.get(mark)):
                        return
                except WatchError:
                    continue  # redis-py raises it also for a connection that breaks here
                pipeline.multi()
                check_finished("effect", effect(pipeline, delivery))
                if not pipeline.explicit_transaction:
                    raise TypeError(
                        "effect has executed, reset or discarded the pipeline; it must only "
                        "queue commands, which happen together with the mark"
                    )
                pipeline.set(mark, delivery.entry_id, ex=remember_s)
                try:
                    replies = pipeline.execute(raise_on_error=False)
                    break
                except WatchError:
                    continue  # another consumer has just written the mark
                except ResponseError as error:
                    raise _explained(error) from None
        refused = [reply for reply in replies if isinstance(reply, ResponseError)]
        if refused:
            redis.delete(mark)  # we wrote it, and the effect is incomplete
            raise refused[0]

    return handle


def _is_mark(name: str, value: object) -> bool:
    """Whether the effect has happened. Raises ValueError if the key holds something else."""
    if value is None:
        return False
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    if re.fullmatch(r"\d+-\d+", text):
        return True
    raise ValueError(
        f"the key '{printable(name)}' holds no mark of handle_once, but "
        f"'{printable(text, 40)}'. Choose a scope that no other keys begin with"
    )


def _explained(error: ResponseError) -> ResponseError:
    """Without the permission for MULTI, redis-py reports what happens after it."""
    if "EXEC without MULTI" not in str(error):
        return error
    return NoPermissionError(
        "handle_once needs a transaction, and this user may not run 'MULTI'. Allow it. Until "
        "then the effect happens at each delivery"
    )
