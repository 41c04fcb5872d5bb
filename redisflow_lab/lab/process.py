"""Child processes and folders that never outlive this process, even if it is killed."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from weakref import finalize

from redisflow_lab.lab.lifeline import close_in_forks

# The shell replaces itself with the program (exec), so pid and exit status are the program's.
# Before that it starts a guard, which reads from a pipe whose other end only this process
# holds. A line means that this process has waited for the program, so the guard exits. End
# of file means that this process is gone, for whatever reason: the guard kills the program
# with its forks, itself included, which works on a stopped program, too.
_GUARDED = """
exec {fd}<&0 </dev/null
(
  trap '' INT TERM HUP
  if read -r _ <&{fd}; then exit; fi
  kill -KILL -$$
) >/dev/null 2>&1 &
exec {fd}<&-
exec "$@"
"""
_FDS = range(3, 10)  # that every shell can name

# The same for a folder. A program that still writes there can make the first rm fail.
_GUARDED_FOLDER = """
trap '' INT TERM HUP
read -r _
rm -rf "$1" || { sleep 1; rm -rf "$1"; }
"""


def describe_exit(status: int) -> str:
    """An exit status in words: "exit 1", or the name of the fatal signal."""
    if status >= 0:
        return f"exit {status}"
    known = {int(number): number.name for number in signal.Signals}
    return known.get(-status, f"signal {-status}")


class Child:
    """A running program. It is killed when this object or this process goes away.

    command:  the program and its arguments
    cwd:      its working directory
    log:      a file to which its output and errors are appended
    pass_fds: file descriptors that it inherits, at most six
    umask:    permissions that its new files do not get; -1 for those of this process

    It runs in a session of its own: Ctrl-C, or interrupting a cell, does not reach it. Works
    on Linux and macOS; needs only /bin/sh.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        log: Path,
        pass_fds: Sequence[int] = (),
        umask: int = -1,
    ) -> None:
        script = _GUARDED.format(fd=next(fd for fd in _FDS if fd not in pass_fds))
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", script, "sh", *map(str, command)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=cwd,
                pass_fds=pass_fds,
                umask=umask,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._dismissing = Lock()  # several threads may look after the same program
        assert self._process.stdin is not None
        # Popen keeps a reference to itself, and so to the pipe, while its process runs.
        finalize(self, close_in_forks(self._process.stdin).close)

    @property
    def running(self) -> bool:
        return self.exit_status is None

    @property
    def exit_status(self) -> int | None:
        """None while it runs; then its exit code, or minus the number of the fatal signal."""
        status = self._process.poll()
        if status is not None:
            self._dismiss_guard()
        return status

    def signal(self, number: signal.Signals) -> None:
        """Send a signal. Does nothing if the program has ended."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL to it and its forks, and wait for its end."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._dismiss_guard()

    def _dismiss_guard(self) -> None:
        lifeline = self._process.stdin
        with self._dismissing:
            if lifeline is not None and not lifeline.closed:
                with suppress(BrokenPipeError):  # killed before the guard started
                    lifeline.write(b"\n")
                    lifeline.close()


class PrivateFolder:
    """A new temporary folder with mode 0700, removed by `remove` or with this process.

    path: the folder

    Raises OSError if TMPDIR is not writable.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="redisflow-"))
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARDED_FOLDER, "sh", self.path],
            bufsize=0,
            stdin=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )
        assert self._guard.stdin is not None
        close_in_forks(self._guard.stdin)

    def remove(self) -> None:
        """Remove the folder and everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()
