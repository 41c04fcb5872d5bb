"""A process that has imported what workers need, so that its forks are ready in milliseconds.

The notebook's own process cannot fork safely, because it has threads. This one has none. It
reads from a socket, whose other end only the notebook holds: a new job arrives as file
descriptors (its pipe, its output, its exit status, and those of the job itself), a signal as
its number. When the socket is closed, the notebook is gone: this process kills its forks and
ends. If it is killed itself, Linux kills its forks (prctl(2)).
"""

import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import BinaryIO

# Imported for the forks.
from redisflow_lab.lab.workers import job, pickling, worker_process

__all__ = ["pickling", "worker_process"]

_PR_SET_PDEATHSIG = 1
_LARGEST = 4_096
_MAX_FDS = 8


class Template:
    """Forks processes, and reports how each ended.

    control: socket to the notebook, with a JSON object in each packet
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._libc = ctypes.CDLL(None)
        self._status_of: dict[int, int] = {}  # by pid: a pipe that gets the status
        self._pid_of: dict[int, int] = {}  # by the number of the job

    def serve(self) -> tuple[BinaryIO, list[int]]:
        """Fork a process for each job, until the notebook is gone.

        Returns only in the forks, with the pipe of the job and the job's file descriptors.
        """
        ended, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        gc.freeze()  # nothing loaded so far is collected, so its pages stay shared
        while True:
            ready, _, _ = select.select([self._control.fileno(), ended], [], [])
            if ended in ready:
                os.read(ended, 512)
                self._report()
            if self._control.fileno() in ready:
                packet, fds, _, _ = socket.recv_fds(self._control, _LARGEST, _MAX_FDS)
                if not packet:
                    self._kill_all()
                    sys.exit()
                message = json.loads(packet)
                if fds:
                    if self._fork(message["job"], fds[2]) == 0:
                        os.close(ended)
                        os.close(wake)
                        return self._become(fds)
                    for fd in fds[:2] + fds[3:]:
                        os.close(fd)
                elif pid := self._pid_of.get(message["job"]):
                    _send(pid, message["signal"])

    def _fork(self, number: int, status: int) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # the parent died before prctl took effect
                os._exit(1)
            return pid
        self._status_of[pid], self._pid_of[number] = status, pid
        _tell(status, pid)
        return pid

    def _become(self, fds: list[int]) -> tuple[BinaryIO, list[int]]:
        """Turn this fork into the process of a job."""
        os.setsid()  # Ctrl-C, or interrupting a cell, does not reach it
        task, log, status, *given = fds
        self._control.close()
        for fd in (status, *self._status_of.values()):
            os.close(fd)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.close(nothing)
        os.close(log)
        return os.fdopen(task, "rb"), given

    def _report(self) -> None:
        """Report to the notebook which processes have ended, and how."""
        while self._status_of:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return
            _send(found.si_pid, signal.SIGKILL)  # to processes that it left behind
            pid, how = os.waitpid(found.si_pid, 0)
            status = self._status_of.pop(pid)
            number = next(number for number, of in self._pid_of.items() if of == pid)
            del self._pid_of[number]
            _tell(status, os.waitstatus_to_exitcode(how))
            os.close(status)

    def _kill_all(self) -> None:
        for pid in self._status_of:
            _send(pid, signal.SIGKILL)


def _send(pid: int, number: int) -> None:
    """Send a signal to a process; SIGKILL to its whole group."""
    if number != signal.SIGKILL:
        os.kill(pid, number)
        return
    with suppress(ProcessLookupError):  # it has not made its group yet
        os.killpg(pid, number)
    os.kill(pid, number)


def _tell(status: int, number: int) -> None:
    with suppress(BrokenPipeError):  # the handle is gone
        os.write(status, b"%d\n" % number)


def main(control_fd: int) -> None:
    """Serve the notebook; in each fork, do its job."""
    pipe, fds = Template(socket.socket(fileno=control_fd)).serve()
    job.run(pipe, fds)
