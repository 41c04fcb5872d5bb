"""Child processes and folders that never outlive this process, however it ends."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from weakref import finalize

# The shell becomes the program (exec), so its pid and exit status are the program's own.
# Before that it leaves a guard behind, which reads from a pipe that only this process
# holds open. A line says that the program was waited for. The end of the file says that
# this process is gone, by whatever cause: then the guard kills the program, also a
# stopped one.
_GUARDED = """
exec 3<&0 </dev/null
(
  trap '' INT TERM HUP
  if read -r _ <&3; then exit; fi
  kill -KILL $$
) >/dev/null 2>&1 &
exec 3<&-
exec "$@"
"""

# The same for a folder. The second try is for a program that was still writing there.
_GUARDED_FOLDER = """
trap '' INT TERM HUP
read -r _
rm -rf "$1" || { sleep 1; rm -rf "$1"; }
"""


class Child:
    """A running program. Ends with this object, with `kill`, or with this process.

    command:  the program and its arguments
    cwd:      its working folder
    log:      a file that takes what it prints
    pass_fds: file descriptors it inherits

    It has a session of its own: interrupting a cell does not reach it. Works on Linux and
    macOS; needs only /bin/sh.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        log: Path,
        pass_fds: Sequence[int] = (),
    ) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARDED, "sh", *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=cwd,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        self.pid = self._process.pid
        assert self._process.stdin is not None
        # Popen keeps itself, and the pipe, while its process runs.
        finalize(self, self._process.stdin.close)

    @property
    def running(self) -> bool:
        return self.exit_status is None

    @property
    def exit_status(self) -> int | None:
        """None while it runs; then its exit code, or minus the signal that ended it."""
        status = self._process.poll()
        if status is not None:
            self._dismiss_guard()
        return status

    def signal(self, number: signal.Signals) -> None:
        """Send a signal. Nothing happens if it has ended."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL it, and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        self._dismiss_guard()

    def _dismiss_guard(self) -> None:
        lifeline = self._process.stdin
        if lifeline is not None and not lifeline.closed:
            with suppress(BrokenPipeError):  # it was killed before it left a guard
                lifeline.write(b"\n")
                lifeline.close()


class PrivateFolder:
    """A new folder that only its owner may enter (0700), removed with `remove` or this process.

    Raises OSError where TMPDIR cannot be written.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="redisflow-"))
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARDED_FOLDER, "sh", self.path],
            stdin=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )

    def remove(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()
