"""Pipelining for the hot paths: sends commands in one packet, and reads replies later."""

from collections import deque
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from hiredis import pack_command
from redis import Redis
from redis.connection import DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError

Command = tuple[str | bytes | int, ...]


class ReplyParser(DefaultParser):  # type: ignore[misc, valid-type]  # a variable
    """redis-py's parser, which also lets its connection read a reply without overhead.

    `Connection.read_response` costs more per reply than parsing it. That does not matter in a
    single round trip, but it does in a batch of 500 short replies. `make bench` shows the
    gain, together with that of `CommandPipe.send_each`, as "packing and parsing".
    """

    def on_connect(self, connection: Any) -> None:
        super().on_connect(connection)
        connection.read_reply = self.read_response


class CommandPipe:
    """A connection for commands whose replies are read later, in the order they were sent.

    It does the same as `redis.pipeline(transaction=False)` in half the time, because it makes
    no object for each command and calls no callback for each reply. Sending and receiving are
    two calls, so that the caller can work while the server does. It is not a transaction.

    redis: a client from `connection.stream_client`

    The pipe owns its connection until `close`, which the caller must always call; `redis` can
    be used in the meantime. Each method may raise redis.ConnectionError or
    redis.TimeoutError. Then the server may or may not have executed the unanswered commands.
    """

    def __init__(self, redis: Redis) -> None:
        self._pool = redis.connection_pool
        self._connection: Any = self._pool.get_connection()  # has `read_reply`: ReplyParser
        self._unanswered: deque[int] = deque()  # the number of commands in each packet

    def send(self, commands: Iterable[Command]) -> None:
        """Send these commands in one packet."""
        # hiredis declares a tuple of one item, and accepts any length.
        self._send([pack_command(command) for command in commands])  # type: ignore[arg-type]

    def send_each(self, command: Command, arguments: Iterable[bytes]) -> None:
        """Send `command` once for each argument, which becomes its last; all in one packet.

        Five times as fast as packing each whole command, because everything but the last
        argument is packed only once. https://redis.io/docs/latest/develop/reference/protocol-spec/#bulk-strings
        """
        start = pack_command((*command, b"")).removesuffix(b"0\r\n\r\n")  # type: ignore[arg-type]
        self._send([b"%b%d\r\n%b\r\n" % (start, len(last), last) for last in arguments])

    def _send(self, packed: list[bytes]) -> None:
        # A health check sends PING, and would mistake the oldest unread reply for its answer.
        check_health = not self._unanswered
        self._unanswered.append(len(packed))
        self._connection.send_packed_command([b"".join(packed)], check_health=check_health)

    def receive(self) -> list[Any]:
        """Return the replies to the oldest unanswered packet, as Redis sent them.

        If there are errors among them, raises the first one after reading all replies.
        """
        read = self._connection.read_reply
        try:
            replies = [read() for _ in range(self._unanswered[0])]
        except OSError as error:
            raise RedisConnectionError(f"connection lost while reading: {error}") from error
        self._unanswered.popleft()
        for reply in replies:
            if isinstance(reply, ReadOnlyError):
                # This server was the primary. The next connection asks Sentinel, or DNS, for
                # the current one. redis-py's Sentinel connection does so in `read_response`.
                self._connection.disconnect()
            if isinstance(reply, ResponseError):
                raise reply
        return replies

    @property
    def in_flight(self) -> int:
        """The number of packets whose replies have not been received."""
        return len(self._unanswered)

    def close(self) -> None:
        """Return the connection to its pool; discard the replies that were not received."""
        if self._unanswered:
            self._connection.disconnect()  # else the next user reads these replies as its own
            self._unanswered.clear()
        self._pool.release(self._connection)


def round_trip(redis: Redis, commands: Iterable[Command]) -> list[Any]:
    """Send all commands in one packet, then return all replies; see `CommandPipe`."""
    with closing(CommandPipe(redis)) as pipe:
        pipe.send(commands)
        return pipe.receive()
