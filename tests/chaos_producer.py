"""A producer of the chaos test, as a process: python chaos_producer.py, told by a line of JSON.

Writes down the key of each message after the server confirmed it, one a line: what is in
that file was promised, and must not be lost.
"""

import json
import sys
from itertools import count
from pathlib import Path

import redis
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.lab.waiting import wait_until

BATCH = 50
POISON_EVERY, JUNK_EVERY = 500, 700
MOST_LAG = 1_000


def content_of(name: str, number: int) -> str:
    return f"{name} {number}{' poison' if number % POISON_EVERY == 7 else ''}"


def produce(address: dict[str, object], name: str, least: int, keyed: bool, said: Path) -> None:
    """Publish at least `least` messages, until somebody sets the key `enough`."""
    client = Redis(**address, retry=Retry(ConstantBackoff(0.02), 500))  # type: ignore[arg-type]
    producer = RedisStreamProducer(client, "orders")
    with said.open("w") as confirmed:
        for first in count(0, BATCH):
            if first >= least and client.exists("enough"):
                return
            wait_until(lambda: lag(client) < MOST_LAG, "consumers keep up", timeout_s=300)
            contents = [content_of(name, number) for number in range(first, first + BATCH)]
            publish(producer, name, contents, keyed)
            confirmed.writelines(f"{content}\n" for content in contents)
            confirmed.flush()
            if first % JUNK_EVERY == 0:
                client.xadd("orders", {"data": b"\xff\xff"})


def lag(client: Redis) -> int:
    """How far the consumers are behind, `MOST_LAG` at most; 0 before there are any.

    Counted where the server does not know: Redis 7.0 answers nil after a restart.
    """
    if not client.exists("orders"):
        return 0
    for group in client.xinfo_groups("orders"):
        if group["lag"] is not None:
            return min(group["lag"], MOST_LAG)
        after = f"({group['last-delivered-id'].decode()}"
        return len(client.xrange("orders", min=after, count=MOST_LAG))
    return 0


def publish(producer: RedisStreamProducer, name: str, contents: list[str], keyed: bool) -> None:
    """With keys, one by one and never twice; without, a batch again when it was disturbed."""
    messages = [Message(name, content) for content in contents]
    while True:
        try:
            if keyed:
                for message in messages:
                    producer.publish(message, key=message.content)
            else:
                producer.publish_many(messages)
            return
        except (redis.ConnectionError, redis.TimeoutError):
            continue  # the server is being restarted


if __name__ == "__main__":
    given = json.load(sys.stdin)
    produce(
        given["address"], given["name"], given["least"], given["keyed"], Path(given["said"])
    )
