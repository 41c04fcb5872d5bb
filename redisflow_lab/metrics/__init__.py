"""Metrics for Prometheus: of this process's producers and consumers, and of streams.

    from prometheus_client import REGISTRY, start_http_server
    from redisflow_lab.metrics import ClientMetrics, StreamCollector

    metrics = ClientMetrics()
    REGISTRY.register(metrics)                              # what this process does
    REGISTRY.register(StreamCollector(redis, ["orders"]))   # what the server knows
    # of partitions: StreamCollector(redis, partitioned=["orders"])
    start_http_server(9808, "127.0.0.1")

    producer = RedisStreamProducer(redis, "orders", on_publish=metrics.on_publish)
    consumer = RedisStreamConsumer(redis, "orders", "billing", on_batch=metrics.on_batch)

No label is an entry id or the name of a consumer, so restarts make no new series.
`redisflow_lab.otel` passes the client's numbers to OpenTelemetry instead.

Needs prometheus-client: pip install 'redisflow-lab[metrics]'
"""

from redisflow_lab.metrics.client import ClientMetrics
from redisflow_lab.metrics.streams import StreamCollector

__all__ = ["ClientMetrics", "StreamCollector"]
