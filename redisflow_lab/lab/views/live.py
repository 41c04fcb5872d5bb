"""A view that updates in place while a cell runs, and leaves its last state behind."""

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
    """Samples a stream in the background. Made by `Lab.watch`.

    While the server is down there is nothing to sample; the line has a gap there.
    """

    def __init__(self, redis: Redis, stream: str) -> None:
        self.stream = stream
        self._shown = without_prefix(stream)
        self._redis = redis
        self._rows: list[dict[str, object]] = []
        self._marks: list[tuple[float, str]] = []
        self._began = time.monotonic()
        self._over = Event()
        self._lock = Lock()

    @property
    def samples(self) -> pd.DataFrame:
        """One row a sample and group: t_s (since the watch began), group, length, lag, pending.

        lag is unknown (NA) where the server does not know it.
        """
        columns = ["t_s", "group", "length", "lag", "pending"]
        with self._lock:
            samples = pd.DataFrame(self._rows, columns=columns)
        return samples.astype({"lag": "Int64"})

    @property
    def marks(self) -> pd.DataFrame:
        """What was marked, one row each: t_s, text."""
        return pd.DataFrame(self._marks, columns=["t_s", "text"])

    def mark(self, text: str) -> None:
        """Write `text` beside the plot at this moment."""
        with suppress(redis_py.RedisError):  # down: there is nothing to sample
            self.sample()
        self._marks.append((time.monotonic() - self._began, text))

    def sample(self) -> None:
        """Take one sample now."""
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
        """Lag and pending over the time watched, with the marks."""
        return lag_plot(self.samples, [*self._marks], self._shown)

    def _html(self) -> HTML:
        try:
            tables = [
                stream_table(self._redis, self.stream),
                groups_table(self._redis, self.stream),
            ]
        except redis_py.ConnectionError:
            return HTML(
                f"<p>{escape(self._shown)}: the server is down.</p>" + self.plot().to_html()
            )
        except redis_py.ResponseError:
            return HTML(f"<p>{escape(self._shown)}: no such stream yet.</p>")
        return HTML("".join(table._repr_html_() for table in tables) + self.plot().to_html())

    def _sample_on(self) -> None:
        while not self._over.wait(SAMPLE_S):
            try:
                self.sample()
            except redis_py.RedisError:
                continue  # down, or the stream vanished between two commands: a gap

    def _draw_on(self, view: DisplayHandle) -> None:
        while not self._over.wait(DRAW_S):
            view.update(self._html())


@contextmanager
def watching(redis: Redis, stream: str) -> Iterator[Watch]:
    """Show the stream's tables and lag plot until the block ends; see `Lab.watch`."""
    watch = Watch(redis, stream)
    view = DisplayHandle()
    view.display(HTML(f"<p>watching {escape(watch._shown)}</p>"))
    threads = [
        Thread(target=watch._sample_on, daemon=True),
        Thread(target=watch._draw_on, args=(view,), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        watch._over.set()
        for thread in threads:
            thread.join()
        with suppress(redis_py.RedisError):  # the server may be down: a gap
            watch.sample()
        view.update(watch._html())
