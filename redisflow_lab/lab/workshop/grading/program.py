"""The learner's program as a process, with everything that it starts."""

import os
import secrets
import signal
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from textwrap import fill
from threading import Thread

import psutil

from redisflow_lab._internal.printable import printable_lines
from redisflow_lab.lab.process import Child, describe_exit

_MARK = "REDISFLOW_GRADED"
_LAST_LINES = 12
_LONGEST_LINE = 400
_WIDTH = 70


class Program:
    """One run of the program. Only the last lines that it prints are kept.

    command: with its arguments
    folder:  in which it runs
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._mark = secrets.token_hex(8)
        self._printed: deque[str] = deque(maxlen=_LAST_LINES)
        output, written = os.pipe()
        environment = ["env", f"{_MARK}={self._mark}", "PYTHONUNBUFFERED=1"]
        try:
            self._child = Child(
                [*environment, *command], cwd=folder, log=Path(f"/dev/fd/{written}")
            )
        finally:
            os.close(written)
        self._reader = Thread(target=self._read, args=(output,), daemon=True)
        self._reader.start()

    @property
    def running(self) -> bool:
        return self._child.running

    @property
    def exit_status(self) -> int | None:
        """None while it runs; then its exit code, or minus the number of the fatal signal."""
        return self._child.exit_status

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._child.signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the program and to each process that it has started."""
        # Its group first: the loop below could not keep up with a program that keeps forking.
        with suppress(ProcessLookupError):  # it is empty
            os.killpg(self._child.pid, signal.SIGKILL)
        while found := self._processes():
            for process in found:
                with suppress(psutil.NoSuchProcess):  # it has ended by itself
                    process.kill()
        self._child.kill()

    def describe(self) -> str:
        """How it ended, if it did, and what it printed last."""
        status = self.exit_status
        how = "it is running" if status is None else f"it ended with {describe_exit(status)}"
        if status is not None:
            self._reader.join(1)
        lines = [fill(line, _WIDTH) for line in [*self._printed]]  # breaks long words, too
        printed = printable_lines("\n".join(lines).strip())
        return f"{how}, and printed:\n{printed}" if printed else f"{how}, and printed nothing"

    def _processes(self) -> list[psutil.Process]:
        """The processes with the mark in their environment, which each fork inherits."""
        return [
            process
            for process in psutil.process_iter(["environ", "status"])
            if (process.info["environ"] or {}).get(_MARK) == self._mark
            and process.info["status"] != psutil.STATUS_ZOMBIE
        ]

    def _read(self, output: int) -> None:
        with os.fdopen(output, "rb") as stream:
            while line := stream.readline(_LONGEST_LINE):
                self._printed.append(line.decode(errors="replace").rstrip("\n"))
