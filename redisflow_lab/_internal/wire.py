"""Commands in one round trip, without what redis-py does around each of them."""

from collections.abc import Iterable
from typing import Any

from hiredis import pack_command
from redis import Redis
from redis.exceptions import ResponseError

Command = tuple[str | bytes | int, ...]


class Sent:
    """Commands that were sent, and whose replies nobody has read yet. Not a transaction.

    What `redis.pipeline(transaction=False)` does, in half the time (no object for each
    command, no callback for each reply), and in two halves: other work can be done
    meanwhile, also with `redis`, because this has a connection for itself until `replies`
    or `abandon` is called. Raises redis.ConnectionError or redis.TimeoutError.
    """

    def __init__(self, redis: Redis, commands: Iterable[Command]) -> None:
        # hiredis says that a command is a tuple of one; it takes any.
        packed = [pack_command(command) for command in commands]  # type: ignore[arg-type]
        self._replies = len(packed)
        self._pool = redis.connection_pool
        self._connection = self._pool.get_connection()
        try:
            self._connection.send_packed_command([b"".join(packed)])
        except BaseException:
            self.abandon()
            raise

    def replies(self) -> list[Any]:
        """All replies, as Redis answers them. Raises the first error reply among them.

        Also redis.ConnectionError or redis.TimeoutError: then nobody knows what was
        carried out.
        """
        try:
            replies = [self._next() for _ in range(self._replies)]
        except BaseException:
            self.abandon()
            raise
        self._pool.release(self._connection)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return replies

    def abandon(self) -> None:
        """Do without the replies. The server may have carried out the commands, or not."""
        self._connection.disconnect()  # they would be taken for those of the next command
        self._pool.release(self._connection)

    def _next(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as error:
            return error


def round_trip(redis: Redis, commands: Iterable[Command]) -> list[Any]:
    """Send all commands, then read all replies; see `Sent`."""
    return Sent(redis, commands).replies()
