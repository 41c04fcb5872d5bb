"""Many commands in one packet, without what redis-py does around each of them."""

from collections import deque
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from hiredis import pack_command
from redis import Redis
from redis.exceptions import ResponseError

Command = tuple[str | bytes | int, ...]


class CommandPipe:
    """A connection for commands whose replies are read later, in the order they were sent.

    Does what `redis.pipeline(transaction=False)` does, without an object for each command
    and a callback for each reply (half the time), and in two halves, so that other work is
    done while the server answers. It is no transaction.

    The connection is its own until `close`, which the caller owes in every case; `redis` can
    be used meanwhile. Each method raises redis.ConnectionError or redis.TimeoutError: then
    the server may have carried out the commands that are unanswered, or not.
    """

    def __init__(self, redis: Redis) -> None:
        self._pool = redis.connection_pool
        self._connection = self._pool.get_connection()
        self._unanswered: deque[int] = deque()  # how many commands each `send` sent

    def send(self, commands: Iterable[Command]) -> None:
        """Send these commands in one packet."""
        # hiredis says that a command is a tuple of one; it takes any.
        packed = [pack_command(command) for command in commands]  # type: ignore[arg-type]
        self._unanswered.append(len(packed))
        self._connection.send_packed_command([b"".join(packed)])

    def receive(self) -> list[Any]:
        """The replies to the oldest `send` that has none yet, as Redis answers them.

        Raises the first error reply among them.
        """
        replies = [self._reply() for _ in range(self._unanswered[0])]
        self._unanswered.popleft()
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return replies

    def _reply(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as error:
            return error

    def close(self) -> None:
        """Give the connection back, and discard the replies that were not read."""
        if self._unanswered:
            self._connection.disconnect()  # or the next command would read them
            self._unanswered.clear()
        self._pool.release(self._connection)


def round_trip(redis: Redis, commands: Iterable[Command]) -> list[Any]:
    """Send all commands, then read all replies; see `CommandPipe`."""
    with closing(CommandPipe(redis)) as pipe:
        pipe.send(commands)
        return pipe.receive()
