"""A worker as a service: sends the order in each message to a billing service, until SIGTERM.

    REDIS_URL=redis://localhost:6379 BILLING_URL=http://localhost:8080/invoices \\
    CONSUMER_NAME=billing-0 python examples/worker_service.py

    python examples/worker_service.py dead-letters        what was given up, and why
    python examples/worker_service.py redrive ID [ID ...]  write it to the stream again

SIGTERM, which Docker, Kubernetes and systemd send, shuts it down gracefully: the order in the
handler is finished and acknowledged, and the rest of its batch is handed over to the other
workers of the group. Let the platform wait longer than TIMEOUT_S before it sends SIGKILL.
"""

import argparse
import logging
import logging.config
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.request import Request, urlopen

from redis import Redis

from redisflow_lab import DeadLetters, Delivery, RedisStreamConsumer, stop_on_signals

log = logging.getLogger("worker_service")


@dataclass(frozen=True)
class Settings:
    """What may differ between two deployments; each has an environment variable.

    name:       must survive a restart, and no other running worker may use it: a container's
                host name is right in a StatefulSet, and wrong in a Deployment, whose pods get
                a new one with each start
    timeout_s:  how long one call of the billing service may take
    min_idle_s: another worker takes an order over after so long; also the pause before a
                failed order is tried again. Must be longer than timeout_s
    """

    redis_url: str
    billing_url: str
    stream: str
    group: str
    name: str
    timeout_s: float
    min_idle_s: float
    max_deliveries: int
    log_level: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        return cls(
            redis_url=environment.get("REDIS_URL", "redis://localhost:6379"),
            billing_url=environment.get("BILLING_URL", "http://localhost:8080/invoices"),
            stream=environment.get("STREAM", "orders"),
            group=environment.get("GROUP", "billing"),
            name=environment.get("CONSUMER_NAME", socket.gethostname()),
            timeout_s=float(environment.get("TIMEOUT_S", "10")),
            min_idle_s=float(environment.get("MIN_IDLE_S", "60")),
            max_deliveries=int(environment.get("MAX_DELIVERIES", "5")),
            log_level=environment.get("LOG_LEVEL", "INFO"),
        )


def configure_logging(level: str) -> None:
    # The helper logs failures and dead letters as errors, outages and recoveries as warnings.
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"level": level, "handlers": ["stderr"]},
        }
    )


def work(redis: Redis, settings: Settings) -> None:
    def bill(delivery: Delivery) -> None:
        request = Request(
            settings.billing_url,
            data=delivery.message.content.encode(),
            # The order may be delivered again. With this header, a billing service that
            # knows the key answers the second time without a second invoice.
            headers={"Idempotency-Key": delivery.entry_id, "Content-Type": "text/plain"},
        )
        # Raises for a 4xx or 5xx: then the order stays pending, and is tried again.
        with urlopen(request, timeout=settings.timeout_s):
            log.info("billed %s", delivery.entry_id)

    consumer = RedisStreamConsumer(
        redis,
        settings.stream,
        settings.group,
        settings.name,
        min_idle_ms=round(settings.min_idle_s * 1_000),
        max_handler_ms=round(settings.timeout_s * 1_000),
        max_deliveries=settings.max_deliveries,
    )
    log.info("%s bills %s until SIGTERM", settings.name, settings.stream)
    with stop_on_signals() as stop:
        consumer.run(bill, stop=stop)
    log.info("%s has stopped", settings.name)


def list_dead_letters(letters: DeadLetters) -> None:
    for letter in letters:
        log.info(
            "%s: entry %s of %s, %s after %d deliveries: %s",
            letter.letter_id,
            letter.entry_id,
            letter.stream,
            letter.reason,
            letter.deliveries,
            letter.error,
        )
    log.info("%d dead letters", len(letters))


def main() -> None:
    parser = argparse.ArgumentParser(description="Bills the orders of a stream.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("dead-letters", help="list what was given up, and why")
    redrive = commands.add_parser("redrive", help="write dead letters to the stream again")
    redrive.add_argument("ids", nargs="+", metavar="ID")
    arguments = parser.parse_args()

    settings = Settings.from_environment(os.environ)
    configure_logging(settings.log_level)
    redis = Redis.from_url(settings.redis_url)
    letters = DeadLetters(redis, settings.stream)
    if arguments.command == "dead-letters":
        list_dead_letters(letters)
    elif arguments.command == "redrive":
        log.info("written again as %s", ", ".join(letters.redrive(*arguments.ids)))
    else:
        work(redis, settings)


if __name__ == "__main__":
    main()
