"""The same consumer as `plain_consumer.py`, with `RedisStreamConsumer`.

    python examples/helper_consumer.py --url redis://localhost:6379 \\
      --stream orders --group workers --name w1 --effects effects

Handles a message by pushing its content to the list `--effects`, once for each message.
"""

import argparse

from redis import Redis
from redis.client import Pipeline

from redisflow_lab import Delivery, RedisStreamConsumer, handle_once, stop_on_signals


def main() -> None:
    parser = argparse.ArgumentParser()
    for option in ("--url", "--stream", "--group", "--name", "--effects"):
        parser.add_argument(option, required=True)
    options = parser.parse_args()
    redis = Redis.from_url(options.url)
    consumer = RedisStreamConsumer(
        redis, options.stream, options.group, options.name, min_idle_ms=5_000, max_deliveries=5
    )

    def push(effects: Pipeline, delivery: Delivery) -> None:
        effects.rpush(options.effects, delivery.message.content)

    handler = handle_once(push, redis, f"{options.stream}:done:{options.group}")

    with stop_on_signals() as stop:
        consumer.run(handler, stop=stop)


if __name__ == "__main__":
    main()
