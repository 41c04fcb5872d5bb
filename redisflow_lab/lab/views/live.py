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

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.inspection.lag import lag_of, stream_and_groups
from redisflow_lab.lab.inspection.missing import NoSuchStreamError, explaining_missing
from redisflow_lab.lab.prefix import without_prefix
from redisflow_lab.lab.views.plots import Picture, lag_plot
from redisflow_lab.lab.views.tables import groups_table, stream_table

SAMPLE_S = 0.02
DRAW_S = 0.4


class Watch:
    """Measures the groups of a stream every 20 ms while a block runs. Made by `Lab.watch`.

    While the server is down or does not answer, no samples are taken, and the plot has a gap.
    """

    def __init__(self, redis: Redis, stream: str) -> None:
        self.stream = stream
        self._name = without_prefix(stream)
        self._redis = redis
        self._rows: list[dict[str, object]] = []
        self._marks: list[tuple[float, str]] = []
        self._gaps: list[float] = []
        self._missed = False
        self._began = time.monotonic()
        self._over = Event()
        self._measuring = Lock()  # held while the server is asked, which may take seconds
        self._lock = Lock()  # held while rows are written or read

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

    @property
    def gaps(self) -> list[float]:
        """When the samples are interrupted: t_s of the first that was missed each time."""
        return [*self._gaps]

    def mark(self, text: str) -> None:
        """Take a sample, and show `text` at this moment of the plot."""
        with suppress(redis_py.RedisError):  # the server is down
            self.sample()
        self._marks.append((time.monotonic() - self._began, str(text)))

    def sample(self) -> None:
        """Take one sample now; none if the stream does not exist.

        Raises redis.RedisError if the server does not answer or refuses the command, and
        NotAStreamError if the key holds a value of another type.
        """
        with self._measuring:
            asked = time.monotonic() - self._began
            try:
                with explaining_missing(self._redis, self.stream):
                    info, groups = stream_and_groups(self._redis, self.stream)
            except redis_py.RedisError as error:
                if not self._missed:
                    self._gaps.append(asked)
                self._missed = True
                if isinstance(error, NoSuchStreamError):
                    return
                raise
            self._missed = False
            at = time.monotonic() - self._began
            with self._lock:
                self._rows += [
                    {
                        "t_s": at,
                        "group": group["name"].decode(errors="replace"),
                        "length": info["length"],
                        "lag": lag_of(group, info),
                        "pending": group["pending"],
                    }
                    for group in groups
                ]

    def plot(self) -> Picture:
        """Lag and pending entries over time, with the marks."""
        return lag_plot(self.samples, [*self._marks], self._name, gaps=self.gaps)

    def _html(self) -> HTML:
        try:
            tables = [
                stream_table(self._redis, self.stream),
                groups_table(self._redis, self.stream),
            ]
        except NoSuchStreamError:
            said = "this stream does not exist yet."
        except redis_py.TimeoutError:
            said = "the server does not answer."
        except (redis_py.ResponseError, redis_py.AuthenticationError) as error:
            said = f"{printable(str(error))}."
        except redis_py.ConnectionError:
            said = "the server is down."
        else:
            shown = "".join(table._repr_html_() for table in tables)
            return HTML(shown + self.plot().to_html())
        said = f"<p>{escape(printable(self._name))}: {escape(said)}</p>"
        return HTML(said + (self.plot().to_html() if self._rows else ""))

    def _keep_sampling(self) -> None:
        while not self._over.wait(SAMPLE_S):
            try:
                self.sample()
            except redis_py.RedisError:
                continue  # shown by `_html`, and a gap in the plot

    def _keep_drawing(self, view: DisplayHandle) -> None:
        while not self._over.wait(DRAW_S):
            view.update(self._html())


@contextmanager
def watch_stream(redis: Redis, stream: str) -> Iterator[Watch]:
    """Show the tables and the lag plot of a stream until the block ends; see `Lab.watch`."""
    watch = Watch(redis, stream)
    view = DisplayHandle()
    view.display(HTML(f"<p>watching {escape(printable(watch._name))}</p>"))
    threads = [
        Thread(target=watch._keep_sampling, daemon=True),
        Thread(target=watch._keep_drawing, args=(view,), daemon=True),
    ]
    for thread in threads:
        thread.start()

    def end() -> None:
        watch._over.set()
        for thread in threads:
            thread.join()
        with suppress(redis_py.RedisError):  # the server may be down
            watch.sample()
        view.update(watch._html())

    try:
        yield watch
    except BaseException as error:
        try:
            end()
        except Exception as second:  # the first one is what the reader has to see
            error.add_note(f"The watch could not show its final state either: {second}")
        raise
    end()
