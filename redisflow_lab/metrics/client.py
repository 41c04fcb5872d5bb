"""Metrics of this process's producers and consumers, under OpenTelemetry's names.

They are written as OpenTelemetry's exporter for Prometheus writes them, with underscores:
https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from threading import Lock

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from redisflow_lab._internal.measurements import (
    BOUNDS_S,
    COUNTERS,
    DEAD_LETTERED,
    DURATIONS,
    OPERATION,
    PROCESS,
    SENT,
    Count,
    Durations,
    Labels,
    of_batch,
    of_publish,
)
from redisflow_lab._internal.printable import printable
from redisflow_lab.events import Batch, Published

_OF_STREAM = ("messaging.system", "messaging.destination.name")
_OF_GROUP = (*_OF_STREAM, "messaging.consumer.group.name")
_ENDS = (*map(floatToGoString, BOUNDS_S), "+Inf")
"""Of the buckets, as in their label `le`."""


@dataclass(slots=True)
class _Histogram:
    """buckets: how many durations fell into each, the last one beyond all bounds."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0

    def add(self, seconds: Sequence[float]) -> None:
        self.sum_s += sum(seconds)
        if max(seconds) <= BOUNDS_S[0]:  # as in nearly every batch of a fast handler
            self.buckets[0] += len(seconds)
            return
        for one in seconds:
            self.buckets[bisect_left(BOUNDS_S, one)] += 1


class ClientMetrics(Collector):
    """Adds up what producers and consumers of this process do, and makes samples of it.

    One object serves all of them, in any threads. A process that is killed takes with it what
    it has counted: up to the batch that was in flight may be missing from the last scrape.
    Counts arrive at the end of each batch, and 10 times a second while there is much to do.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[tuple[str, Labels], int] = {}
        self._durations: dict[tuple[str, Labels], _Histogram] = {}

    def on_batch(self, batch: Batch) -> None:
        """Give this to a consumer as its `on_batch`."""
        for measured in of_batch(batch):
            self._add(measured)

    def on_publish(self, published: Published) -> None:
        """Give this to a producer as its `on_publish`."""
        for measured in of_publish(published):
            self._add(measured)

    def describe(self) -> Iterator[Metric]:
        """The metrics without samples."""
        return iter([*_counters().values(), *_histograms().values()])

    def collect(self) -> Iterator[Metric]:
        """The metrics as of now."""
        counters, histograms = _counters(), _histograms()
        with self._lock:
            for (name, labels), amount in self._counts.items():
                counters[name].add_metric(_values(name, labels), amount)
            for (name, labels), histogram in self._durations.items():
                buckets = [*zip(_ENDS, accumulate(histogram.buckets), strict=True)]
                histograms[name].add_metric(_values(name, labels), buckets, histogram.sum_s)
        return iter([*counters.values(), *histograms.values()])

    def _add(self, measured: Count | Durations) -> None:
        key = measured.name, measured.labels
        with self._lock:
            if isinstance(measured, Count):
                self._counts[key] = self._counts.get(key, 0) + measured.amount
            else:
                self._durations.setdefault(key, _Histogram()).add(measured.seconds)


def _label_names(name: str) -> tuple[str, ...]:
    """All labels of a metric. One that does not apply, as the error of a success, is empty."""
    if name == SENT:
        return (*_OF_STREAM, "messaging.operation.name", "error.type")
    if name in (PROCESS, OPERATION):
        return (*_OF_GROUP, "messaging.operation.name", "error.type")
    return (*_OF_GROUP, "redisflow.reason") if name == DEAD_LETTERED else _OF_GROUP


def _values(name: str, labels: Labels) -> list[str]:
    known = dict(labels)
    return [printable(known.get(label, "")) for label in _label_names(name)]


def _underscored(name: str) -> str:
    return name.replace(".", "_")


def _counters() -> dict[str, CounterMetricFamily]:
    return {
        name: CounterMetricFamily(
            _underscored(name), says, labels=[*map(_underscored, _label_names(name))]
        )
        for name, says in COUNTERS.items()
    }


def _histograms() -> dict[str, HistogramMetricFamily]:
    return {
        name: HistogramMetricFamily(
            f"{_underscored(name)}_seconds",
            says,
            labels=[*map(_underscored, _label_names(name))],
        )
        for name, says in DURATIONS.items()
    }
