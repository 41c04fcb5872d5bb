"""Pipelining for the hot paths: sends commands in one packet, and reads replies later."""

from collections import deque
from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from typing import Any, NoReturn

from hiredis import pack_command
from redis import Redis
from redis.connection import DefaultParser
from redis.exceptions import AskError, MovedError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from redisflow_lab._internal.slot import SlotPool, on_another_node, redirections

_WAIT = b"*3\r\n$4\r\nWAIT\r\n"

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

    Commands that a node of a cluster redirects were not executed. They are sent again where
    their slot is now, in the order in which they were sent first.

    redis: a client from `connection.stream_client`

    The pipe owns its connection until `close`, which the caller must always call; `redis` can
    be used in the meantime. Each method may raise redis.ConnectionError or
    redis.TimeoutError. Then the server may or may not have executed the unanswered commands.
    """

    def __init__(self, redis: Redis) -> None:
        self._pool = redis.connection_pool
        self._connection: Any = self._pool.get_connection()  # has `read_reply`: ReplyParser
        self._unanswered: deque[list[bytes]] = deque()  # packets, as lists of packed commands
        self._answered: deque[list[Any]] = deque()  # the replies to a packet each

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
        self._unanswered.append(packed)
        self._connection.send_packed_command([b"".join(packed)], check_health=check_health)

    def receive(self) -> list[Any]:
        """Return the replies to the oldest unanswered packet, as Redis sent them.

        If there are errors among them, raises the first one after reading all replies.
        """
        if self._answered:
            replies = self._answered.popleft()
            errors = _errors_in(replies)
        else:
            replies = _read(self._connection, len(self._unanswered[0]))
            errors = _errors_in(replies)
            if isinstance(self._pool, SlotPool) and any(map(_is_redirection, errors)):
                self._follow(self._pool, replies)
                return self.receive()
            self._unanswered.popleft()
        if errors:
            self._raise(errors[0])
        return replies

    def _raise(self, error: ResponseError) -> NoReturn:
        if isinstance(error, ReadOnlyError):
            # This server was the primary. The next connection asks Sentinel, or DNS, for
            # the current one. redis-py's Sentinel connection does so in `read_response`.
            self._connection.disconnect()
        if isinstance(error, AskError) and not isinstance(self._pool, SlotPool):
            raise on_another_node(error)
        raise error

    def _follow(self, pool: SlotPool, replies: list[Any]) -> None:
        """Send what was redirected again, also of the later packets: that keeps their order."""
        packets = [*self._unanswered]
        answers = [replies, *(_read(self._connection, len(packet)) for packet in packets[1:])]
        commands = [command for packet in packets for command in packet]
        replies = [reply for answer in answers for reply in answer]
        for _ in redirections():
            places = _redirected(commands, replies)
            if not places:
                break
            again = self._send_again(pool, [commands[at] for at in places], replies[places[0]])
            for at, reply in zip(places, again, strict=True):
                replies[at] = reply
        in_order = iter(replies)
        self._answered.extend([*islice(in_order, len(packet))] for packet in packets)
        self._unanswered.clear()

    def _send_again(
        self, pool: SlotPool, commands: list[bytes], redirection: AskError
    ) -> list[Any]:
        if isinstance(redirection, MovedError):
            pool.moved(redirection)
            self._connection.disconnect()
            self._connection.connect()
            self._connection.send_packed_command([b"".join(commands)])
            return _read(self._connection, len(commands))
        asking = pack_command(("ASKING",))
        with pool.asking(redirection) as connection:
            connection.send_packed_command([b"".join(asking + each for each in commands)])
            return _read(connection, 2 * len(commands))[1::2]

    @property
    def in_flight(self) -> int:
        """The number of packets whose replies have not been received."""
        return len(self._unanswered) + len(self._answered)

    def close(self) -> None:
        """Return the connection to its pool; discard the replies that were not received."""
        if self._unanswered:
            self._connection.disconnect()  # else the next user reads these replies as its own
            self._unanswered.clear()
        self._pool.release(self._connection)


def _errors_in(replies: list[Any]) -> list[ResponseError]:
    return [reply for reply in replies if isinstance(reply, ResponseError)]


def _redirected(commands: list[bytes], replies: list[Any]) -> list[int]:
    """Which commands to send elsewhere: those that were redirected, and a WAIT behind one.

    WAIT is about the last write of its connection, and no node redirects it.
    """
    places: list[int] = []
    for at, (command, reply) in enumerate(zip(commands, replies, strict=True)):
        if _is_redirection(reply) or (command.startswith(_WAIT) and places[-1:] == [at - 1]):
            places.append(at)
    return places


def _is_redirection(reply: Any) -> bool:
    return isinstance(reply, AskError)  # redis-py derives MovedError from it


def _read(connection: Any, count: int) -> list[Any]:
    """The next replies, which may be errors. Raises redis.ConnectionError."""
    read = connection.read_reply
    try:
        return [read() for _ in range(count)]
    except OSError as error:
        raise RedisConnectionError(f"connection lost while reading: {error}") from error


def round_trip(redis: Redis, commands: Iterable[Command]) -> list[Any]:
    """Send all commands in one packet, then return all replies; see `CommandPipe`."""
    with closing(CommandPipe(redis)) as pipe:
        pipe.send(commands)
        return pipe.receive()
