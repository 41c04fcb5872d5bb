"""A server process on this machine, started by the lab."""

import fcntl
import secrets
import stat
import tempfile
from io import FileIO
from pathlib import Path

from redisflow_lab.lab.lifeline import close_in_forks
from redisflow_lab.lab.server.binary import check_binary
from redisflow_lab.lab.server.identity import identify
from redisflow_lab.lab.server.interface import ServerError
from redisflow_lab.lab.server.node import Node
from redisflow_lab.lab.server.ports import pick_port
from redisflow_lab.lab.server.private import render_config


class OwnServer(Node):
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
        check_binary(binary)
        port, password = pick_port(port), secrets.token_urlsafe(16)
        folder = _writable(folder)
        self._lock = _locked(folder)
        config = render_config(
            port, password, str(folder), appendonly=appendonly, bind="127.0.0.1"
        )
        super().__init__(
            "the server", binary, folder, port=port, password=password, config=config
        )
        try:
            self.start()
            self.label = f"{identify(self.connect()).name} ({origin})"
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<{self.label}, port {self.port}, {self.status}>"

    def close(self) -> None:
        super().close()
        self._lock.close()


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
