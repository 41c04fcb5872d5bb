"""Cleanup after a kernel that was killed: containers, and keys on a shared server."""

import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from weakref import finalize

from redisflow_lab.lab.lifeline import close_in_forks
from redisflow_lab.lab.server.interface import ServerError


class Guard:
    """A separate process that runs `task` once this object or this process is gone.

    It notices the end of this process by a pipe, so SIGKILL counts as well. `dismiss` ends
    it without running the task.

    task: a module-level function, or a `functools.partial` of one. It is sent through the
          pipe: a password among its arguments appears in no list of processes.
    """

    def __init__(self, task: Callable[[], None]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import main; main()"],
            bufsize=0,
            stdin=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._pipe = close_in_forks(self._process.stdin)
        # Popen keeps a reference to itself, and so to the pipe, while its process runs.
        finalize(self, self._pipe.close)
        self._pipe.write(pickle.dumps(task))

    @property
    def dismissed(self) -> bool:
        return self._pipe.closed

    def dismiss(self) -> None:
        """End the guard without running its task, for example because it is done already."""
        if not self.dismissed:
            self._pipe.write(b"\n")
            self._pipe.close()
            self._process.wait()


def main() -> None:
    """The guard process: read the task, wait for the end of the pipe, then run the task."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    task: Callable[[], None] = pickle.load(sys.stdin.buffer)
    if not sys.stdin.buffer.read(1):  # end of file without the byte that `dismiss` writes
        try:
            task()
        except ServerError as error:  # the text is enough: the kernel has ended already
            sys.exit(str(error))
