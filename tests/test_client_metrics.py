"""What producers and consumers count is what they did, for Prometheus and OpenTelemetry."""

import sys
from collections import Counter
from threading import Event as StopEvent
from typing import Any

import pytest
from consumers import NewConsumer, Publish, all_at_once, numbered, running
from handlers import decline_only
from network import Fault, Proxy, at, client_losing_answers_to
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import RedisError

from redisflow_lab import Delivery, Event, Kind, Message, RedisStreamProducer, TransientError
from redisflow_lab.events import Batch, Published
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until
from redisflow_lab.metrics import ClientMetrics
from redisflow_lab.otel import OpenTelemetryMetrics


class Scraped:
    """A `ClientMetrics` in a registry, and what a scrape of it says."""

    def __init__(self) -> None:
        self.metrics = ClientMetrics()
        self._registry = CollectorRegistry()
        self._registry.register(self.metrics)

    @property
    def samples(self) -> dict[tuple[str, str], float]:
        """By the name, and by what is particular: operation, error, reason, bucket."""
        text = generate_latest(self._registry).decode()
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = dict(sample.labels)
                assert labels.pop("messaging_system") == "redis"
                labels.pop("messaging_destination_name")
                labels.pop("messaging_consumer_group_name", None)
                found[sample.name, " ".join(sorted(filter(None, labels.values())))] = (
                    sample.value
                )
        return found

    def counts(self) -> dict[tuple[str, str], float]:
        """Without durations, whose values differ, and without what Prometheus adds."""
        return {
            (name, label): value
            for (name, label), value in self.samples.items()
            if name.endswith(("_total", "_count"))
        }


@pytest.fixture
def scraped() -> Scraped:
    return Scraped()


@pytest.mark.parametrize("ack_every", [1, 5])
def test_they_count_what_a_consumer_did(
    publish: Publish, consumer: NewConsumer, scraped: Scraped, ack_every: int
) -> None:
    publish(*numbered(5))
    alice = consumer(ack_every=ack_every, max_deliveries=2, on_batch=scraped.metrics.on_batch)
    alice.read_new(decline_only("3", []))
    alice.replay_pending(decline_only("3", []))
    acks = scraped.samples["messaging_client_operation_duration_seconds_count", "ack"]
    assert acks == (4 if ack_every == 1 else 1)
    found = scraped.counts()
    del found["messaging_client_operation_duration_seconds_count", "ack"]
    assert found == {
        ("messaging_client_consumed_messages_total", ""): 6,
        ("redisflow_client_redelivered_messages_total", ""): 1,
        ("redisflow_client_acked_messages_total", ""): 4,
        ("redisflow_client_dead_lettered_messages_total", "failed"): 1,
        ("messaging_process_duration_seconds_count", "process"): 4,
        ("messaging_process_duration_seconds_count", "ValueError process"): 2,
    }


def test_claims_retries_and_trimmed_entries_are_counted(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer, scraped: Scraped
) -> None:
    first, *_ = publish(*numbered(3))
    bob = consumer("bob")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"})
    lab.redis.xdel(stream, first)
    alice = consumer(min_idle_ms=1, on_batch=scraped.metrics.on_batch)
    pauses = iter([True, True])

    def handle(_: Delivery) -> None:
        if next(pauses, False):
            raise TransientError("the database is down")

    wait_until(lambda: lab.pending(stream)["idle_ms"].min() >= 1, "idle")
    alice.take_over(handle)
    found = scraped.counts()
    assert found["redisflow_client_claimed_messages_total", ""] == 2
    assert found["redisflow_client_redelivered_messages_total", ""] == 2
    assert found["redisflow_client_retries_total", ""] == 2
    assert found["redisflow_client_acked_messages_total", ""] == 2
    assert found["messaging_process_duration_seconds_count", "process"] == 2
    assert found["redisflow_client_dead_lettered_messages_total", "trimmed"] == 1
    assert bob.name == "bob"


def test_batches_and_events_say_the_same(publish: Publish, consumer: NewConsumer) -> None:
    events: list[Event] = []
    batches: list[Batch] = []
    publish(*numbered(200))
    fails = {str(number) for number in range(0, 200, 7)}

    def handle(delivery: Delivery) -> None:
        if delivery.message.content in fails:
            raise ValueError(delivery.message.content)

    both = {"on_event": events.append, "on_batch": batches.append}
    alice = consumer(batch=40, ack_every=8, min_idle_ms=50, max_deliveries=2, **both)
    with running(alice, handler=handle):
        wait_until(
            lambda: sum(event.kind is Kind.DEAD_LETTERED for event in events) == len(fails),
            "dead-lettered",
        )
    counted: Counter[Kind] = Counter()
    for batch in batches:
        counted.update(batch.counts)
    assert counted == Counter(event.kind for event in events)
    assert sum(len(batch.handled_s) for batch in batches) == 200 - len(fails)
    assert sum(batch.redelivered for batch in batches) == len(fails)
    assert len(batches) < 60


def test_an_event_says_when_its_handler_began(publish: Publish, consumer: NewConsumer) -> None:
    events: list[Event] = []
    publish(*numbered(3))
    consumer(on_event=events.append).read_new(decline_only("1", []))
    by_kind = {kind: [event for event in events if event.kind is kind] for kind in Kind}
    assert {event.began_at for event in by_kind[Kind.DELIVERED] + by_kind[Kind.ACKED]} == {None}
    ends = sorted(by_kind[Kind.HANDLED] + by_kind[Kind.FAILED], key=lambda event: event.at)
    began: list[Any] = [event.began_at for event in ends]
    assert max(event.at for event in by_kind[Kind.DELIVERED]) <= began[0]
    assert began == sorted(began)
    assert all(start <= event.at for start, event in zip(began, ends, strict=True))


def test_slow_messages_are_counted_before_their_batch_ends(
    publish: Publish, consumer: NewConsumer, scraped: Scraped
) -> None:
    seen: list[float] = []
    publish(*numbered(8))

    def handle(_: Delivery) -> None:
        counts = scraped.counts()
        seen.append(counts.get(("messaging_process_duration_seconds_count", "process"), 0))
        StopEvent().wait(0.06)

    consumer(ack_every=8, on_batch=scraped.metrics.on_batch).read_new(handle)
    assert seen == sorted(seen)
    assert seen[-1] >= 5
    process = ("messaging_process_duration_seconds_sum", "process")
    assert 0.48 <= scraped.samples[process] < 8
    assert scraped.samples["messaging_process_duration_seconds_bucket", "0.05 process"] == 0
    assert scraped.samples["messaging_process_duration_seconds_bucket", "+Inf process"] == 8


@pytest.mark.parametrize("ack_every", [1, 3, 10])
def test_a_duration_is_that_of_the_handler_alone(
    lab: Lab, publish: Publish, consumer: NewConsumer, ack_every: int
) -> None:
    """Neither an XACK, which a slow network delays, nor a failure before it is in it."""
    batches: list[Batch] = []
    publish(*numbered(6))
    with Proxy(lab, at(b"XACK", Fault(delay_s=0.4), None)) as proxy:
        alice = consumer(
            redis=proxy.client, batch=6, ack_every=ack_every, on_batch=batches.append
        )
        handled: list[str] = []
        alice.read_new(decline_only("2", handled))
    took = [seconds for batch in batches for seconds in batch.handled_s]
    assert len(took) == len(handled) == 5
    assert max(took) < 0.35
    assert sum(batch.counts.get(Kind.ACKED, 0) for batch in batches) == 5


def test_they_count_what_a_producer_did(lab: Lab, stream: str, scraped: Scraped) -> None:
    producer = RedisStreamProducer(lab.redis, stream, on_publish=scraped.metrics.on_publish)
    producer.publish(Message("web", "a"))
    producer.publish(Message("web", "b"), key="b")
    producer.publish_many((Message("web", content) for content in numbered(25)), batch_size=10)
    assert scraped.counts() == {
        ("messaging_client_sent_messages_total", "send"): 27,
        ("messaging_client_operation_duration_seconds_count", "send"): 5,
    }


def test_a_write_that_failed_is_counted_with_its_error(
    lab: Lab, stream: str, scraped: Scraped
) -> None:
    lab.redis.rpush(stream, "a list")
    producer = RedisStreamProducer(lab.redis, stream, on_publish=scraped.metrics.on_publish)
    for write in (
        lambda: producer.publish(Message("web", "a")),
        lambda: producer.publish_many([Message("web", "b"), Message("web", "c")]),
    ):
        with pytest.raises(RedisError):
            write()
    assert scraped.counts() == {
        ("messaging_client_sent_messages_total", "ResponseError send"): 3,
        ("messaging_client_operation_duration_seconds_count", "ResponseError send"): 2,
    }


def test_each_attempt_of_a_keyed_publish_is_counted(lab: Lab, stream: str) -> None:
    attempts: list[Published] = []
    with client_losing_answers_to(b"EVAL", lab, times=1) as redis:
        producer = RedisStreamProducer(redis, stream, on_publish=attempts.append)
        producer.publish(Message("web", "a"), key="a")
    assert [attempt.error is None for attempt in attempts] == [False, True]


def test_a_hook_that_raises_harms_no_write(
    lab: Lab, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Published) -> None:
        raise ValueError("boom")

    producer = RedisStreamProducer(lab.redis, stream, on_publish=fail)
    producer.publish(Message("web", "a"))
    producer.publish_many([Message("web", "b")])
    assert lab.redis.xlen(stream) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "on_publish failed, and is called again for the next event"
    ]


def test_opentelemetry_gets_the_same_numbers(
    lab: Lab, stream: str, consumer: NewConsumer, scraped: Scraped
) -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader]).get_meter("test")
    otel = OpenTelemetryMetrics(meter)

    def on_publish(published: Published) -> None:
        otel.on_publish(published)
        scraped.metrics.on_publish(published)

    def on_batch(batch: Batch) -> None:
        otel.on_batch(batch)
        scraped.metrics.on_batch(batch)

    producer = RedisStreamProducer(lab.redis, stream, on_publish=on_publish)
    producer.publish_many([Message("web", content) for content in numbered(5)])
    alice = consumer(max_deliveries=1, on_batch=on_batch)
    alice.read_new(decline_only("3", []))
    data = reader.get_metrics_data()
    assert data is not None
    (resource,) = data.resource_metrics
    (scope,) = resource.scope_metrics
    found = {}
    for metric in scope.metrics:
        name = metric.name.replace(".", "_")
        for point in metric.data.data_points:
            attributes: dict[str, Any] = dict(point.attributes or {})
            assert attributes.pop("messaging.system") == "redis"
            assert attributes.pop("messaging.destination.name") == stream
            group = attributes.pop("messaging.consumer.group.name", "")
            assert group == ("" if "send" in attributes.values() else "billing")
            label = " ".join(sorted(map(str, attributes.values())))
            if metric.unit == "s":
                found[f"{name}_seconds_count", label] = point.count  # type: ignore[union-attr]
                assert point.explicit_bounds[0] == 0.005  # type: ignore[union-attr]
            else:
                found[f"{name}_total", label] = point.value  # type: ignore[union-attr]
    assert found == scraped.counts()


def test_counts_from_many_threads_are_not_lost(stream: str, scraped: Scraped) -> None:
    batch = Batch(
        stream, "billing", "owner", Counter({Kind.ACKED: 1}), handled_s=[0.001], acks_s=[0.001]
    )
    times, threads = 2_000, 8
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        all_at_once([lambda: [scraped.metrics.on_batch(batch) for _ in range(times)]] * threads)
    finally:
        sys.setswitchinterval(interval)
    counts = scraped.counts()
    assert counts["redisflow_client_acked_messages_total", ""] == times * threads
    assert counts["messaging_process_duration_seconds_count", "process"] == times * threads


def test_a_hostile_name_makes_a_sample_that_can_be_parsed(
    consumer: NewConsumer, scraped: Scraped, publish: Publish
) -> None:
    publish("a")
    group = 'a"b\\c\nd{}\U0001f600'
    consumer(group=group, on_batch=scraped.metrics.on_batch).read_new(lambda _: None)
    assert scraped.counts()["redisflow_client_acked_messages_total", ""] == 1


def test_a_thousand_restarts_make_no_new_series(
    publish: Publish, consumer: NewConsumer, scraped: Scraped
) -> None:
    publish("0")
    consumer(None, on_batch=scraped.metrics.on_batch).read_new(lambda _: None)
    before = {*scraped.samples}
    for number in range(1, 51):  # each has a random name
        publish(str(number))
        consumer(None, on_batch=scraped.metrics.on_batch).read_new(lambda _: None)
    assert {*scraped.samples} == before
