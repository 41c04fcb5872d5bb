"""A server process of our own, on this machine."""

import fcntl
import re
import secrets
import subprocess
import tempfile
from pathlib import Path
from typing import IO

from redis import Redis

from redisflow_lab.lab.process import Child
from redisflow_lab.lab.server.identity import identify, recent
from redisflow_lab.lab.server.interface import ServerError, UnfitServerError
from redisflow_lab.lab.server.ports import usable_port
from redisflow_lab.lab.server.private import (
    client_of,
    settings,
    wait_for_answer,
    wait_until_writes_are_out,
)


class OwnServer:
    """A server process of our own: loopback, a random password, private data, AOF.

    binary:     of the server
    origin:     how it was found; shown in `label`
    appendonly: keep an append-only file (fsync every second); False leaves only the
                snapshots of the server's defaults
    port:       None takes a free one
    folder:     where it keeps its data, its configuration and its log

    Never outlives this process (`process.Child`). Raises ServerError when the port is
    taken, the folder cannot be written, or the server does not start, and UnfitServerError
    when it is older than Redis 7.0 or made for another system.
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
        _check_version(binary)
        self._binary = binary
        self._password = secrets.token_urlsafe(16)
        self.folder = _writable(folder)
        self._lock = _locked(self.folder)
        self.port = usable_port(port)
        conf = self.folder / "server.conf"
        conf.touch(mode=0o600)
        conf.write_text(
            settings(
                self.port,
                self._password,
                str(self.folder),
                appendonly=appendonly,
                bind="127.0.0.1",
            )
        )
        self._child: Child | None = None
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
        """Of the server process that runs, or ran last."""
        assert self._child is not None
        return self._child.pid

    def connect(self) -> Redis:
        return client_of(self.port, self._password)

    def kill(self) -> None:
        """SIGKILL: no shutdown, no last snapshot, no last fsync."""
        assert self._child is not None
        wait_until_writes_are_out(self.connect())
        self._child.kill()

    def start(self) -> None:
        """Start on the data that is there, and return when it answers."""
        if self.running:
            return
        log = self.folder / "server.log"
        self._child = Child(
            [self._binary, self.folder / "server.conf"], cwd=self.folder, log=log
        )
        wait_for_answer(self.connect(), lambda: self.running, lambda: _last_lines(log))
        if not self.running:
            raise ServerError(f"{self._binary} did not start. It said:\n{_last_lines(log)}")

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
        self._lock.close()


def _check_version(binary: Path) -> None:
    """Asked before it writes anything that another one could not read."""
    try:
        said = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, check=False
        )
    except OSError as error:  # made for another system: Alpine's has no glibc, for one
        raise UnfitServerError(f"{binary} cannot be run: {error.strerror}") from None
    found = re.search(r"(\S+) server v=(\d+\.\d+\.\d+)", said.stdout)
    if found is None:
        raise UnfitServerError(f"{binary} --version does not say what it is: {said.stdout!r}")
    try:
        recent(found[1], found[2])
    except UnfitServerError as error:
        raise UnfitServerError(f"{binary} {error}") from None


def _last_lines(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-5:])


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder.absolute()
    except OSError as error:
        raise ServerError(
            f"the folder {str(folder)!r} cannot be written: {error.strerror}"
        ) from None


def _locked(folder: Path) -> IO[bytes]:
    """A lock on the folder, released with this process: two servers would mix their files."""
    lock = (folder / "server.lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ServerError(f"the folder {str(folder)!r} is in use by another lab") from None
    return lock
