"""The matrix counts whole chapters, and never counts as passed what did not run."""

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from subprocess import SubprocessError
from xml.etree import ElementTree

import pytest

from tools.matrix.__main__ import line
from tools.matrix.environments import MissingError
from tools.matrix.rows import HERE, Row
from tools.matrix.run import Count, chapters_of, report_of, run

pytestmark = pytest.mark.once


def missing() -> nullcontext[dict[str, str]]:
    raise MissingError("apt install it")


def test_a_server_that_is_not_here_is_no_failure() -> None:
    result = run(Row("another Redis", missing), 0)
    assert result.missing == "apt install it"
    assert result.good
    assert line(result) == ("another Redis", HERE, "locked", "not here", "not here", "-")


def test_a_server_that_does_not_work_is_a_failure() -> None:
    result = run(Row("broken", lambda: nullcontext({"REDISFLOW_SERVER": "memcached"})), 0)
    assert not result.missing
    assert not result.good
    assert "memcached" in result.problem


def gone() -> nullcontext[dict[str, str]]:
    raise ConnectionError("the host went away")


def test_a_row_that_crashes_is_a_failed_one_and_no_more() -> None:
    result = run(Row("a URL", gone), 0)
    assert not result.missing
    assert not result.good
    assert result.problem == "ConnectionError: the host went away"


@pytest.mark.parametrize("status", [2, 3, 5])
def test_a_run_that_ended_early_does_not_count(tmp_path: Path, status: int) -> None:
    """Its report names no failure."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho "<testsuites/>" > {tmp_path}/report.xml\nexit {status}\n'
    )
    python.chmod(0o755)
    with pytest.raises(SubprocessError, match=f"pytest tests ended with {status}"):
        report_of(python, {}, tmp_path / "report.xml", "tests")


@pytest.mark.slow
def test_a_chapter_that_is_skipped_has_not_passed(tmp_path: Path) -> None:
    chapters = [
        f"notebooks/{name}.ipynb"
        for name in ("00_start_here", "21_redis_8_acknowledge_delete_trim")
    ]
    environment = {**os.environ, "REDISFLOW_SERVER": "bundled", "REDISFLOW_URL": ""}
    report = report_of(
        Path(sys.executable), environment, tmp_path / "report.xml", "--nbval", *chapters
    )
    assert chapters_of(report) == Count(passed=1, skipped=1)


@pytest.mark.parametrize("wrong", ["failure", "error"])
def test_a_chapter_with_one_bad_cell_has_failed(wrong: str) -> None:
    report = ElementTree.fromstring(
        f'<suite><testcase classname="01"/><testcase classname="01"><{wrong}/></testcase>'
        '<testcase classname="02"/></suite>'
    )
    assert chapters_of(report) == Count(passed=1, failed=1)
