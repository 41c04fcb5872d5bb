"""A server in a container, on a real Docker engine: private, killable, removed on close."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import docker
import docker.errors
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.lab import Lab
from redisflow_lab.lab.server import ServerError
from redisflow_lab.lab.server.docker import IMAGE
from redisflow_lab.lab.waiting import wait_until

NAMED = os.environ.get("REDISFLOW_SERVER", "").partition(":")
WANTED = NAMED[2] if NAMED[0] == "docker" and NAMED[2] else IMAGE


def reason_to_skip() -> str | None:
    try:
        docker.from_env().images.get(WANTED)
    except docker.errors.ImageNotFound:
        return f"the Docker engine has no image {WANTED}"
    except docker.errors.DockerException as error:
        return f"no Docker engine: {error}"
    return None


WITHOUT = reason_to_skip()
needs_an_engine = pytest.mark.skipif(WITHOUT is not None, reason=str(WITHOUT))


@pytest.fixture
def in_docker() -> Iterator[Lab]:
    lab = Lab(f"docker:{WANTED}")
    yield lab
    lab.close()


@pytest.fixture
def altered() -> Iterator[Callable[[str], str]]:
    """Makes an image with one more line of a Dockerfile, and returns its name."""
    engine = docker.from_env()
    name = f"redisflow-altered:{os.getpid()}"

    def altered(line: str) -> str:
        container = engine.containers.create(WANTED, "redis-server")
        container.commit(*name.split(":"), changes=line)
        container.remove(v=True)
        return name

    yield altered
    engine.images.remove(name)


def left(name: str) -> list[str]:
    """Which of the container and the volume of this name there are."""
    engine = docker.from_env()
    containers = engine.containers.list(all=True, ignore_removed=True, filters={"name": name})
    return [thing.name for thing in [*containers, *engine.volumes.list(filters={"name": name})]]


@needs_an_engine
def test_a_container_is_private(in_docker: Lab) -> None:
    container = in_docker.server._container  # type: ignore[attr-defined]
    container.reload()
    password = in_docker.redis.connection_pool.connection_kwargs["password"]
    assert password not in str(container.attrs)
    assert password not in repr(in_docker)
    bindings = container.attrs["NetworkSettings"]["Ports"]
    assert bindings == {
        "6379/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(in_docker.server.port)}]  # type: ignore[attr-defined]
    }
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=in_docker.server.port, retry=Retry(NoBackoff(), 0)).ping()  # type: ignore[attr-defined]
    assert in_docker.server.label.endswith("(Docker)")


@needs_an_engine
def test_a_killed_container_restarts_with_its_data(in_docker: Lab) -> None:
    in_docker.redis.set("a", 1)
    for _ in range(2):
        in_docker.server.kill()
        with pytest.raises(redis.ConnectionError):
            in_docker.redis.get("a")
        in_docker.server.start()
        assert in_docker.redis.get("a") == b"1"


@needs_an_engine
def test_kill_is_a_sigkill(in_docker: Lab) -> None:
    in_docker.server.kill()
    container = in_docker.server._container  # type: ignore[attr-defined]
    container.reload()
    assert container.attrs["State"]["ExitCode"] == 128 + signal.SIGKILL


@needs_an_engine
def test_without_an_append_only_file_a_kill_loses_the_data() -> None:
    lab = Lab(f"docker:{WANTED}", appendonly=False)
    lab.redis.set("a", 1)
    lab.server.kill()
    lab.server.start()
    assert lab.redis.get("a") is None
    lab.close()


@needs_an_engine
def test_close_leaves_neither_container_nor_volume() -> None:
    lab = Lab(f"docker:{WANTED}")
    name = lab.server.name  # type: ignore[attr-defined]
    assert left(name) == [name, name]
    lab.close()
    lab.close()
    assert left(name) == []


@needs_an_engine
@pytest.mark.parametrize("state", ["running", "down"])
def test_a_killed_kernel_leaves_neither_container_nor_volume(state: str) -> None:
    code = (
        f"from redisflow_lab.lab import Lab; lab = Lab({f'docker:{WANTED}'!r}); "
        f"{'lab.server.kill();' if state == 'down' else ''}"
        "print(lab.server.name, flush=True); input()"
    )
    kernel = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with kernel:
        assert kernel.stdout is not None
        assert "Docker" in kernel.stdout.readline()
        name = kernel.stdout.readline().strip()
        assert left(name) == [name, name]
        kernel.send_signal(signal.SIGKILL)
    wait_until(lambda: left(name) == [], "container and volume are gone", timeout_s=20)


@needs_an_engine
def test_a_kernel_killed_while_it_closes_leaves_neither_container_nor_volume() -> None:
    """Then the engine answers the guard that it is removing them already."""
    code = (
        "import os, signal, threading; from redisflow_lab.lab import Lab; "
        f"lab = Lab({f'docker:{WANTED}'!r}); print(lab.server.name, flush=True); "
        "threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGKILL)).start(); lab.close()"
    )
    kernel = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert kernel.returncode == -signal.SIGKILL
    name = kernel.stdout.split()[-1]
    wait_until(lambda: left(name) == [], "container and volume are gone", timeout_s=20)
    assert kernel.stderr == ""


@needs_an_engine
def test_a_volume_of_the_image_is_removed_too(altered: Callable[[str], str]) -> None:
    lab = Lab(f"docker:{altered('VOLUME /elsewhere')}")
    container = lab.server._container  # type: ignore[attr-defined]
    container.reload()
    names = [mount["Name"] for mount in container.attrs["Mounts"]]
    assert len(names) == 2
    lab.close()
    assert [left(name) for name in names] == [[], []]


@needs_an_engine
def test_a_stopped_and_a_removed_container_can_be_killed_and_shown(in_docker: Lab) -> None:
    for _ in range(2):
        in_docker.server.kill()
    assert repr(in_docker).endswith("down>>")
    in_docker.close()
    in_docker.server.kill()
    assert repr(in_docker).endswith("down>>")
    with pytest.raises(ServerError, match="did not start: No such container"):
        in_docker.server.start()


@needs_an_engine
def test_a_worker_works_on_a_container(in_docker: Lab) -> None:
    RedisStreamProducer(in_docker.redis, "orders").publish(Message("web", "1 x Dune"))
    worker = in_docker.worker("alice", lambda _: None)
    worker.wait_for("acked", 1)
    assert worker.stop() == "exit 0"


@needs_an_engine
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda: Lab("docker:redisflow/none:1"), "image redisflow/none:1.*docker pull"),
        (lambda: Lab("docker", data_dir="here"), "data_dir='here' does not work with Docker"),
        (lambda: Lab("docker", port=70_000), "port 70000 cannot be used"),
    ],
)
def test_a_setting_that_docker_cannot_carry_out_is_explained(
    asked: Callable[[], Lab], said: str
) -> None:
    with pytest.raises(ServerError, match=f"(?s){said}"):
        asked()


@needs_an_engine
def test_an_image_without_a_server_is_named(altered: Callable[[str], str]) -> None:
    image = altered("ENV PATH=/nowhere")
    with pytest.raises(ServerError, match=r'(?s)did not start: .*"redis-server".* not found'):
        Lab(f"docker:{image}")


def test_without_an_engine_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(
        ServerError, match=r"(?s)docker: no Docker engine answers. Start Docker"
    ):
        Lab("docker")
