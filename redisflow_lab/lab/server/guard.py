"""Cleaning up where no child process ends by itself: in Docker, and on a server we visit."""

import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from weakref import finalize

from redisflow_lab.lab.server.interface import ServerError


class Guard:
    """A process that calls `task` when this object or this process is gone, however it ended.

    task: a function of a module, or a `functools.partial` of one; it travels through a pipe,
          where nobody reads a password
    """

    def __init__(self, task: Callable[[], None]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import main; main()"],
            stdin=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._pipe = self._process.stdin
        # Popen keeps itself, and the pipe, while its process runs.
        finalize(self, self._pipe.close)
        self._pipe.write(pickle.dumps(task))
        self._pipe.flush()

    @property
    def dismissed(self) -> bool:
        return self._pipe.closed

    def dismiss(self) -> None:
        """The task was done, or is not needed any more."""
        if not self.dismissed:
            self._pipe.write(b"\n")
            self._pipe.close()
            self._process.wait()


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    task: Callable[[], None] = pickle.load(sys.stdin.buffer)
    if not sys.stdin.buffer.read(1):  # the end of the file, and no word before it
        try:
            task()
        except ServerError as error:  # a traceback would help nobody: the kernel is gone
            sys.exit(str(error))
