"""A function of the notebook in its own operating-system process."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from redisflow_lab._internal.printable import printable, printable_lines
from redisflow_lab.lab.process import describe_exit
from redisflow_lab.lab.waiting import WHAT_TO_TRY, wait_until
from redisflow_lab.lab.workers.job import Surroundings, pack
from redisflow_lab.lab.workers.starters import Running, Starter


class Process:
    """The notebook's handle of a process. Made by `Lab.process`.

    The process has the working folder and the `sys.path` of the notebook, so a function imports
    and opens the same files in both. It is killed by `kill`, by `Lab.close`, and when the
    notebook's process ends.

    name: for messages
    """

    def __init__(
        self,
        name: str,
        call: bytes,
        *,
        starter: Starter,
        log: Path,
        fds: Sequence[int] = (),
        progress: Callable[[], str] = lambda: "It is still running.",
        cause: Callable[[], str] = lambda: "",
        on_end: Callable[["Process"], None] = lambda _: None,
    ) -> None:
        """Start the process.

        call:     what it does; see `pickling.pack_call`
        log:      a file for what it prints
        fds:      file descriptors for the function; closed in this process
        progress: describes what it has done so far, for error messages
        cause:    says why a state was not reached, if that is known; else returns ""
        on_end:   called once, when `wait_end`, `stop` or `kill` has seen its end
        """
        self.name = name
        self._progress, self._cause, self._on_end = progress, cause, on_end
        self._log = log
        self._final_output: str | None = None
        task_read, task_write = os.pipe()
        self._running: Running = starter.start(task_read, log=log, fds=fds)
        for fd in (task_read, *fds):
            os.close(fd)
        with os.fdopen(task_write, "wb") as pipe:
            pipe.write(pack(Surroundings.here(), call))

    def __repr__(self) -> str:
        return f"<process {printable(self.name)}: {self.state}>"

    @property
    def state(self) -> str:
        """Running, or how it ended: "SIGKILL" or "exit 0", for example."""
        status = self._running.exit_status
        return "running" if status is None else describe_exit(status)

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def output(self) -> str:
        """What the process has printed so far, with its errors and its log."""
        return self._read_log() if self._final_output is None else self._final_output

    @property
    def ended(self) -> bool:
        """Whether the process has ended, for whatever reason."""
        return self._running.exit_status is not None

    @property
    def died(self) -> bool:
        """Whether a signal killed it."""
        return (self._running.exit_status or 0) < 0

    def wait_end(self, *, timeout_s: float = 15.0) -> str:
        """Wait until the process has ended. Returns how: "SIGKILL" or "exit 0", for example.

        Raises TimeoutError after `timeout_s` seconds, and RuntimeError, with the output of
        the process, if its exit code is not 0.
        """
        wait_until(
            lambda: self.ended,
            f"{printable(self.name)} ends",
            timeout_s=timeout_s,
            details=self.describe_progress,
        )
        status = self._running.exit_status
        assert status is not None
        self.keep_output()
        if status > 0:
            raise RuntimeError(
                f"{printable(self.name)} failed ({self.state}). {self.describe_output()}"
            )
        return self.state

    def stop(self) -> str:
        """Send SIGTERM, and wait for the end. Returns how it ended."""
        self._running.signal(signal.SIGTERM)
        return self.wait_end()

    def kill(self) -> str:
        """Send SIGKILL, and wait for the end. Returns how it ended."""
        if not self.ended:
            self._running.kill()
        self.keep_output()
        return self.state

    def keep_output(self) -> None:
        """Keep the output of an ended process in memory: `Lab.close` removes its file."""
        if self._final_output is None:
            self._final_output = self._read_log()
            self._on_end(self)

    def describe_progress(self) -> str:
        """What it has done, and why no more: its output and advice if that is not known."""
        cause = self._cause() or f"{self.describe_output()}\n{WHAT_TO_TRY}"
        return f"{self._progress()} {cause}"

    def describe_output(self) -> str:
        output = printable_lines(self.output.strip()[-2_000:])
        return f"Its output was:\n{output}" if output else "It printed nothing."

    def _read_log(self) -> str:
        return self._log.read_text(errors="replace")


def name_of(function: Callable[..., Any]) -> str:
    """What a function is called in messages."""
    return getattr(function, "__name__", type(function).__name__)
