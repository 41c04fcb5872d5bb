"""A consumer in its own operating-system process, which a notebook can kill with SIGKILL."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pandas as pd
from redis import Redis

from redisflow_lab._internal.checks import check_name, check_positive
from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.user_code import check_handler
from redisflow_lab.consumer import RedisStreamConsumer
from redisflow_lab.events import Event, Kind
from redisflow_lab.interfaces import Handler
from redisflow_lab.lab.recording.recorders import Recorders
from redisflow_lab.lab.waiting import wait_until
from redisflow_lab.lab.workers.pickling import pack_call
from redisflow_lab.lab.workers.process import Process
from redisflow_lab.lab.workers.starters import Starter
from redisflow_lab.lab.workers.worker_process import CRASH_POINTS, Job, Options, consume

_LAST_EVENTS_S = 2.0
"""Limit for reading the last events. A process that the handler started may hold the pipe."""

_LONGEST_ERROR, _MAX_ERRORS = 200, 3
"""How many characters of an error, and how many errors, the message of a timeout quotes."""


class Worker:
    """The notebook's handle of a consumer process. Made by `Lab.worker`.

    The process runs `RedisStreamConsumer.run` with `handler` and sends each event through a
    pipe, so that `events` and `count` show what it did, even after it was killed. With
    `crash`, it sends itself SIGKILL when it reaches that point for the `after`th time. It is
    killed by `kill`, by `Lab.close`, and when the notebook's process ends.

    The process has the working folder and the `sys.path` of the notebook, so a handler imports
    and opens the same files in both. What it prints is in `output`.

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
        starter: Starter,
        recorders: Recorders,
        replaces: Sequence["Worker"] = (),
    ) -> None:
        """Start the process.

        redis, stream, group, name, handler, crash, after, options: see `Lab.worker`
        folder:   where the output of the process is kept
        starter:  starts the process
        recorders: record what it does
        replaces: workers to kill first, once the arguments are checked

        Raises TypeError or ValueError for an argument that cannot be used.
        """
        check_handler(handler)
        check_name("stream", stream)
        check_name("group", group)
        # Only for its checks: an error in the process would not be raised here.
        RedisStreamConsumer(redis, stream, group, name, **options)
        if crash is not None and crash not in CRASH_POINTS:
            raise ValueError(
                f"crash={crash!r} is not a crash point; use one of {', '.join(CRASH_POINTS)}"
            )
        check_positive("after", after)
        self.name = "worker" if name is None else check_name("name", name)
        self.consumer = (stream, group, name)
        self._recorders = recorders
        self._events: list[Event] = []
        job = Job(redis, stream, group, name, handler, options, crash, after)
        call = pack_call(consume, job, culprit=f"the handler {handler!r}")
        for worker in replaces:
            worker.kill()
        events_read, events_write = os.pipe()
        self._process = Process(
            self.name,
            call,
            starter=starter,
            log=folder / f"{id(self):x}.log",
            fds=[events_write],
            progress=self._describe_events,
            cause=self._describe_failures,
        )
        self._reader = Thread(target=self._collect, args=(events_read,), daemon=True)
        recorders.started(stream, group, self.name)  # before the reader can report its end
        self._reader.start()

    def __repr__(self) -> str:
        state = self._process.state
        return f"<worker {printable(self.name)}: {state}, {self.count('acked')} acked>"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """What the process has printed so far, with its errors and its log."""
        return self._process.output

    @property
    def ended(self) -> bool:
        """Whether the process has ended, for whatever reason."""
        return self._process.ended

    @property
    def died(self) -> bool:
        """Whether a signal killed it."""
        return self._process.died

    @property
    def events(self) -> pd.DataFrame:
        """One row per event: kind, entry_id, consumer, at, deliveries, error.

        `at` is in seconds of time.monotonic(); `events.Event` describes the other columns.
        """
        return events_table([*self._events])

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
            lambda: self.count(kind) >= count or self.ended,
            f"{printable(self.name)} reports {count} x {kind}",
            timeout_s=timeout_s,
            details=self._process.describe_progress,
        )
        if self.count(kind) < count:
            self._reader.join(timeout_s)
        if self.count(kind) < count:
            raise RuntimeError(
                f"{printable(self.name)} ended ({self.wait_end()}) after {self.count(kind)} of "
                f"{count} x {kind}. {self._process.describe_output()}"
            )

    def wait_end(self, *, timeout_s: float = 15.0) -> str:
        """Wait until the process has ended. Returns how: "SIGKILL" or "exit 0", for example.

        Raises TimeoutError after `timeout_s` seconds, and RuntimeError, with the output of
        the process, if its exit code is not 0.
        """
        how = self._process.wait_end(timeout_s=timeout_s)
        self._reader.join(timeout_s)
        return how

    def stop(self) -> str:
        """Send SIGTERM: it completes its current message and ends. Returns how it ended."""
        how = self._process.stop()
        self._reader.join(_LAST_EVENTS_S)
        return how

    def kill(self) -> str:
        """Send SIGKILL, and wait for the end. Returns how it ended."""
        how = self._process.kill()
        self._reader.join(_LAST_EVENTS_S)
        return how

    def _collect(self, events_read: int) -> None:
        with os.fdopen(events_read) as lines:
            for line in lines:
                fields = json.loads(line)
                event = Event(**{**fields, "kind": Kind(fields["kind"])})
                self._events.append(event)
                self._recorders.reported(event)
        with suppress(TimeoutError):  # a process of the handler may have closed the pipe
            wait_until(lambda: self.ended, "it has ended", timeout_s=_LAST_EVENTS_S)
        self._process.keep_output()
        stream, group, _ = self.consumer
        name = self._events[-1].consumer if self._events else self.name
        self._recorders.ended(stream, group, name, self._process.state, died=self.died)

    def _describe_events(self) -> str:
        counts = Counter(event.kind.value for event in [*self._events])
        reported = ", ".join(f"{count} x {kind}" for kind, count in counts.items())
        return f"It is still running and has reported {reported or 'no event'}."

    def _describe_failures(self) -> str:
        """What the handler raised, said once; "" if it never raised."""
        events = [*self._events]
        errors = Counter(event.error for event in events if event.kind is Kind.FAILED)
        if not errors:
            return ""
        deliveries = sum(event.kind is Kind.DELIVERED for event in events)
        raised = ", and ".join(
            f"{printable(error, _LONGEST_ERROR)} in {count} of {deliveries} deliveries"
            for error, count in errors.most_common(_MAX_ERRORS)
        )
        return f"Its handler raised {raised}. The traceback is in the worker's `output`."


def events_table(source: Worker | Sequence[Event]) -> pd.DataFrame:
    """The events of a worker, or those in a list, as `Worker.events` describes them."""
    if isinstance(source, Worker):
        return source.events
    columns = ["kind", "entry_id", "consumer", "at", "deliveries", "error"]
    rows = [[getattr(event, column) for column in columns] for event in source]
    return pd.DataFrame(rows, columns=columns)
