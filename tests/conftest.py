"""A real server for every test: a shared one, or an own one for tests that kill it.

The shared one is what the environment names (REDISFLOW_URL or REDISFLOW_SERVER), so that
everything a user relies on is tested there as well.
"""

import os
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
    lab = Lab("own")
    yield lab
    lab.close()


@pytest.fixture
def stream(lab: Lab, request: pytest.FixtureRequest) -> str:
    """A stream that no other test uses."""
    return lab.key(f"orders:{request.module.__name__}:{request.node.name}")


@pytest.fixture
def process_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of a server *process*: whatever is named, an own server is one here."""
    monkeypatch.delenv("REDISFLOW_URL", raising=False)
    if os.environ.get("REDISFLOW_SERVER", "").startswith("docker"):
        monkeypatch.setenv("REDISFLOW_SERVER", "bundled")
