"""The rows of the matrix: which server, which Python, which packages."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import docker
import docker.errors

from redisflow_lab.lab.server import choice
from redisflow_lab.lab.server.docker import IMAGE
from tools.matrix.environments import ROOT, MissingError, environment
from tools.matrix.shared_server import shared_server

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
OTHER_PACKAGES = {"3.11": "lowest", "3.13": "newest"}
"""Which Python has these packages; the others have the locked ones. More machines have 3.13
than 3.14."""


@dataclass(frozen=True)
class Row:
    """One run of the tests and the chapters.

    wanted:   how the row gets its server; shown until the server has a name
    python:   its version
    packages: "locked", "lowest" or "newest"
    server:   makes the server ready, and yields the environment variables that select it
    whole:    also run the tests marked `once`, for which one row is enough
    again:    another row has this server, so leave out the tests marked `by_server`
    slow:     run those of them that are slow, too: failovers, and chaos on a cluster
    """

    wanted: str
    server: Callable[[], AbstractContextManager[Mapping[str, str]]]
    python: str = HERE
    packages: str = "locked"
    whole: bool = False
    again: bool = False
    slow: bool = False

    def interpreter(self) -> Path:
        """The Python that runs this row. Raises MissingError."""
        if (self.python, self.packages) == (HERE, "locked"):
            return Path(sys.executable)
        return environment(self.python, self.packages)


def all_rows() -> list[Row]:
    """Every row, including those that this machine cannot run; the simplest first."""
    found = [Path(path).parent for path in [shutil.which("redis-server")] if path]
    fetched = sorted(path.parent for path in ROOT.glob("build/redis*/redis-server"))
    return [
        Row("bundled", bundled, whole=True),
        *(
            Row(_short(folder), partial(on_path, folder), slow=True)
            for folder in [*found, *fetched]
        ),
        *([] if fetched else [Row("redis-server", none_fetched)]),
        Row("Docker", in_docker, again=bool(fetched)),
        Row("a URL", partial(by_url, [*found, *fetched])),
        *(
            Row("bundled", bundled, python, again=True)
            for python in PYTHONS
            if python not in (HERE, *OTHER_PACKAGES)
        ),
        *(Row("bundled", bundled, *pair, again=True) for pair in OTHER_PACKAGES.items()),
    ]


@contextmanager
def bundled() -> Iterator[Mapping[str, str]]:
    yield {"REDISFLOW_SERVER": "bundled"}


@contextmanager
def on_path(folder: Path) -> Iterator[Mapping[str, str]]:
    yield {"REDISFLOW_SERVER": "path", "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def none_fetched() -> AbstractContextManager[Mapping[str, str]]:
    raise MissingError("no other redis-server in build; `make redis8` gets one")


@contextmanager
def in_docker() -> Iterator[Mapping[str, str]]:
    """The pinned image, or the one that REDISFLOW_SERVER names: docker:redis:8.10.2."""
    named = os.environ.get("REDISFLOW_SERVER", "")
    server = named if named.startswith("docker:") else f"docker:{IMAGE}"
    try:
        docker.from_env().images.get(server.removeprefix("docker:"))
    except docker.errors.ImageNotFound as error:
        raise MissingError(f"{error.explanation}; `docker pull` gets it") from None
    except docker.errors.DockerException as error:
        raise MissingError(f"no Docker engine answers: {error}; start one") from None
    yield {"REDISFLOW_SERVER": server}


@contextmanager
def by_url(folders: list[Path]) -> Iterator[Mapping[str, str]]:
    """On a shared server, started from the last of these binaries or the bundled one."""
    binary = folders[-1] / "redis-server" if folders else choice.find_bundled()
    with shared_server(binary) as url:
        yield {"REDISFLOW_URL": url, "REDISFLOW_SERVER": ""}


def _short(folder: Path) -> str:
    return str(folder.relative_to(ROOT)) if folder.is_relative_to(ROOT) else str(folder)
