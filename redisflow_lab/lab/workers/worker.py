"""A consumer in its own operating-system process, which a notebook can kill with SIGKILL."""

import io
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from threading import Thread
from types import NoneType
from typing import Any

import cloudpickle
import pandas as pd
from redis import ConnectionPool, Redis

from redisflow_lab._internal.checks import check_name, check_positive
from redisflow_lab._internal.user_code import check_handler
from redisflow_lab.consumer import RedisStreamConsumer
from redisflow_lab.events import Event, Kind
from redisflow_lab.interfaces import Handler
from redisflow_lab.lab.process import Child
from redisflow_lab.lab.waiting import wait_until
from redisflow_lab.lab.workers.worker_process import CRASH_POINTS, Job, Options


class Worker:
    """The notebook's handle of a consumer process. Made by `Lab.worker`.

    The process runs `RedisStreamConsumer.run` with `handler` and sends each event through a
    pipe, so that `events` and `count` show what it did, even after it was killed. With
    `crash`, it sends itself SIGKILL when it reaches that point for the `after`th time. It is
    killed by `kill`, by `Lab.close`, and with the notebook's process.

    name: of the consumer; "worker" if a random one was asked for
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
    ) -> None:
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
        self._events: list[Event] = []
        self._log = folder / f"{id(self):x}.log"
        job = _pack(Job(redis, stream, group, name, handler, options, crash, after))
        job_read, job_write = os.pipe()
        events_read, events_write = os.pipe()
        self._child = Child(
            [
                sys.executable,
                "-m",
                "redisflow_lab.lab.workers.worker_process",
                str(job_read),
                str(events_write),
            ],
            cwd=folder,
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
        return f"<worker {self.name}: {state}, {self.count('acked')} acked>"

    @property
    def pid(self) -> int:
        return self._child.pid

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
            f"{self.name} reports {count} x {kind}",
            timeout_s=timeout_s,
            details=self._describe_progress,
        )
        if self.count(kind) < count:
            self._reader.join(timeout_s)
        if self.count(kind) < count:
            raise RuntimeError(
                f"{self.name} ended ({self.wait_end()}) after {self.count(kind)} of {count} x "
                f"{kind}. {self._output()}"
            )

    def wait_end(self, *, timeout_s: float = 15.0) -> str:
        """Wait until the process has ended. Returns how: "SIGKILL" or "exit 0", for example.

        Raises TimeoutError after `timeout_s` seconds, and RuntimeError, with the output of
        the process, if its exit code is not 0.
        """
        wait_until(
            lambda: not self._child.running,
            f"{self.name} ends",
            timeout_s=timeout_s,
            details=self._describe_progress,
        )
        self._reader.join(timeout_s)
        status = self._child.exit_status
        assert status is not None
        if status > 0:
            raise RuntimeError(
                f"{self.name} failed ({_describe_exit(status)}). {self._output()}"
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

    def _describe_progress(self) -> str:
        counts = Counter(event.kind.value for event in [*self._events])
        reported = ", ".join(f"{count} x {kind}" for kind, count in counts.items())
        return (
            f"It is still running and has reported {reported or 'no event'}. {self._output()}\n"
            "If this cell ran before, an earlier worker may have taken the messages: "
            "restart the kernel, and run the notebook up to this cell"
        )

    def _output(self) -> str:
        output = self._log.read_text(errors="replace").strip()
        return f"Its output was:\n{output[-2_000:]}" if output else "It printed nothing."


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
