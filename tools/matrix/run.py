"""Run one row: the tests and the chapters, and count how they ended."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tools.matrix.environments import FOLDER, ROOT, MissingError
from tools.matrix.rows import Row

LIMIT_S = 1_800
"""How long the tests or the chapters of one row may take."""

_SAY = "from redisflow_lab.lab import Lab; lab = Lab(); lab.close()"


@dataclass(frozen=True)
class Count:
    """Tests, or whole chapters."""

    passed: int = 0
    skipped: int = 0
    failed: int = 0

    def __str__(self) -> str:
        named = {"skipped": self.skipped, "FAILED": self.failed}
        more = [f"{number} {name}" for name, number in named.items() if number]
        return ", ".join([f"{self.passed} passed", *more])


@dataclass
class Result:
    """The outcome of a row.

    server:  the name the lab gives it, or how the row would have got one
    problem: why the row was not run to its end; empty if it was
    missing: what this machine needs to run the row; empty if it can
    """

    row: Row
    server: str
    tests: Count = Count()
    chapters: Count = Count()
    seconds: float = 0.0
    problem: str = ""
    missing: str = ""

    @property
    def good(self) -> bool:
        return not (self.problem or self.tests.failed or self.chapters.failed)


def run(row: Row, number: int) -> Result:
    """Run one row. The output of pytest goes to the terminal."""
    began = time.monotonic()
    result = Result(row, row.wanted)
    try:
        python = row.interpreter()
        with row.server() as named:
            environment = {**os.environ, "REDISFLOW_URL": "", **named}
            result.server = _name(python, environment)
            print(
                f"== {result.server}, Python {row.python}, {row.packages} packages", flush=True
            )
            report = FOLDER / f"{number}.xml"
            tests = ("-n", "2", "--dist", "worksteal", "tests")
            result.tests = tests_of(
                report_of(python, environment, report, *tests, "-m", _wanted(row))
            )
            chapters = ("-n", "2", "--dist", "loadfile", "--nbval", "notebooks")
            result.chapters = chapters_of(report_of(python, environment, report, *chapters))
    except MissingError as error:
        result.missing = str(error)
    except Exception as error:  # the other rows still run
        result.problem = f"{type(error).__name__}: {error}"
    result.seconds = time.monotonic() - began
    return result


def _wanted(row: Row) -> str:
    """Which tests to run, as pytest's marks."""
    wanted = ["(not slow or by_server)" if row.slow else "not slow"]
    if not row.whole:
        wanted.append("not once")
    if row.again:
        wanted.append("not by_server")
    return " and ".join(wanted)


def _name(python: Path, environment: Mapping[str, str]) -> str:
    said = subprocess.run(
        [python, "-c", _SAY],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if said.returncode:
        raise subprocess.SubprocessError(said.stderr.strip().splitlines()[-1])
    return said.stdout.strip().removeprefix("The lab runs on ").removesuffix(".")


def report_of(
    python: Path, environment: Mapping[str, str], file: Path, *arguments: str
) -> ElementTree.Element:
    """Run pytest with these arguments and return its report, which it writes to `file`.

    Raises SubprocessError if pytest ended early: its report then names no failure.
    """
    done = subprocess.run(
        [python, "-m", "pytest", "-q", f"--junitxml={file}", *arguments],
        cwd=ROOT, env=environment, check=False, timeout=LIMIT_S,
    )  # fmt: skip
    if done.returncode not in (0, 1):  # all passed, or some failed
        problem = f"pytest {' '.join(arguments)} ended with {done.returncode}"
        raise subprocess.SubprocessError(problem)
    return ElementTree.parse(file).getroot()


def _outcome(case: ElementTree.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "passed" if case.find("skipped") is None else "skipped"


def _counted(outcomes: Sequence[str]) -> Count:
    return Count(*(outcomes.count(name) for name in ("passed", "skipped", "failed")))


def tests_of(report: ElementTree.Element) -> Count:
    return _counted([_outcome(case) for case in report.iter("testcase")])


def chapters_of(report: ElementTree.Element) -> Count:
    """A chapter has failed if one of its cells has, and is skipped if no cell was run."""
    outcomes: dict[str, set[str]] = {}
    for case in report.iter("testcase"):
        chapter = case.get("classname") or case.get("name") or ""
        outcomes.setdefault(chapter, set()).add(_outcome(case))
    worst = [
        next(name for name in ("failed", "skipped", "passed") if name in found)
        for found in outcomes.values()
    ]
    return _counted(worst)
