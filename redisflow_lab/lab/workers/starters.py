"""Two ways to start a process of the notebook: a fork of a template, or a new Python."""

import itertools
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Protocol
from weakref import WeakSet, finalize

import redisflow_lab
from redisflow_lab._internal.printable import printable_lines
from redisflow_lab.lab.lifeline import close_in_forks
from redisflow_lab.lab.process import Child
from redisflow_lab.lab.workers.job import Surroundings

_TEMPLATE_ANSWERS_S = 5.0
"""Limit for an answer of the template, which takes milliseconds, or a second at its start."""

_IMPORT = "import json, sys\nsys.path[:] = json.loads(sys.argv[1])\n"
_ANEW = _IMPORT + (
    "import os\nfrom redisflow_lab.lab.workers import job\n"
    "pipe, *fds = map(int, sys.argv[2:])\njob.run(os.fdopen(pipe, 'rb'), fds)\n"
)
_TEMPLATE = _IMPORT + (
    "from redisflow_lab.lab.workers import template\ntemplate.main(int(sys.argv[2]))\n"
)


class Running(Protocol):
    """A started process. It ends when this process ends, even if this one is killed."""

    @property
    def pid(self) -> int: ...

    @property
    def exit_status(self) -> int | None:
        """None while it runs; then its exit code, or minus the number of the fatal signal."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal. Does nothing if it has ended."""

    def kill(self) -> None:
        """Send SIGKILL, and wait for the end."""


class Starter(Protocol):
    """Starts processes that read a job from a pipe; see `job.run`."""

    def start(self, task: int, *, log: Path, fds: Sequence[int]) -> Running:
        """Start a process.

        task: file descriptor from which it reads its job
        log:  a file to which its output and errors are appended
        fds:  file descriptors that the job is given
        """

    @property
    def started(self) -> Collection[Running]:
        """The processes whose handles are still in use."""

    def close(self) -> None:
        """End what is kept ready for further processes."""


class Anew:
    """Starts a new Python for each process, which takes 0.3 s, mostly for imports."""

    def __init__(self) -> None:
        self.started: WeakSet[Running] = WeakSet()

    def start(self, task: int, *, log: Path, fds: Sequence[int]) -> Running:
        command = _python(_ANEW, task, *fds)
        child = Child(command, cwd=Path.cwd(), log=log, pass_fds=(task, *fds))
        self.started.add(child)
        return child

    def close(self) -> None:
        """Do nothing: nothing is kept ready."""


class Forked:
    """A process that the template forked.

    template: the one that forked it
    number:   of its job, by which the template knows it
    status:   pipe to which the template writes its pid, and later its exit status
    """

    def __init__(self, template: "_Template", number: int, status: int) -> None:
        self._template, self._number = template, number
        self._status = close_in_forks(os.fdopen(status, "rb", buffering=0))
        self._said = b""
        self._ended: int | None = None
        self._hearing = Lock()  # several threads may wait for the same process
        finalize(self, template.send, number, signal.SIGKILL)

    @property
    def pid(self) -> int:
        self._wait(lambda: self._said.count(b"\n") >= 1)
        if not self._said:
            raise RuntimeError(f"the process was not started. {self._template.describe()}")
        return int(self._said.split()[0])

    @property
    def exit_status(self) -> int | None:
        while self._ended is None and self._hear(0):
            pass
        if self._ended is None and not self._template.child.running:
            self._ended = -signal.SIGKILL  # killed with its template
        return self._ended

    def signal(self, number: signal.Signals) -> None:
        self._template.send(self._number, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._wait(lambda: False)

    def _wait(self, state: Callable[[], bool]) -> None:
        """Wait until the state is reached or the process has ended.

        A template that does not answer within the limit has been stopped (SIGSTOP): it is
        killed, and its processes with it.
        """
        until = monotonic() + _TEMPLATE_ANSWERS_S
        while not state() and self.exit_status is None:
            if not self._hear(0.05) and monotonic() > until:
                self._template.child.kill()

    def _hear(self, limit_s: float) -> bool:
        """Read what the template wrote. Returns False if there is nothing within the limit."""
        with self._hearing:
            if self._ended is not None:
                return False
            if not select.select([self._status], [], [], limit_s)[0]:
                return False
            said = self._status.read(64)
            self._said += said
            if not said:  # the template was killed, and its processes with it
                self._ended = -signal.SIGKILL
            elif self._said.count(b"\n") == 2:
                self._ended = int(self._said.split()[1])
            if self._ended is not None:
                self._status.close()
            return True


class _Template:
    """A running template, and the socket to it."""

    def __init__(self, log: Path) -> None:
        self._log = log
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.child = Child(
                _python(_TEMPLATE, theirs.fileno()),
                cwd=Path("/"),
                log=log,
                pass_fds=(theirs.fileno(),),
            )
        self.control = close_in_forks(ours)

    def send(self, number: int, which: signal.Signals) -> None:
        """Send a signal to one of the template's processes."""
        message = {"job": number, "signal": int(which)}
        with suppress(OSError):  # it has ended, and so has the process
            self.control.send(json.dumps(message).encode())

    def describe(self) -> str:
        """What the template printed, if it could not start; else that it was killed."""
        said = printable_lines(self._log.read_text(errors="replace").strip()[-2_000:])
        return f"The template that forks said:\n{said}" if said else "Its template was killed."


class FromTemplate:
    """Starts processes as forks of a template, in about 10 ms. Linux only.

    The template is started at first use. If it is killed, the next process gets a new one.

    folder: where the output of the template is kept
    """

    def __init__(self, folder: Path) -> None:
        self._log = folder / "template.log"
        self._numbers = itertools.count(1)
        self._template: _Template | None = None
        self._starting = Lock()  # workers may be started from several threads
        self.started: WeakSet[Running] = WeakSet()

    def start(self, task: int, *, log: Path, fds: Sequence[int]) -> Running:
        template, number = self._running_template(), next(self._numbers)
        ours, theirs = os.pipe()
        forked = Forked(template, number, ours)
        self.started.add(forked)  # before the fork, so that an interrupt cannot lose it
        message = json.dumps({"job": number}).encode()
        try:
            with log.open("ab") as output:
                fds = [task, output.fileno(), theirs, *fds]
                socket.send_fds(template.control, [message], fds)
        finally:
            os.close(theirs)
        return forked

    def close(self) -> None:
        """End the template, and every process that it forked."""
        if self._template is not None:
            self._template.control.close()
            self._template.child.kill()

    def _running_template(self) -> _Template:
        """The template; a new one if none runs. It may not be ready yet."""
        with self._starting:
            if self._template is not None and not self._template.child.running:
                if (self._template.child.exit_status or 0) > 0:
                    raise RuntimeError(
                        f"no process can be started. {self._template.describe()}"
                    )
                self._template = None
            if self._template is None:
                self._template = _Template(self._log)
            return self._template


def new_starter(folder: Path) -> Starter:
    """The fastest starter that is safe here. Forks are not on macOS: its libraries use threads.

    folder: for the output of the template
    """
    return FromTemplate(folder) if sys.platform == "linux" else Anew()


def _python(code: str, *arguments: int) -> list[str | Path]:
    """A Python command: unbuffered, as a kill would lose the buffer, and with our path only."""
    path = json.dumps(_path_of_the_package())
    return [sys.executable, "-uP", "-c", code, path, *map(str, arguments)]


def _path_of_the_package() -> list[str]:
    """Where a process finds its own modules: `sys.path` without the current folder.

    A file signal.py beside the notebook must not replace the module of Python. The folder is
    kept if this package is in it.
    """
    here = Surroundings.here()
    if Path(redisflow_lab.__file__).parent.parent == Path(here.folder):
        return here.path
    return [entry for entry in here.path if entry not in ("", here.folder)]
