"""An effect that happens once, although its message may be delivered more than once."""

from collections.abc import Callable

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import ResponseError

from redisflow_lab.checks import check_name, check_positive
from redisflow_lab.interfaces import Delivery, Handler

Effect = Callable[[Pipeline, Delivery], object]
"""Queues Redis writes on the pipeline, which is in MULTI; it must not execute them."""


def handle_once(
    effect: Effect,
    redis: Redis,
    scope: str,
    *,
    key: Callable[[Delivery], str] = lambda delivery: delivery.entry_id,
    remember_s: int = 7 * 24 * 3_600,
) -> Handler:
    """A handler whose effect happens once for each key.

    The effect and the mark that it happened are written in one MULTI/EXEC, which watches
    the mark: a crash leaves both or neither, and of two consumers that handle the same
    message at the same time, one writes and the other finds the mark.

    effect:     what to write
    redis:      a client of the server that the effect is written to; it need not be the
                one of the stream
    scope:      the marks are keys `<scope>:<key>`; usually "<stream>:done:<group>"
    key:        what makes two deliveries the same; the entry id knows a message that was
                delivered twice, but not one that was published twice
    remember_s: how long a mark stays, in seconds. A message that comes back later than
                that, from a dead letter for one, has its effect again

    Redis does not roll back. When a queued command fails by itself, on a key of another
    type for one, the rest of the effect is written; the mark is removed, the error raised.

    On a Redis Cluster the mark and all keys of the effect must be in one slot.
    """
    if not callable(effect):
        raise TypeError(f"effect must be callable, not {type(effect).__name__}: {effect!r}")
    check_name("scope", scope)
    check_positive("remember_s", remember_s)

    def handle(delivery: Delivery) -> None:
        mark = f"{scope}:{key(delivery)}"

        def write(pipeline: Pipeline) -> None:
            done = pipeline.exists(mark)
            pipeline.multi()
            if not done:
                effect(pipeline, delivery)
                pipeline.set(mark, delivery.entry_id, ex=remember_s)

        try:
            redis.transaction(write, mark)
        except ResponseError:
            redis.delete(mark)  # it must not pass for done
            raise

    return handle
