"""Metrics of this process's producers and consumers for OpenTelemetry.

    from redisflow_lab.otel import OpenTelemetryMetrics

    metrics = OpenTelemetryMetrics()  # or give it your meter
    producer = RedisStreamProducer(redis, "orders", on_publish=metrics.on_publish)
    consumer = RedisStreamConsumer(redis, "orders", "billing", on_batch=metrics.on_batch)

Names, units and attributes follow OpenTelemetry's conventions for messaging:
https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/
What they have no name for begins with `redisflow.`.

Needs opentelemetry-api, and the SDK and exporter of your choice:
pip install 'redisflow-lab[otel]' opentelemetry-sdk
"""

from opentelemetry.metrics import Meter, get_meter

from redisflow_lab._internal.measurements import (
    BOUNDS_S,
    COUNTERS,
    DURATIONS,
    OUTAGES,
    RETRIES,
    Count,
    Durations,
    of_batch,
    of_publish,
)
from redisflow_lab.events import Batch, Published

_UNITS = {RETRIES: "{retry}", OUTAGES: "{outage}"}


class OpenTelemetryMetrics:
    """Records what producers and consumers of this process do with a meter.

    meter: of your meter provider (default: the global one's)

    OpenTelemetry records each duration by a call of its own, which costs about 5 µs a message
    with its SDK. `redisflow_lab.metrics` adds up whole batches.
    """

    def __init__(self, meter: Meter | None = None) -> None:
        meter = meter or get_meter("redisflow_lab")
        self._counters = {
            name: meter.create_counter(name, _UNITS.get(name, "{message}"), says)
            for name, says in COUNTERS.items()
        }
        self._histograms = {
            name: meter.create_histogram(
                name, "s", says, explicit_bucket_boundaries_advisory=BOUNDS_S
            )
            for name, says in DURATIONS.items()
        }

    def on_batch(self, batch: Batch) -> None:
        """Give this to a consumer as its `on_batch`."""
        for measured in of_batch(batch):
            self._record(measured)

    def on_publish(self, published: Published) -> None:
        """Give this to a producer as its `on_publish`."""
        for measured in of_publish(published):
            self._record(measured)

    def _record(self, measured: Count | Durations) -> None:
        attributes = dict(measured.labels)
        if isinstance(measured, Count):
            self._counters[measured.name].add(measured.amount, attributes)
        else:
            record = self._histograms[measured.name].record
            for seconds in measured.seconds:
                record(seconds, attributes)
