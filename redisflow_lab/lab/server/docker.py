"""A server in a Docker container, started by the lab through testcontainers."""

import io
import secrets
import tarfile
from collections.abc import Callable
from functools import partial
from http import HTTPStatus

import docker.errors
from docker.models.containers import Container
from redis import Redis
from testcontainers.core.docker_client import DockerClient

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.server.client import connect
from redisflow_lab.lab.server.guard import Guard
from redisflow_lab.lab.server.identity import identify
from redisflow_lab.lab.server.interface import (
    ServerError,
    UnavailableServerError,
    UnsupportedServerError,
)
from redisflow_lab.lab.server.ports import pick_port
from redisflow_lab.lab.server.private import (
    local_url,
    render_config,
    wait_for_answer,
    wait_for_written_aof,
)
from redisflow_lab.lab.waiting import wait_until

IMAGE = "redis:8.10.2"
"""The image to run if no other one is named."""

_PORT = 6379
_CONF = "redisflow.conf"


class DockerServer:
    """A private server in a container: loopback only, random password, data in a volume.

    image:      an image with a `redis-server` in it, as NAME:TAG. The engine pulls it if it
                does not have it
    appendonly: keep an append-only file, written to disk every second (default)
    port:       on 127.0.0.1 of this machine; None picks a free one

    Container and volume share one `name`. Both are removed by `close`, or by a guard process
    once this process is gone. The guard replaces Ryuk, testcontainers' own cleanup, which
    needs another image and takes a second to start.

    Raises UnavailableServerError if no Docker engine answers or the image cannot be run,
    UnsupportedServerError if its server is older than Redis 7.0, and ServerError if the port
    is taken or the server does not start.
    """

    prefix = ""

    def __init__(
        self, image: str = IMAGE, *, appendonly: bool = True, port: int | None = None
    ) -> None:
        self.port: int = pick_port(port)
        self._password = secrets.token_urlsafe(16)
        self.name = f"redisflow-{secrets.token_hex(6)}"
        client = _engine()
        self._guard = Guard(partial(_remove, self.name))
        try:
            self._container = self._create(client, image, appendonly)
            self.start()
            self.label = f"{identify(self.connect()).name} (Docker)"
        except UnsupportedServerError as error:
            self.close()
            raise UnsupportedServerError(f"the image {image} {error}") from None
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<{self.label}, port {self.port}, {'running' if self.running else 'down'}>"

    @property
    def running(self) -> bool:
        try:
            self._container.reload()
        except docker.errors.NotFound:  # closed, or removed by another program
            return False
        return bool(self._container.status == "running")

    @property
    def url(self) -> str:
        return local_url(self.port, self._password)

    def connect(self) -> Redis:
        return connect(self.url)

    def kill(self) -> None:
        """`docker kill`, which sends SIGKILL: no shutdown, no snapshot, no final fsync."""
        if self.running:
            wait_for_written_aof(self.connect())
            self._container.kill()
            self._container.wait()

    def start(self) -> None:
        """Start with the data in the volume, and return when the server answers."""
        try:
            self._container.start()
        except docker.errors.APIError as error:
            raise ServerError(f"the container did not start: {error.explanation}") from None
        wait_for_answer(self.connect(), lambda: self.running, self._last_lines)
        if not self.running:
            raise ServerError(
                f"the container did not start. Its last output was:\n{self._last_lines()}"
            )

    def close(self) -> None:
        _remove(self.name)
        self._guard.dismiss()

    def _create(self, client: DockerClient, image: str, appendonly: bool) -> Container:
        try:
            container = client.create(
                image,
                ["redis-server", f"/{_CONF}"],
                ports={f"{_PORT}/tcp": ("127.0.0.1", self.port)},
                volumes={self.name: {"bind": "/data", "mode": "rw"}},
                name=self.name,
                network="bridge",  # the default network, which can publish ports
            )
        except docker.errors.APIError as error:
            raise UnavailableServerError(
                f"the image {image} cannot be run: {error.explanation}. "
                f"Check that `docker pull {image}` works"
            ) from None
        conf = render_config(
            _PORT, self._password, "/data", appendonly=appendonly, bind="0.0.0.0"
        )
        # Copied into the container: `docker inspect` shows arguments and environment.
        container.put_archive("/", _archive(_CONF, conf))
        return container

    def _last_lines(self) -> str:
        lines = self._container.logs(tail=5).decode(errors="replace").splitlines()
        return "\n".join(map(printable, lines))


def _engine() -> DockerClient:
    try:
        client = DockerClient()
        client.client.ping()
    except docker.errors.DockerException:  # its text lists socket errors, not what to do
        raise UnavailableServerError(
            "no Docker engine answers. Start Docker, and check that `docker info` works"
        ) from None
    return client


def _remove(name: str) -> None:
    """Remove the container and the volume of this name, if they exist.

    Anonymous volumes, which an image may declare, are removed with the container.
    """
    engine = _engine().client
    wait_until(
        lambda: _try_to_remove(lambda: engine.containers.get(name).remove(v=True, force=True)),
        f"the container {name} is removed",
    )
    wait_until(
        lambda: _try_to_remove(lambda: engine.volumes.get(name).remove(force=True)),
        f"the volume {name} is removed",
    )


def _try_to_remove(remove: Callable[[], None]) -> bool:
    """Call `remove` once. True if the object is gone.

    False if the engine answers 409: an earlier removal of it, whose client was killed, is
    still in progress.
    """
    try:
        remove()
    except docker.errors.NotFound:
        return True
    except docker.errors.APIError as error:
        if error.status_code != HTTPStatus.CONFLICT:
            raise
        return False
    return True


def _archive(name: str, text: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(text), 0o644
        archive.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()
