"""Fixtures: a real server for every test, and what most tests do with it.

The shared server is what the environment names (REDISFLOW_URL or REDISFLOW_SERVER), so that
everything a user relies on is tested there as well. A test that kills its server asks for
`own_lab`; then `stream`, `publish`, `consumer` and the others use that one.
"""

import os
from collections.abc import Callable, Iterator

import pytest
from consumers import NewConsumer, Publish
from redis import Redis

from redisflow_lab import Message, RedisStreamConsumer, RedisStreamProducer
from redisflow_lab.dead_letters import DeadLetters
from redisflow_lab.lab import Lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.close()


@pytest.fixture
def own_lab() -> Iterator[Lab]:
    """A lab of the test's own, whose server it may kill."""
    lab = Lab("own")
    yield lab
    lab.close()


@pytest.fixture
def lab_in_use(request: pytest.FixtureRequest) -> Lab:
    """`own_lab` if the test asks for it, else the shared one."""
    lab: Lab = request.getfixturevalue("own_lab" if _has_own_lab(request) else "lab")
    return lab


@pytest.fixture
def stream(lab_in_use: Lab, request: pytest.FixtureRequest) -> str:
    """A stream that no other test uses; "orders" on a server of the test's own."""
    if _has_own_lab(request):
        return "orders"
    return lab_in_use.key(f"orders:{request.module.__name__}:{request.node.name}")


@pytest.fixture
def publish(lab_in_use: Lab, stream: str) -> Publish:
    """Publishes one message for each content, and returns the entry ids."""

    def publish(*contents: str, producer: str = "web") -> list[str]:
        messages = (Message(producer, content) for content in contents)
        return RedisStreamProducer(lab_in_use.redis, stream).publish_many(messages)

    return publish


@pytest.fixture
def consumer(lab_in_use: Lab, stream: str) -> NewConsumer:
    """Makes a consumer of the group billing, which is created if it is missing.

    It is alice by default, and a read waits for 20 ms only.
    """

    def consumer(
        name: str | None = "alice",
        *,
        redis: Redis = lab_in_use.redis,
        group: str = "billing",
        **options: object,
    ) -> RedisStreamConsumer:
        consumer = RedisStreamConsumer(
            redis,
            stream,
            group,
            name,
            **{"block_ms": 20, **options},  # type: ignore[arg-type]
        )
        consumer.ensure_group()
        return consumer

    return consumer


@pytest.fixture
def pending_ids(lab_in_use: Lab, stream: str) -> Callable[[], list[str]]:
    """Returns the ids that are pending with the group billing, in order."""
    return lambda: list(lab_in_use.pending(stream)["entry_id"])


@pytest.fixture
def dead_letters(lab_in_use: Lab, stream: str) -> DeadLetters:
    """The dead letters of the stream."""
    return DeadLetters(lab_in_use.redis, stream)


@pytest.fixture
def process_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of a server *process*: whatever is named, an own server is one here."""
    monkeypatch.delenv("REDISFLOW_URL", raising=False)
    if os.environ.get("REDISFLOW_SERVER", "").startswith("docker"):
        monkeypatch.setenv("REDISFLOW_SERVER", "bundled")


def _has_own_lab(request: pytest.FixtureRequest) -> bool:
    return "own_lab" in request.fixturenames
