"""Skips a chapter, with the reason, if the server lacks what it needs."""

from collections.abc import Generator
from typing import Any

import pytest
from nbval import kernel

from redisflow_lab.lab.chapters import kernel_settings, reason_to_skip


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    path = collector.path
    if (
        path.suffix == ".ipynb"
        and report.passed
        and (reason := reason_to_skip(path))
    ):
        where: Any = (str(path), None, f"Skipped: {reason}")
        return pytest.CollectReport(collector.nodeid, "skipped", where, [])
    return report


_Manager = kernel.KernelManager


def _manager(**settings: Any) -> Any:
    return _Manager(**settings, **kernel_settings())


kernel.KernelManager = _manager
