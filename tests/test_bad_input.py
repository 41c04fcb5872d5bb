"""Bad input: one clear error that names the value, and nothing lost or acknowledged by it."""

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event as StopEvent

import pytest

from redisflow_lab import Delivery, Message, RedisStreamConsumer, RedisStreamProducer
from redisflow_lab.lab import Lab
from redisflow_lab.lab.server import ServerError

PASSWORD = "s3cr3t/word"


def consumer_with(lab: Lab, stream: str, count: int) -> RedisStreamConsumer:
    RedisStreamProducer(lab.redis, stream).publish_many(
        Message("web", str(number)) for number in range(count)
    )
    consumer = RedisStreamConsumer(lab.redis, stream, "billing", "alice", batch=1, block_ms=20)
    consumer.ensure_group()
    return consumer


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_an_async_handler_loses_nothing(lab: Lab, stream: str) -> None:
    consumer = consumer_with(lab, stream, 1)

    async def handle(_: Delivery) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match="handle"):
        consumer.read_new(handle)
    assert lab.groups(stream)[["pending", "lag"]].values.tolist() == [[0, 1]]


def test_a_handler_that_is_none_is_refused_before_a_read(lab: Lab, stream: str) -> None:
    consumer = consumer_with(lab, stream, 1)
    with pytest.raises(TypeError, match="handler must be callable, not NoneType"):
        consumer.read_new(None)  # type: ignore[arg-type]
    assert lab.groups(stream)[["pending", "lag"]].values.tolist() == [[0, 1]]


def test_an_exception_that_has_no_text_ends_no_loop(lab: Lab, stream: str) -> None:
    class WordlessError(Exception):
        def __str__(self) -> str:
            raise OSError("no words")

    def handle(_: Delivery) -> None:
        raise WordlessError

    consumer_with(lab, stream, 1).read_new(handle)
    assert len(lab.pending(stream)) == 1


def test_a_group_that_vanishes_during_the_replay_is_made_again(lab: Lab, stream: str) -> None:
    consumer = consumer_with(lab, stream, 3)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            consumer.read_new(interrupted)
    handled: list[str] = []
    stop = StopEvent()

    def handle(delivery: Delivery) -> None:
        handled.append(delivery.message.content)
        if len(handled) == 1:
            lab.redis.xgroup_destroy(stream, "billing")
        if handled[1:] == ["0", "1", "2"]:
            stop.set()

    consumer.run(handle, stop=stop)
    assert handled == ["0", "0", "1", "2"]


def interrupted(_: Delivery) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("table", ["stream", "groups", "consumers"])
def test_a_stream_that_is_not_there_is_named(lab: Lab, stream: str, table: str) -> None:
    with pytest.raises(Exception, match=f"(?i)no .*{stream.split('[')[0]}"):
        getattr(lab, table)(stream)


def test_the_death_of_the_server_can_be_marked(own_lab: Lab) -> None:
    own_lab.redis.xgroup_create("orders", "billing", id="0", mkstream=True)
    with own_lab.watch("orders") as watch:
        own_lab.server.kill()
        watch.mark("server killed")
        own_lab.server.start()
    assert list(watch.marks["text"]) == ["server killed"]


@pytest.mark.parametrize("bad", [{"batch": 0}, {"stream": " "}, {"group": ""}], ids=str)
def test_a_worker_with_bad_arguments_is_not_started(lab: Lab, bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        lab.worker("alice", print, **bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["localhost:6379", f"redis://:{PASSWORD}@localhost:6379", "redis://localhost:abc"]
)
def test_a_url_that_is_none_is_refused_without_its_password(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
    monkeypatch.setenv("REDISFLOW_URL", url)
    with pytest.raises(ServerError, match="REDISFLOW_URL") as refused:
        Lab()
    assert PASSWORD.split("/")[0] not in str(refused.value)


def test_a_port_that_is_text_is_named() -> None:
    with pytest.raises((TypeError, ServerError), match=r"port.*'six'"):
        Lab("own", port="six")  # type: ignore[arg-type]


@pytest.mark.usefixtures("process_server")
def test_any_name_of_a_folder_will_do(tmp_path: Path) -> None:
    Lab(data_dir=tmp_path / 'a "b"').close()


@pytest.mark.usefixtures("process_server")
def test_a_folder_in_use_is_refused(own_lab: Lab, closing: Callable[[Lab], Lab]) -> None:
    with pytest.raises(ServerError, match="in use"):
        closing(Lab(data_dir=own_lab.server.folder))  # type: ignore[attr-defined]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts in /proc")
def test_a_refused_handler_leaves_no_descriptor(lab: Lab, stream: str) -> None:
    unpicklable = (number for number in range(3))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(TypeError, match="cannot be carried"):
            lab.worker("alice", lambda _: next(unpicklable), stream=stream)
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.fixture
def closing(request: pytest.FixtureRequest) -> Callable[[Lab], Lab]:
    """Close a lab that ought not to have been had."""

    def close(lab: Lab) -> Lab:
        request.addfinalizer(lab.close)
        return lab

    return close
