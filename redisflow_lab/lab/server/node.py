"""One server process of the lab's own, which can be killed, paused and started again."""

import signal
from pathlib import Path
from socket import socket

from redis import Redis

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.process import Child
from redisflow_lab.lab.server.client import connect
from redisflow_lab.lab.server.interface import ServerError
from redisflow_lab.lab.server.ports import hold_port
from redisflow_lab.lab.server.private import (
    local_url,
    wait_for_answer,
    wait_for_written_aof,
    write_config,
)


class Node:
    """A server process on 127.0.0.1, with a password and with data for this user only.

    name:      what errors call it
    binary:    the redis-server or valkey-server to run
    folder:    where it keeps its data, its configuration and its log; it exists, mode 0700
    port:      on 127.0.0.1
    password:  of the user `default`
    config:    the text of its configuration, with port and password

    It does not run before `start` or `launch`, and never outlives this process, see
    `process.Child`.
    """

    arguments: tuple[str, ...] = ()
    """Of the command line, after the configuration."""

    def __init__(
        self,
        name: str,
        binary: Path,
        folder: Path,
        *,
        port: int,
        password: str,
        config: str,
    ) -> None:
        self.name = name
        self.folder = folder
        self.port = port
        self._binary = binary
        self._password = password
        self._child: Child | None = None
        self._held_port: socket | None = None
        self._is_paused = False
        write_config(folder / "server.conf", config)

    def __repr__(self) -> str:
        return f"<{self.name}, port {self.port}, {self.status}>"

    @property
    def running(self) -> bool:
        """Whether the process exists; one that is paused does."""
        return self._child is not None and self._child.running

    @property
    def status(self) -> str:
        """ "running", "paused" or "down"."""
        if not self.running:
            return "down"
        return "paused" if self._is_paused else "running"

    @property
    def pid(self) -> int:
        """The process id of the server that is running, or of the last one that was."""
        assert self._child is not None
        return self._child.pid

    @property
    def url(self) -> str:
        """The address for redis-cli or another client. It contains the password."""
        return local_url(self.port, self._password)

    def connect(self) -> Redis:
        """A new client of this process alone; `client.connect` describes its configuration."""
        return connect(self.url)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end: no shutdown, no snapshot, no final fsync.

        The port stays taken until `start` or `close`, so that no other process gets it and
        receives the password of each client that connects again.
        """
        assert self._child is not None
        if self.status == "running":
            wait_for_written_aof(self.connect())
        self._child.kill()
        if self._held_port is None:
            self._held_port = hold_port(self.port)

    def start(self) -> None:
        """Start with the data in the folder, and return when the server answers.

        Does nothing if it is running. Raises ServerError if it does not start.
        """
        if not self.running:
            self.launch()
            self.wait_until_ready()

    def launch(self) -> None:
        """Start the process, and do not wait until it answers."""
        self._release_port()
        self._is_paused = False
        self._child = Child(
            [self._binary, self.folder / "server.conf", *self.arguments],
            cwd=self.folder,
            log=self.folder / "server.log",
            umask=0o077,  # also for what CONFIG REWRITE and BGREWRITEAOF write
        )

    def wait_until_ready(self) -> None:
        """Return when the launched server answers. Raises ServerError if it does not start."""
        wait_for_answer(self.connect(), lambda: self.running, self.last_lines)
        if not self.running:
            raise ServerError(
                f"{self._binary} did not start. Its last output was:\n{self.last_lines()}"
            )

    def pause(self) -> None:
        """Stop the process where it is (SIGSTOP): it keeps its connections, and is silent.

        Raises ServerError if it is not running.
        """
        self._signal(signal.SIGSTOP)
        self._is_paused = True

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT). Raises ServerError if it is not running."""
        self._signal(signal.SIGCONT)
        self._is_paused = False

    def close(self) -> None:
        """Kill the process for good, and give its port back."""
        if self._child is not None:
            self._child.kill()
        self._release_port()

    def last_lines(self) -> str:
        """The last five lines of its log."""
        lines = (self.folder / "server.log").read_text(errors="replace").splitlines()
        return "\n".join(map(printable, lines[-5:]))

    def _signal(self, number: signal.Signals) -> None:
        if self._child is None or not self._child.running:
            raise ServerError(
                f"{self.name} is not running: call start() on it before pause() or resume()"
            )
        self._child.signal(number)

    def _release_port(self) -> None:
        if self._held_port is not None:
            self._held_port.close()
            self._held_port = None
