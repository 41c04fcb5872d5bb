"""The producer: ids, order, batches, and one try for each write."""

import socket
from collections.abc import Iterator
from threading import Thread

import pytest
import redis
from redis import Redis

from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.lab import Lab


def some(count: int) -> Iterator[Message]:
    return (Message("web", f"order {number}") for number in range(count))


def stored(client: Redis, stream: str) -> list[str]:
    return [Message.from_fields(fields).content for _, fields in client.xrange(stream)]


def test_publish_returns_the_id_of_the_entry(lab: Lab, stream: str) -> None:
    entry_id = RedisStreamProducer(lab.redis, stream).publish(Message("web", "1 x Dune"))
    assert [found.decode() for found, _ in lab.redis.xrange(stream)] == [entry_id]


def test_publish_many_keeps_the_order_across_batches(lab: Lab, stream: str) -> None:
    ids = RedisStreamProducer(lab.redis, stream).publish_many(some(25), batch_size=10)
    assert [found.decode() for found, _ in lab.redis.xrange(stream)] == ids
    assert stored(lab.redis, stream) == [f"order {number}" for number in range(25)]


def test_only_one_batch_is_taken_from_the_iterable_at_a_time(lab: Lab, stream: str) -> None:
    def watched() -> Iterator[Message]:
        for number, message in enumerate(some(30)):
            assert number - lab.redis.xlen(stream) < 10
            yield message

    RedisStreamProducer(lab.redis, stream).publish_many(watched(), batch_size=10)
    assert lab.redis.xlen(stream) == 30


def test_an_item_that_is_no_message_writes_nothing_of_its_batch(lab: Lab, stream: str) -> None:
    items = [*some(14), "order 14", *some(3)]
    with pytest.raises(TypeError, match="expected a Message, not str: 'order 14'"):
        RedisStreamProducer(lab.redis, stream).publish_many(items, batch_size=10)  # type: ignore[arg-type]
    assert lab.redis.xlen(stream) == 10


def test_maxlen_keeps_about_that_many(lab: Lab, stream: str) -> None:
    RedisStreamProducer(lab.redis, stream, maxlen=10).publish_many(some(2_000))
    assert 10 <= lab.redis.xlen(stream) <= 200


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"stream": " "}, ValueError, "stream is blank: ' '"),
        ({"stream": None}, TypeError, "stream must be a str, not NoneType"),
        ({"maxlen": 0}, ValueError, "maxlen must be at least 1, not 0"),
        ({"maxlen": "9"}, TypeError, "maxlen must be an int, not str: '9'"),
    ],
)
def test_bad_arguments_are_refused_by_name(
    lab: Lab, arguments: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        RedisStreamProducer(lab.redis, **arguments)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"redis must be a redis\.Redis client, not str"):
        RedisStreamProducer("redis://localhost")  # type: ignore[arg-type]


def test_a_write_whose_answer_is_lost_is_not_tried_again(lab: Lab, stream: str) -> None:
    server = lab.redis.connection_pool.connection_kwargs
    with losing_answers_to(b"XADD", server["host"], server["port"]) as port:
        client = Redis(host="127.0.0.1", port=port, password=server["password"])  # retries: 10
        with pytest.raises(redis.ConnectionError):
            RedisStreamProducer(client, stream).publish(Message("web", "once"))
    assert stored(lab.redis, stream) == ["once"]


class losing_answers_to:  # noqa: N801 - reads as a phrase
    """A proxy that forwards everything, but hangs up instead of answering this command."""

    def __init__(self, command: bytes, host: str, port: int) -> None:
        self._command, self._server = command, (host, port)

    def __enter__(self) -> int:
        self._listener = socket.create_server(("127.0.0.1", 0))
        Thread(target=self._serve, daemon=True).start()
        return int(self._listener.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, socket.create_connection(self._server) as server:
                while asked := client.recv(65_536):
                    server.sendall(asked)
                    answer = server.recv(65_536)
                    if self._command in asked:
                        break
                    client.sendall(answer)
