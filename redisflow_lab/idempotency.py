"""An effect that happens once, although its message may be delivered more than once."""

from collections.abc import Callable

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import ResponseError, WatchError

from redisflow_lab._internal.checks import check_name, check_positive
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
    type for one, the rest of the effect is written, and written again at the next delivery:
    the mark is removed and the error raised. A crash at this very moment leaves the mark.

    On a Redis Cluster the mark and all keys of the effect must be in one slot.
    """
    if not callable(effect):
        raise TypeError(f"effect must be callable, not {type(effect).__name__}: {effect!r}")
    check_name("scope", scope)
    check_positive("remember_s", remember_s)

    def handle(delivery: Delivery) -> None:
        mark = f"{scope}:{key(delivery)}"

        with redis.pipeline() as pipeline:
            while True:
                pipeline.watch(mark)
                try:
                    if pipeline.exists(mark):
                        return
                except WatchError:
                    continue  # what redis-py calls it when the connection breaks here
                pipeline.multi()
                effect(pipeline, delivery)
                pipeline.set(mark, delivery.entry_id, ex=remember_s)
                try:
                    replies = pipeline.execute(raise_on_error=False)
                    break
                except WatchError:
                    continue  # somebody else writes it at this moment
        refused = [reply for reply in replies if isinstance(reply, ResponseError)]
        if refused:
            redis.delete(mark)  # it is ours, and must not pass for done
            raise refused[0]

    return handle
