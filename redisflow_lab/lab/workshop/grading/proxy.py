"""A proxy between a program and the server, which sees each command first."""

import select
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any
from weakref import WeakSet

import hiredis
from redis.exceptions import RedisError

from redisflow_lab.lab.workshop.exercise import NotYetError

Command = list[bytes]
Plan = Callable[[Command], Command | None]
"""Returns the command to send, changed or not; None closes the connection and sends nothing."""


def forward(command: Command) -> Command:
    """The plan that sends every command unchanged."""
    return command


_HANDSHAKE = (b"HELLO", b"AUTH", b"CLIENT", b"SELECT", b"COMMAND", b"INFO")
_INCOMPLETE = object()


class CommandProxy:
    """Forwards each command of a connection, and its reply, before the next command.

    So a program that pipelines commands can be killed between any two of them.

    server:  host and port
    plan:    called with each command, except those that only set up a connection
    port:    where it listens, on 127.0.0.1
    refused: how many connections found no server
    """

    def __init__(self, server: tuple[str, int], plan: Plan) -> None:
        self._server, self._plan = server, plan
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.refused = 0
        self._open: WeakSet[socket.socket] = WeakSet()
        Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop listening, and shut down every connection; its own thread closes it."""
        for connection in [self._listener, *self._open]:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            self._open.add(client)
            Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._server)
        except OSError:
            self.refused += 1
            client.close()
            return
        # Either end may disconnect at any moment: that is the test. The plan queries Redis too.
        gone = (OSError, hiredis.ProtocolError, RedisError, NotYetError)
        with client, server, suppress(*gone):
            commands = hiredis.Reader(notEnoughData=_INCOMPLETE)
            while received := client.recv(65_536):
                commands.feed(received)
                while (command := commands.gets()) is not _INCOMPLETE:
                    changed = self._planned(command)
                    if changed is None:
                        return
                    packed: Any = tuple(changed)
                    server.sendall(hiredis.pack_command(packed))
                    if not _pass_reply(server, client, commands):
                        return

    def _planned(self, command: Command) -> Command | None:
        is_handshake = command[0].upper() in _HANDSHAKE
        return command if is_handshake else self._plan(command)


def _pass_reply(server: socket.socket, client: socket.socket, commands: hiredis.Reader) -> bool:
    """Forward one reply, while more commands may arrive. False if an end has disconnected."""
    replies = hiredis.Reader(notEnoughData=_INCOMPLETE)
    while True:
        ready, _, _ = select.select([server, client], [], [])
        if client in ready:
            received = client.recv(65_536)
            if not received:
                return False
            commands.feed(received)
        if server in ready:
            received = server.recv(65_536)
            client.sendall(received)
            if not received:
                return False
            replies.feed(received)
            if replies.gets() is not _INCOMPLETE:
                return True
