"""A server of our own in a Docker container, by way of testcontainers."""

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

from redisflow_lab.lab.server.guard import Guard
from redisflow_lab.lab.server.identity import identify
from redisflow_lab.lab.server.interface import (
    ServerError,
    UnfitServerError,
    UnusableServerError,
)
from redisflow_lab.lab.server.ports import usable_port
from redisflow_lab.lab.server.private import (
    client_of,
    settings,
    wait_for_answer,
    wait_until_writes_are_out,
)
from redisflow_lab.lab.waiting import wait_until

IMAGE = "redis:8.10.2"
"""What is run unless another image is named."""

_PORT = 6379
_CONF = "redisflow.conf"


class DockerServer:
    """A container of our own: published on loopback only, a random password, data in a volume.

    image:      a name with its tag; any with a `redis-server` in it. It is pulled if the
                engine does not have it
    appendonly: keep an append-only file (fsync every second)
    port:       on this machine; None takes a free one

    Container and volume have one `name`. They are removed on closing, and by a guard when
    this process is gone. testcontainers' own guard, Ryuk, would be one more image to pull,
    and a second to wait.

    Raises UnusableServerError without an engine or the image, and ServerError when the port
    is taken or the server does not start.
    """

    prefix = ""

    def __init__(
        self, image: str = IMAGE, *, appendonly: bool = True, port: int | None = None
    ) -> None:
        self.port = usable_port(port)
        self._password = secrets.token_urlsafe(16)
        self.name = f"redisflow-{secrets.token_hex(6)}"
        client = _engine()
        self._guard = Guard(partial(_remove, self.name))
        try:
            self._container = self._created(client, image, appendonly)
            self.start()
            self.label = f"{identify(self.connect()).name} (Docker)"
        except UnfitServerError as error:
            self.close()
            raise UnfitServerError(f"the image {image} {error}") from None
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<{self.label}, port {self.port}, {'running' if self.running else 'down'}>"

    @property
    def running(self) -> bool:
        try:
            self._container.reload()
        except docker.errors.NotFound:  # it was closed, or somebody removed it
            return False
        return bool(self._container.status == "running")

    def connect(self) -> Redis:
        return client_of(self.port, self._password)

    def kill(self) -> None:
        """`docker kill`, which is SIGKILL: no shutdown, no last snapshot, no last fsync."""
        if self.running:
            wait_until_writes_are_out(self.connect())
            self._container.kill()
            self._container.wait()

    def start(self) -> None:
        """Start on the data that is there, and return when it answers."""
        try:
            self._container.start()
        except docker.errors.APIError as error:
            raise ServerError(f"the container did not start: {error.explanation}") from None
        wait_for_answer(self.connect(), lambda: self.running, self._last_lines)
        if not self.running:
            raise ServerError(f"the container did not start. It said:\n{self._last_lines()}")

    def close(self) -> None:
        _remove(self.name)
        self._guard.dismiss()

    def _created(self, client: DockerClient, image: str, appendonly: bool) -> Container:
        try:
            container = client.create(
                image,
                ["redis-server", f"/{_CONF}"],
                ports={f"{_PORT}/tcp": ("127.0.0.1", self.port)},
                volumes={self.name: {"bind": "/data", "mode": "rw"}},
                name=self.name,
                network="bridge",  # the one that publishes ports
            )
        except docker.errors.APIError as error:
            raise UnusableServerError(
                f"no container can be made of the image {image}: {error.explanation}. "
                f"Does `docker pull {image}` work?"
            ) from None
        conf = settings(_PORT, self._password, "/data", appendonly=appendonly, bind="0.0.0.0")
        # Copied in and not passed: everybody can read the arguments and the environment.
        container.put_archive("/", _archive(_CONF, conf))
        return container

    def _last_lines(self) -> str:
        return str(self._container.logs(tail=5).decode(errors="replace"))


def _engine() -> DockerClient:
    try:
        client = DockerClient()
        client.client.ping()
    except docker.errors.DockerException:  # its text speaks of sockets and of files
        raise UnusableServerError(
            "no Docker engine answers. Is Docker started, and does `docker info` work?"
        ) from None
    return client


def _remove(name: str) -> None:
    """Remove container and volume of this name, as far as they are there.

    And the volumes that the image asks for, which have no name.
    """
    engine = _engine().client
    wait_until(
        lambda: _is_gone(lambda: engine.containers.get(name).remove(v=True, force=True)),
        f"the container {name} is removed",
    )
    wait_until(
        lambda: _is_gone(lambda: engine.volumes.get(name).remove(force=True)),
        f"the volume {name} is removed",
    )


def _is_gone(remove: Callable[[], None]) -> bool:
    """Whether it is, after one try. A try that was cut short may still be under way (409)."""
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
