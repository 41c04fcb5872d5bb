"""A real server for every test: a shared one, or an own one for tests that kill it."""

from collections.abc import Iterator

import pytest

from redisflow_lab.lab import Lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.close()


@pytest.fixture
def own_lab() -> Iterator[Lab]:
    """A lab of the test's own, whose server it may kill."""
    lab = Lab()
    yield lab
    lab.close()


@pytest.fixture
def stream(request: pytest.FixtureRequest) -> str:
    """A stream that no other test uses."""
    return f"orders:{request.module.__name__}:{request.node.name}"


@pytest.fixture(autouse=True)
def no_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test starts its own servers, whatever the shell says."""
    monkeypatch.delenv("REDISFLOW_URL", raising=False)
