"""A consumer with probes and metrics: for Kubernetes, a load balancer, or a curious person.

    REDIS_URL=redis://localhost:6379 PORT=8080 python examples/probes.py

    /livez    503 if the handler has hung for STUCK_S seconds: only a restart helps then
    /readyz   503 while the server cannot be used: the consumer goes on by itself afterwards
    /healthz  the whole state as JSON, with the status of /readyz
    /metrics  for Prometheus, of this process

Needs pip install 'redisflow-lab[metrics]'.
"""

import json
import logging
import os
import socket
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from prometheus_client import CollectorRegistry, generate_latest
from redis import Redis

from redisflow_lab import Delivery, RedisStreamConsumer, stop_on_signals
from redisflow_lab.metrics import ClientMetrics

log = logging.getLogger("probes")
STUCK_S = float(os.environ.get("STUCK_S", "300"))


def bill(delivery: Delivery) -> None:
    log.info("billed %s", delivery.message.content)


def answer(
    path: str, consumer: RedisStreamConsumer, registry: CollectorRegistry
) -> tuple[int, str]:
    """The status and the text of a page."""
    health = consumer.health
    is_ready = 200 if health.is_ready else 503
    match path:
        case "/livez":
            stuck = health.handling_s is not None and health.handling_s > STUCK_S
            return (503, "stuck\n") if stuck else (200, "ok\n")
        case "/readyz":
            return is_ready, health.outage or "ok\n"
        case "/healthz":
            return is_ready, json.dumps(asdict(health))
        case "/metrics":
            return 200, generate_latest(registry).decode()
        case _:
            return 404, "try /livez, /readyz, /healthz or /metrics\n"


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    metrics, registry = ClientMetrics(), CollectorRegistry()
    registry.register(metrics)
    consumer = RedisStreamConsumer(
        Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379")),
        os.environ.get("STREAM", "orders"),
        os.environ.get("GROUP", "billing"),
        os.environ.get("CONSUMER_NAME", socket.gethostname()),
        on_batch=metrics.on_batch,
    )

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = answer(self.path, consumer, registry)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """A probe every few seconds says nothing."""

    address = (os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8080")))
    with ThreadingHTTPServer(address, Pages) as server, stop_on_signals() as stop:
        Thread(target=server.serve_forever, daemon=True).start()
        log.info("probes at http://%s:%d", *server.server_address[:2])
        consumer.run(bill, stop=stop)
        server.shutdown()


if __name__ == "__main__":
    main()
