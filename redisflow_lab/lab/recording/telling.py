"""A Redis client that reports each command that it sends, with the reply."""

from collections.abc import Callable
from typing import Any, cast

from redis import Redis
from redis.client import Pipeline

Tell = Callable[[tuple[Any, ...], Any], None]
"""Called after each command, with its arguments and the reply."""


class TellingRedis(Redis):
    """A Redis client that calls `tell` after each command."""

    tell: Tell

    def execute_command(self, *args: Any, **options: Any) -> Any:
        reply = super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        self.tell(args, reply)
        return reply

    def client(self) -> Redis:
        client = cast(TellingRedis, super().client())  # type: ignore[no-untyped-call]
        client.tell = self.tell
        return client

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        pipeline = TellingPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )
        pipeline.tell = self.tell
        return pipeline


def tell_of(redis: Redis, tell: Tell) -> Redis:
    """A `TellingRedis` on the connections of this client, which must not be used again."""
    redis.auto_close_connection_pool = False
    client = cast(TellingRedis, TellingRedis.from_pool(redis.connection_pool))
    client.tell = tell
    return client


class TellingPipeline(Pipeline):
    tell: Tell

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        sent = [args for args, _ in self.command_stack]
        replies: list[Any] = super().execute(raise_on_error)
        for args, reply in zip(sent, replies, strict=True):
            self.tell(args, reply)
        return replies
