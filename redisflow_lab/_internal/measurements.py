"""What a batch, or a write, adds to the client's metrics: their names, labels and values.

The names are those of OpenTelemetry's conventions for messaging, where it has one:
https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/
No label is an entry id or the name of a consumer, so restarts make no new series.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from redisflow_lab.events import Batch, Kind, Published

Labels = tuple[tuple[str, str], ...]

SENT = "messaging.client.sent.messages"
CONSUMED = "messaging.client.consumed.messages"
ACKED = "redisflow.client.acked.messages"
REDELIVERED = "redisflow.client.redelivered.messages"
CLAIMED = "redisflow.client.claimed.messages"
DEAD_LETTERED = "redisflow.client.dead_lettered.messages"
RETRIES = "redisflow.client.retries"
OUTAGES = "redisflow.client.outages"
PROCESS = "messaging.process.duration"
OPERATION = "messaging.client.operation.duration"

COUNTERS = {
    SENT: "Messages that a producer tried to write; with error_type, without an answer.",
    CONSUMED: "Messages that were delivered to a consumer, redeliveries included.",
    ACKED: "Messages that were acknowledged.",
    REDELIVERED: "Deliveries of a message that had been delivered before.",
    CLAIMED: "Messages that were claimed after they had been idle with another consumer.",
    DEAD_LETTERED: "Messages that were written to the dead-letter stream.",
    RETRIES: "Pauses after a transient error, before the handler is called again.",
    OUTAGES: "Times that the server could not be used.",
}
DURATIONS = {
    PROCESS: "How long the handler took for a message.",
    OPERATION: "How long the server took to answer, by operation: send or ack.",
}
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Upper bounds of a histogram's buckets, as the conventions recommend."""

_COUNTED = {
    Kind.DELIVERED: CONSUMED,
    Kind.ACKED: ACKED,
    Kind.CLAIMED: CLAIMED,
    Kind.PAUSED: RETRIES,
    Kind.OUTAGE_BEGAN: OUTAGES,
}


class Count(NamedTuple):
    """So many more."""

    name: str
    labels: Labels
    amount: int


class Durations(NamedTuple):
    """So long it took, each time, in seconds."""

    name: str
    labels: Labels
    seconds: Sequence[float]


def of_batch(batch: Batch) -> Iterator[Count | Durations]:
    """What a consumer's batch adds."""
    base = (
        ("messaging.system", "redis"),
        ("messaging.destination.name", batch.stream),
        ("messaging.consumer.group.name", batch.group),
    )
    for kind, name in _COUNTED.items():
        if amount := batch.counts.get(kind):
            yield Count(name, base, amount)
    if batch.redelivered:
        yield Count(REDELIVERED, base, batch.redelivered)
    for reason, amount in batch.dead_lettered.items():
        yield Count(DEAD_LETTERED, (*base, ("redisflow.reason", reason)), amount)
    process = (*base, ("messaging.operation.name", "process"))
    if batch.handled_s:
        yield Durations(PROCESS, process, batch.handled_s)
    for error, seconds in batch.failed_s.items():
        yield Durations(PROCESS, (*process, ("error.type", error)), seconds)
    if batch.acks_s:
        yield Durations(OPERATION, (*base, ("messaging.operation.name", "ack")), batch.acks_s)


def of_publish(published: Published) -> Iterator[Count | Durations]:
    """What a producer's write adds."""
    labels: Labels = (
        ("messaging.system", "redis"),
        ("messaging.destination.name", published.stream),
        ("messaging.operation.name", "send"),
    )
    if published.error is not None:
        labels = (*labels, ("error.type", type(published.error).__qualname__))
    yield Count(SENT, labels, published.messages)
    yield Durations(OPERATION, labels, [published.duration_s])
