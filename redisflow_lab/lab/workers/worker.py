"""A consumer in its own operating-system process, which a notebook can kill with SIGKILL."""

import io
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from types import NoneType
from typing import Any

import cloudpickle
import pandas as pd
from redis import ConnectionPool, Redis

import redisflow_lab
from redisflow_lab._internal.checks import check_name, check_positive
from redisflow_lab._internal.printable import printable, printable_lines
from redisflow_lab._internal.user_code import check_handler
from redisflow_lab.consumer import RedisStreamConsumer
from redisflow_lab.events import Event, Kind
from redisflow_lab.interfaces import Handler
from redisflow_lab.lab.process import Child
from redisflow_lab.lab.waiting import WHAT_TO_TRY, wait_until
from redisflow_lab.lab.workers.worker_process import CRASH_POINTS, Job, Options

_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[3])
from redisflow_lab.lab.workers.worker_process import main
sys.path[:] = json.loads(sys.argv[4])
main(int(sys.argv[1]), int(sys.argv[2]))
"""


class Worker:
    """The notebook's handle of a consumer process. Made by `Lab.worker`.

    The process runs `RedisStreamConsumer.run` with `handler` and sends each event through a
    pipe, so that `events` and `count` show what it did, even after it was killed. With
    `crash`, it sends itself SIGKILL when it reaches that point for the `after`th time. It is
    killed by `kill`, by `Lab.close`, and with the notebook's process.

    It works in the folder in which the notebook works, and with its `sys.path`, so a handler
    imports and opens the same files in both. What it prints is in `output`.

    name:     of the consumer; "worker" if a random one was asked for
    consumer: stream, group and name, as they were given
    """

    def __init__(
        self,
        redis: Redis,
        name: str | None,
        handler: Handler,
        *,
        stream: str,
        group: str,
        crash: str | None,
        after: int,
        options: Options,
        folder: Path,
        replaces: Sequence["Worker"] = (),
    ) -> None:
        """Start the process.

        redis, stream, group, name, handler, crash, after, options: see `Lab.worker`
        folder:   where the output of the process is kept
        replaces: workers to kill before, once the arguments are checked

        Raises TypeError or ValueError for an argument that cannot be used.
        """
        check_handler(handler)
        check_name("stream", stream)
        check_name("group", group)
        # Only for its checks: an error in the process would not be seen here.
        RedisStreamConsumer(redis, stream, group, name, **options)
        if crash is not None and crash not in CRASH_POINTS:
            raise ValueError(
                f"crash={crash!r} is not a crash point; use one of {', '.join(CRASH_POINTS)}"
            )
        check_positive("after", after)
        self.name = "worker" if name is None else check_name("name", name)
        self.consumer = (stream, group, name)
        self._events: list[Event] = []
        self._final_output: str | None = None
        self._log = folder / f"{id(self):x}.log"
        job = _pack(Job(redis, stream, group, name, handler, options, crash, after))
        for worker in replaces:
            worker.kill()
        job_read, job_write = os.pipe()
        events_read, events_write = os.pipe()
        self._child = Child(
            [
                sys.executable,
                "-uP",  # no buffer, which a kill would lose; and no other path than ours
                "-c",
                _START,
                str(job_read),
                str(events_write),
                json.dumps(_path_of_the_process()),
                json.dumps([str(entry) for entry in sys.path]),
            ],
            cwd=Path.cwd(),
            log=self._log,
            pass_fds=(job_read, events_write),
        )
        os.close(job_read)
        os.close(events_write)
        with os.fdopen(job_write, "wb") as pipe:
            pipe.write(job)
        self._reader = Thread(target=self._collect, args=(events_read,), daemon=True)
        self._reader.start()

    def __repr__(self) -> str:
        status = self._child.exit_status
        state = "running" if status is None else _describe_exit(status)
        return f"<worker {printable(self.name)}: {state}, {self.count('acked')} acked>"

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def output(self) -> str:
        """What the process has printed so far, with its errors and its log."""
        return self._read_log() if self._final_output is None else self._final_output

    @property
    def ended(self) -> bool:
        """Whether the process has ended, for whatever reason."""
        return not self._child.running

    @property
    def died(self) -> bool:
        """Whether a signal killed it."""
        return (self._child.exit_status or 0) < 0

    @property
    def events(self) -> pd.DataFrame:
        """One row per event: kind, entry_id, consumer, at, deliveries, error.

        `at` is in seconds of time.monotonic(); `events.Event` describes the other columns.
        """
        columns = ["kind", "entry_id", "consumer", "at", "deliveries", "error"]
        rows = [[getattr(event, column) for column in columns] for event in [*self._events]]
        return pd.DataFrame(rows, columns=columns)

    def count(self, kind: str) -> int:
        """How many events of this kind it has reported; see `events.Kind` for the kinds."""
        wanted = Kind(kind)
        return sum(event.kind is wanted for event in [*self._events])

    def wait_for(self, kind: str, count: int = 1, *, timeout_s: float = 15.0) -> None:
        """Wait until the process has reported `count` events of this kind, such as "acked".

        Raises TimeoutError after `timeout_s` seconds, and RuntimeError if the process ends
        first.
        """
        wait_until(
            lambda: self.count(kind) >= count or not self._child.running,
            f"{printable(self.name)} reports {count} x {kind}",
            timeout_s=timeout_s,
            details=self._describe_progress,
        )
        if self.count(kind) < count:
            self._reader.join(timeout_s)
        if self.count(kind) < count:
            raise RuntimeError(
                f"{printable(self.name)} ended ({self.wait_end()}) after {self.count(kind)} of "
                f"{count} x {kind}. {self._describe_output()}"
            )

    def wait_end(self, *, timeout_s: float = 15.0) -> str:
        """Wait until the process has ended. Returns how: "SIGKILL" or "exit 0", for example.

        Raises TimeoutError after `timeout_s` seconds, and RuntimeError, with the output of
        the process, if its exit code is not 0.
        """
        wait_until(
            lambda: not self._child.running,
            f"{printable(self.name)} ends",
            timeout_s=timeout_s,
            details=self._describe_progress,
        )
        self._reader.join(timeout_s)
        status = self._child.exit_status
        assert status is not None
        if status > 0:
            raise RuntimeError(
                f"{printable(self.name)} failed ({_describe_exit(status)}). "
                f"{self._describe_output()}"
            )
        return _describe_exit(status)

    def stop(self) -> str:
        """Send SIGTERM: it finishes and acknowledges its message, then ends. Returns how."""
        self._child.signal(signal.SIGTERM)
        return self.wait_end()

    def kill(self) -> str:
        """Send SIGKILL, and wait for the end. Returns how it ended."""
        self._child.kill()
        self._reader.join()
        return _describe_exit(self._child.exit_status or 0)

    def _collect(self, events_read: int) -> None:
        with os.fdopen(events_read) as lines:
            for line in lines:
                fields = json.loads(line)
                self._events.append(Event(**{**fields, "kind": Kind(fields["kind"])}))
        # The process has ended. `Lab.close` removes the file.
        self._final_output = self._read_log()

    def _read_log(self) -> str:
        return self._log.read_text(errors="replace")

    def _describe_progress(self) -> str:
        counts = Counter(event.kind.value for event in [*self._events])
        reported = ", ".join(f"{count} x {kind}" for kind, count in counts.items())
        return (
            f"It is still running and has reported {reported or 'no event'}. "
            f"{self._describe_output()}\n{WHAT_TO_TRY}"
        )

    def _describe_output(self) -> str:
        output = printable_lines(self.output.strip()[-2_000:])
        return f"Its output was:\n{output}" if output else "It printed nothing."


def _path_of_the_process() -> list[str]:
    """Where the process finds its own modules: `sys.path` without the current folder.

    A file signal.py beside the notebook must not replace the module of Python. The folder
    stays if this package is in it.
    """
    path, here = [str(entry) for entry in sys.path], os.getcwd()
    if Path(redisflow_lab.__file__).parent.parent == Path(here):
        return path
    return [entry for entry in path if entry not in ("", here)]


def _describe_exit(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit {status}"


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles functions with what they use, and a Redis client as its configuration.

    The `retry` of a client is left out, so that its copy in the process does not retry.
    """

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Redis):
            pool = value.connection_pool
            plain = (str, int, float, bool, NoneType)
            settings = {
                name: setting
                for name, setting in pool.connection_kwargs.items()
                if isinstance(setting, plain) and not name.startswith("orig_")
            }
            return _reconnect, (pool.connection_class, settings)
        return super().reducer_override(value)


def _reconnect(connection_class: type, settings: dict[str, Any]) -> Redis:
    return Redis.from_pool(ConnectionPool(connection_class=connection_class, **settings))


def _pack(job: Job) -> bytes:
    packed = io.BytesIO()
    try:
        _Pickler(packed).dump(job)
    except Exception as error:
        raise TypeError(
            f"the handler {job.handler!r} cannot be copied into another process: {error}. "
            "It may use functions, plain values and Redis clients only"
        ) from error
    return packed.getvalue()
