"""A consumer in its own operating-system process, which a notebook can really kill."""

import io
import json
import os
import signal
import sys
from pathlib import Path
from threading import Thread
from types import NoneType
from typing import Any

import cloudpickle
import pandas as pd
from redis import ConnectionPool, Redis

from redisflow_lab._internal.checks import check_handler, check_name, check_positive
from redisflow_lab.consumer import RedisStreamConsumer
from redisflow_lab.events import Event, Kind
from redisflow_lab.interfaces import Handler
from redisflow_lab.lab.process import Child
from redisflow_lab.lab.waiting import wait_until
from redisflow_lab.lab.workers.worker_process import CRASH_POINTS, Job, Options


class Worker:
    """The handle of a consumer process. Made by `Lab.worker`.

    The process runs `RedisStreamConsumer.run` with `handler` and reports every event
    through a pipe. With `crash` it sends itself SIGKILL at that instruction, the `after`th
    time it gets there. It ends with `kill` or `Lab.close`, and with this process.
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
        # Refused here, and not in the process: nobody would see it there.
        RedisStreamConsumer(redis, stream, group, name, **options)
        if crash is not None and crash not in CRASH_POINTS:
            raise ValueError(f"crash={crash!r} is unknown; one of {', '.join(CRASH_POINTS)}")
        check_positive("after", after)
        self.name = "worker" if name is None else check_name("name", name)
        self._events: list[Event] = []
        self._log = folder / f"{id(self):x}.log"
        job = _packed(Job(redis, stream, group, name, handler, options, crash, after))
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
        state = "running" if status is None else _ended(status)
        return f"<worker {self.name}: {state}, {self.count('acked')} acked>"

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def ended(self) -> bool:
        """Whether the process is gone, however it ended."""
        return not self._child.running

    @property
    def died(self) -> bool:
        """Whether a signal ended it."""
        return (self._child.exit_status or 0) < 0

    @property
    def events(self) -> pd.DataFrame:
        """What happened, one row an event: kind, entry_id, consumer, at, deliveries, error.

        `at` is in monotonic seconds; the rest is as in `events.Event`.
        """
        columns = ["kind", "entry_id", "consumer", "at", "deliveries", "error"]
        rows = [[getattr(event, column) for column in columns] for event in [*self._events]]
        return pd.DataFrame(rows, columns=columns)

    def count(self, kind: str) -> int:
        """How many events of this kind were reported; the kinds are those of `events.Kind`."""
        wanted = Kind(kind)
        return sum(event.kind is wanted for event in [*self._events])

    def wait_for(self, kind: str, count: int = 1, *, timeout_s: float = 15.0) -> None:
        """Return when `count` events of this kind were reported. Raises TimeoutError."""
        wait_until(
            lambda: self.count(kind) >= count or not self._child.running,
            f"{self.name} reports {count} {kind}",
            timeout_s=timeout_s,
            details=self._said,
        )
        if self.count(kind) < count:
            self._reader.join(timeout_s)
        if self.count(kind) < count:
            raise RuntimeError(
                f"{self.name} ended ({self.wait_end()}) after {self.count(kind)} of {count} "
                f"{kind}. {self._said()}"
            )

    def wait_end(self, *, timeout_s: float = 15.0) -> str:
        """Wait until the process is gone. Returns how it ended: "SIGKILL", or "exit 0".

        Raises RuntimeError, with what the process said, if it failed.
        """
        wait_until(
            lambda: not self._child.running,
            f"{self.name} ends",
            timeout_s=timeout_s,
            details=self._said,
        )
        self._reader.join(timeout_s)
        status = self._child.exit_status
        assert status is not None
        if status > 0:
            raise RuntimeError(f"{self.name} failed ({_ended(status)}). {self._said()}")
        return _ended(status)

    def stop(self) -> str:
        """SIGTERM: finish the message in hand and acknowledge it, then end. Returns how."""
        self._child.signal(signal.SIGTERM)
        return self.wait_end()

    def kill(self) -> str:
        """SIGKILL, wherever it is. Returns how it ended."""
        self._child.kill()
        self._reader.join()
        return _ended(self._child.exit_status or 0)

    def _collect(self, events_read: int) -> None:
        with os.fdopen(events_read) as lines:
            for line in lines:
                fields = json.loads(line)
                self._events.append(Event(**{**fields, "kind": Kind(fields["kind"])}))

    def _said(self) -> str:
        said = self._log.read_text(errors="replace").strip()
        return f"It said:\n{said[-2_000:]}" if said else "It said nothing."


def _ended(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit {status}"


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Carries functions with what they use; a Redis client travels as its address."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Redis):
            pool = value.connection_pool
            plain = (str, int, float, bool, NoneType)
            settings = {
                name: setting
                for name, setting in pool.connection_kwargs.items()
                if isinstance(setting, plain) and not name.startswith("orig_")
            }
            return _reconnected, (pool.connection_class, settings)
        return super().reducer_override(value)


def _reconnected(connection_class: type, settings: dict[str, Any]) -> Redis:
    return Redis.from_pool(ConnectionPool(connection_class=connection_class, **settings))


def _packed(job: Job) -> bytes:
    packed = io.BytesIO()
    try:
        _Pickler(packed).dump(job)
    except Exception as error:
        raise TypeError(
            f"the handler {job.handler!r} cannot be carried into another process: {error}. "
            "Let it use functions, plain values and Redis clients only"
        ) from error
    return packed.getvalue()
