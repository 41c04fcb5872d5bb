"""A view of a stream that updates while a cell runs, and keeps its final state."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from html import escape
from threading import Event, Lock, Thread

import pandas as pd
import redis as redis_py
from IPython.display import HTML, DisplayHandle
from redis import Redis

from redisflow_lab.lab.prefix import without_prefix
from redisflow_lab.lab.views.plots import Picture, lag_plot
from redisflow_lab.lab.views.tables import groups_table, stream_table

SAMPLE_S = 0.02
DRAW_S = 0.4


class Watch:
    """Measures the groups of a stream every 20 ms while a block runs. Made by `Lab.watch`.

    While the server is down, no samples are taken.
    """

    def __init__(self, redis: Redis, stream: str) -> None:
        self.stream = stream
        self._name = without_prefix(stream)
        self._redis = redis
        self._rows: list[dict[str, object]] = []
        self._marks: list[tuple[float, str]] = []
        self._began = time.monotonic()
        self._over = Event()
        self._lock = Lock()

    @property
    def samples(self) -> pd.DataFrame:
        """One row per sample and group: t_s, group, length, lag, pending.

        t_s is in seconds since the watch began; lag is NA where the server does not know it.
        """
        columns = ["t_s", "group", "length", "lag", "pending"]
        with self._lock:
            samples = pd.DataFrame(self._rows, columns=columns)
        return samples.astype({"lag": "Int64"})

    @property
    def marks(self) -> pd.DataFrame:
        """One row per call of `mark`: t_s (seconds since the watch began), text."""
        return pd.DataFrame(self._marks, columns=["t_s", "text"])

    def mark(self, text: str) -> None:
        """Take a sample, and show `text` at this moment of the plot."""
        with suppress(redis_py.RedisError):  # the server is down
            self.sample()
        self._marks.append((time.monotonic() - self._began, text))

    def sample(self) -> None:
        """Take one sample now; none if the stream does not exist."""
        with self._lock:
            if not self._redis.exists(self.stream):
                return
            groups = groups_table(self._redis, self.stream)
            length = self._redis.xlen(self.stream)
            at = time.monotonic() - self._began
            for group in groups.to_dict("records"):
                self._rows.append(
                    {
                        "t_s": at,
                        "group": group["group"],
                        "length": length,
                        "lag": group["lag"],
                        "pending": group["pending"],
                    }
                )

    def plot(self) -> Picture:
        """Lag and pending entries over time, with the marks."""
        return lag_plot(self.samples, [*self._marks], self._name)

    def _html(self) -> HTML:
        try:
            tables = [
                stream_table(self._redis, self.stream),
                groups_table(self._redis, self.stream),
            ]
        except redis_py.ConnectionError:
            return HTML(
                f"<p>{escape(self._name)}: the server is down.</p>" + self.plot().to_html()
            )
        except redis_py.ResponseError:
            return HTML(f"<p>{escape(self._name)}: this stream does not exist yet.</p>")
        return HTML("".join(table._repr_html_() for table in tables) + self.plot().to_html())

    def _keep_sampling(self) -> None:
        while not self._over.wait(SAMPLE_S):
            try:
                self.sample()
            except redis_py.RedisError:
                continue  # the server is down, or the stream was deleted between two commands

    def _keep_drawing(self, view: DisplayHandle) -> None:
        while not self._over.wait(DRAW_S):
            view.update(self._html())


@contextmanager
def watch_stream(redis: Redis, stream: str) -> Iterator[Watch]:
    """Show the tables and the lag plot of a stream until the block ends; see `Lab.watch`."""
    watch = Watch(redis, stream)
    view = DisplayHandle()
    view.display(HTML(f"<p>watching {escape(watch._name)}</p>"))
    threads = [
        Thread(target=watch._keep_sampling, daemon=True),
        Thread(target=watch._keep_drawing, args=(view,), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        watch._over.set()
        for thread in threads:
            thread.join()
        with suppress(redis_py.RedisError):  # the server may be down
            watch.sample()
        view.update(watch._html())
