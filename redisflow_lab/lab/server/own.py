"""A server process on this machine, started by the lab."""

import fcntl
import re
import secrets
import stat
import subprocess
import tempfile
from io import FileIO
from pathlib import Path
from socket import socket

from redis import Redis

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.lifeline import close_in_forks
from redisflow_lab.lab.process import Child
from redisflow_lab.lab.server.client import connect
from redisflow_lab.lab.server.identity import check_version, identify
from redisflow_lab.lab.server.interface import ServerError, UnsupportedServerError
from redisflow_lab.lab.server.ports import hold_port, pick_port
from redisflow_lab.lab.server.private import (
    local_url,
    render_config,
    wait_for_answer,
    wait_for_written_aof,
)


class OwnServer:
    """A private server process: loopback only, random password, data for this user only.

    binary:     the redis-server or valkey-server to run
    origin:     where it was found; shown in `label`
    folder:     where it keeps its data, its configuration and its log
    appendonly: keep an append-only file, written to disk every second (default). Without it,
                only the snapshots of the server's default configuration survive a kill
    port:       on 127.0.0.1; None picks a free one

    The process never outlives this one, see `process.Child`. Raises ServerError if the port
    is taken, if the folder is not writable, open to other users or in use, or if the server
    does not start, and UnsupportedServerError if it is older than Redis 7.0 or does not run on
    this machine.
    """

    prefix = ""

    def __init__(
        self,
        binary: Path,
        origin: str,
        folder: Path,
        *,
        appendonly: bool = True,
        port: int | None = None,
    ) -> None:
        _check_binary(binary)
        self._binary = binary
        self._password = secrets.token_urlsafe(16)
        self.folder = _writable(folder)
        self._lock = _locked(self.folder)
        self.port = pick_port(port)
        conf = self.folder / "server.conf"
        conf.touch(mode=0o600)
        conf.chmod(0o600)  # it may exist
        conf.write_text(
            render_config(
                self.port,
                self._password,
                str(self.folder),
                appendonly=appendonly,
                bind="127.0.0.1",
            )
        )
        self._child: Child | None = None
        self._held_port: socket | None = None
        try:
            self.start()
            self.label = f"{identify(self.connect()).name} ({origin})"
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<{self.label}, port {self.port}, {'running' if self.running else 'down'}>"

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int:
        """The process id of the server that is running, or of the last one that was."""
        assert self._child is not None
        return self._child.pid

    @property
    def url(self) -> str:
        return local_url(self.port, self._password)

    def connect(self) -> Redis:
        return connect(self.url)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end: no shutdown, no snapshot, no final fsync.

        The port stays taken until `start` or `close`, so that no other process gets it and
        receives the password of each client that connects again.
        """
        assert self._child is not None
        wait_for_written_aof(self.connect())
        self._child.kill()
        if self._held_port is None:
            self._held_port = hold_port(self.port)

    def start(self) -> None:
        """Start with the data in the folder, and return when the server answers."""
        if self.running:
            return
        self._release_port()
        log = self.folder / "server.log"
        self._child = Child(
            [self._binary, self.folder / "server.conf"],
            cwd=self.folder,
            log=log,
            umask=0o077,  # also for what CONFIG REWRITE and BGREWRITEAOF write
        )
        wait_for_answer(self.connect(), lambda: self.running, lambda: _last_lines(log))
        if not self.running:
            raise ServerError(
                f"{self._binary} did not start. Its last output was:\n{_last_lines(log)}"
            )

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
        self._release_port()
        self._lock.close()

    def _release_port(self) -> None:
        if self._held_port is not None:
            self._held_port.close()
            self._held_port = None


def _check_binary(binary: Path) -> None:
    """Check the version before the server starts and writes files that others cannot read."""
    try:
        version = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, check=False
        )
    except OSError as error:  # built for another system, for example for glibc on Alpine
        raise UnsupportedServerError(f"{binary} cannot be run: {error.strerror}") from None
    found = re.search(r"(\S+) server v=(\d+\.\d+\.\d+)", version.stdout)
    if found is None:
        raise UnsupportedServerError(
            f"{binary} is no Redis or Valkey server: --version printed "
            f"{printable(version.stdout)!r}"
        )
    try:
        check_version(found[1], found[2])
    except UnsupportedServerError as error:
        raise UnsupportedServerError(f"{binary} {error}") from None


def _last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(map(printable, lines[-5:]))


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_private(folder)
        with tempfile.TemporaryFile(dir=folder):
            return folder.absolute()
    except OSError as error:
        raise ServerError(
            f"the folder {str(folder)!r} is not writable: {error.strerror}. The server keeps "
            "its data there; name another one with data_dir="
        ) from None


def _check_private(folder: Path) -> None:
    """Raise ServerError if other users may enter the folder. It is not changed: it is yours."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        raise ServerError(
            f"the folder {str(folder)!r} has mode {mode:o}: other users could read the data of "
            f"the server there, and its password. Run chmod 700 '{folder}', or name another "
            "folder with data_dir="
        )


def _locked(folder: Path) -> FileIO:
    """Lock the folder, because two servers in it would overwrite each other's files.

    The lock ends when the returned file is closed, or with this process.
    """
    lock = close_in_forks((folder / "server.lock").open("wb", buffering=0))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ServerError(
            f"the folder {str(folder)!r} is in use by another lab. Close that lab, or name "
            "another folder with data_dir="
        ) from None
    return lock
