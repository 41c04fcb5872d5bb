"""Skips a whole chapter, with the reason, if the server does not support what it needs."""

from collections.abc import Generator
from typing import Any

import pytest

from redisflow_lab.lab.chapters import reason_to_skip


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    path = collector.path
    if path.suffix == ".ipynb" and report.passed and (reason := reason_to_skip(path)):
        where: Any = (str(path), None, f"Skipped: {reason}")
        return pytest.CollectReport(collector.nodeid, "skipped", where, [])
    return report
