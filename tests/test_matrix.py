"""The matrix: a row that goes wrong, in whatever way, is a failed row and no more."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tools.matrix import run as running
from tools.matrix.rows import Row, bundled
from tools.matrix.run import Count, run

pytestmark = pytest.mark.once


@contextmanager
def broken() -> Iterator[Mapping[str, str]]:
    raise ConnectionError("the host went away")
    yield {}


def test_a_row_that_crashes_is_a_failed_one() -> None:
    result = run(Row("somebody's", broken), 0)
    assert result.problem == "ConnectionError: the host went away"  # type: ignore[union-attr]
    assert not result.good  # type: ignore[union-attr]


@pytest.mark.parametrize(("status", "good"), [(0, True), (1, True), (3, False), (5, False)])
def test_a_run_of_pytest_that_was_not_whole_is_a_failed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, good: bool
) -> None:
    """The report of a run that ended early names no failure."""
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        '[ "$1" = -c ] && exec echo "The lab runs on Redis 7.0.0 (path)."\n'
        'for word; do case $word in --junitxml=*) report="${word#*=}";; esac; done\n'
        f'echo "<testsuites/>" > "$report"\nexit {status}\n'
    )
    python.chmod(0o755)
    monkeypatch.setattr(Row, "interpreter", lambda _: python)
    monkeypatch.setattr(running, "FOLDER", tmp_path)
    result = run(Row("bundled", bundled), 0)
    assert result.server == "Redis 7.0.0 (path)"  # type: ignore[union-attr]
    assert result.tests == Count()  # type: ignore[union-attr]
    assert result.good is good  # type: ignore[union-attr]
