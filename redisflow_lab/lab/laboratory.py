"""Lab: the one object a notebook needs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from redis import Redis

from redisflow_lab.capabilities import unsupported
from redisflow_lab.interfaces import Handler
from redisflow_lab.lab.prefix import without_prefix
from redisflow_lab.lab.process import PrivateFolder
from redisflow_lab.lab.server import Server, ServerError, open_server
from redisflow_lab.lab.views.live import Watch, watching
from redisflow_lab.lab.views.plots import Picture, timeline_plot
from redisflow_lab.lab.views.tables import (
    Table,
    consumers_table,
    dead_letters_table,
    groups_table,
    known_lag,
    pending_table,
    stream_table,
)
from redisflow_lab.lab.waiting import wait_until
from redisflow_lab.lab.workers.worker import Worker

_WHERE_TO_FIND_IT = (
    "This chapter needs Redis 8.10. End JupyterLab, and start it on one: "
    "REDISFLOW_SERVER=docker make lab. Without Docker: make redis8, which says how to go on"
)


class MissingCapabilityError(ServerError):
    """The server cannot do what is needed. The text names the shortest way to one that can."""


class Lab:
    """A server of your own, and everything to look at it and to break it.

    server:     "path", "bundled", "docker", or "docker:" and an image; "own" for the first of
                them that can be had; None for the one that REDISFLOW_SERVER or REDISFLOW_URL
                names, or else an own one
    needs:      what the server must be able to do: commands, "XACKDEL", and options of
                commands, "XREADGROUP CLAIM"
    appendonly: keep an append-only file; False leaves the server only its snapshots
    port:       None takes a free one; name one to connect with redis-cli
    data_dir:   None takes a private folder, removed in the end; a folder you name is kept

    Prints in one line which server it got. Nothing it starts outlives the kernel.
    Raises ServerError if no server can be had, MissingCapabilityError if it lacks a need.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        needs: Sequence[str] = (),
        appendonly: bool = True,
        port: int | None = None,
        data_dir: str | Path | None = None,
    ) -> None:
        if isinstance(needs, str):  # a sequence of names as well, of one letter each
            raise TypeError(f"needs must be a list of names, not {needs!r}")
        try:
            self._folder = PrivateFolder()
        except OSError as error:
            raise ServerError(
                f"no folder for the lab: {error}. Set TMPDIR to one you may write"
            ) from None
        self._workers: list[Worker] = []
        try:
            self.server: Server = open_server(
                server,
                self._folder.path / "server",
                appendonly=appendonly,
                port=port,
                data_dir=None if data_dir is None else Path(data_dir).expanduser(),
            )
        except BaseException:
            self._folder.remove()
            raise
        self.redis: Redis = self.server.connect()
        if missing := unsupported(self.redis, needs):
            self.close()
            raise MissingCapabilityError(
                f"{_WHERE_TO_FIND_IT}. {self.server.label} lacks {', '.join(missing)}."
            )
        print(f"The lab runs on {self.server.label}.")

    def __repr__(self) -> str:
        return f"<Lab on {self.server!r}>"

    def key(self, name: str) -> str:
        """The key for `name`: itself on an own server, below our prefix on a foreign one."""
        return self.server.prefix + name

    def worker(
        self,
        name: str | None,
        handler: Handler,
        *,
        stream: str = "orders",
        group: str = "billing",
        crash: str | None = None,
        after: int = 1,
        batch: int = 10,
        ack_every: int = 1,
        min_idle_ms: int = 60_000,
        max_deliveries: int = 5,
    ) -> Worker:
        """Start a consumer in a process of its own; see `worker.Worker`.

        crash: where the process kills itself, the `after`th time it gets there: "after-claim",
               "after-delivery", "before-ack", "after-ack", "after-failure" or
               "after-dead-letter"; None to live on
        batch, ack_every, min_idle_ms, max_deliveries: as of `RedisStreamConsumer`
        """
        worker = Worker(
            self.redis,
            name,
            handler,
            stream=stream,
            group=group,
            crash=crash,
            after=after,
            options={
                "batch": batch,
                "ack_every": ack_every,
                "min_idle_ms": min_idle_ms,
                "max_deliveries": max_deliveries,
            },
            folder=self._folder.path,
        )
        self._workers.append(worker)
        return worker

    def wait_until(
        self, state: Callable[[], object], what: str = "the state", *, timeout_s: float = 10.0
    ) -> None:
        """Return as soon as `state()` is true. Raises TimeoutError after `timeout_s`."""
        wait_until(state, what, timeout_s=timeout_s)

    def stream(self, stream: str = "orders") -> Table:
        """XINFO STREAM; see `tables.stream_table`."""
        return stream_table(self.redis, stream)

    def groups(self, stream: str = "orders") -> Table:
        """XINFO GROUPS; see `tables.groups_table`."""
        return groups_table(self.redis, stream)

    def consumers(self, stream: str = "orders", group: str = "billing") -> Table:
        """XINFO CONSUMERS; see `tables.consumers_table`."""
        return consumers_table(self.redis, stream, group)

    def pending(self, stream: str = "orders", group: str = "billing") -> Table:
        """XPENDING; see `tables.pending_table`."""
        return pending_table(self.redis, stream, group)

    def dead_letters(self, stream: str = "orders") -> Table:
        """What was given up; see `tables.dead_letters_table`."""
        return dead_letters_table(self.redis, stream)

    def watch(self, stream: str = "orders") -> AbstractContextManager[Watch]:
        """Tables and a lag plot that update in place while the block runs.

        with lab.watch("orders") as watch: ... Afterwards `watch.samples` is a DataFrame and
        `watch.plot()` the settled picture.
        """
        return watching(self.server.connect(), stream)

    @contextmanager
    def change(self, stream: str = "orders", group: str = "billing") -> Iterator[Table]:
        """A table of what the block changed: measure, was, now, change (of numbers).

        Measures: length, last delivered id, lag, pending, deliveries of pending (of all
        that is pending, summed). The table is filled when the block ends.
        """
        table = Table(columns=["measure", "was", "now", "change"])
        table.attrs["caption"] = f"what changed for {group} on {without_prefix(stream)}"
        was = self._measures(stream, group)
        yield table
        now = self._measures(stream, group)
        for measure, before in was.items():
            after = now[measure]
            delta = (
                f"{after - before:+d}"
                if isinstance(after, int) and isinstance(before, int)
                else ""
            )
            table.loc[len(table)] = [measure, str(before), str(after), delta.replace("+0", "0")]

    def timeline(self, *workers: Worker) -> Picture:
        """The delivery timeline of these workers; a cross where one died by SIGKILL."""
        events = pd.concat([worker.events for worker in workers], ignore_index=True)
        # A death is a moment after the last that the process could report.
        deaths = [
            (str(last["consumer"]), float(last["at"]) + 1e-9)
            for worker in workers
            if worker.died and len(worker.events)
            for last in [worker.events.iloc[-1]]
        ]
        return timeline_plot(events.sort_values("at", kind="stable"), deaths)

    def close(self) -> None:
        """End the workers and the server, and remove what they kept."""
        for worker in self._workers:
            worker.kill()
        try:
            self.server.close()
        finally:
            self._folder.remove()

    def _measures(self, stream: str, group: str) -> dict[str, Any]:
        length = self.redis.xlen(stream)
        pending = pending_table(self.redis, stream, group)
        groups = {row["name"].decode(): row for row in self.redis.xinfo_groups(stream)}
        row = groups[group]
        return {
            "length": length,
            "last delivered id": row["last-delivered-id"].decode(),
            "lag": known_lag(row["lag"], length),
            "pending": row["pending"],
            "deliveries of pending": sum(map(int, pending["deliveries"])),  # may pass 64 bits
        }
