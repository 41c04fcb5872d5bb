"""A producer of the chaos test: python chaos_producer.py, with its settings as JSON on stdin.

Writes the content of each message to a file after the server has confirmed the message, one a
line: what stands in that file was promised, and must not be lost.
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
POISON_EVERY, UNDECODABLE_EVERY = 500, 700
MAX_LAG = 1_000
FAILS, KILLS = "fails", "kills"
"""The last word of a message whose handler always fails, or always kills its process."""


def content_of(name: str, number: int, killers_every: int) -> str:
    if killers_every and number % killers_every == 257:
        return f"{name} {number} {KILLS}"
    return f"{name} {number} {FAILS}" if number % POISON_EVERY == 7 else f"{name} {number}"


def produce(
    address: dict[str, object],
    name: str,
    least: int,
    keyed: bool,
    killers_every: int,
    confirmed_file: Path,
) -> None:
    """Publish at least `least` messages, until the key `enough` is set.

    killers_every: one message of so many kills its process; 0 is none
    """
    client = Redis(**address, retry=Retry(ConstantBackoff(0.02), 500))  # type: ignore[arg-type]
    producer = RedisStreamProducer(client, "orders")
    with confirmed_file.open("w") as confirmed:
        for first in count(0, BATCH):
            if first >= least and client.exists("enough"):
                return
            wait_until(lambda: lag(client) < MAX_LAG, "consumers keep up", timeout_s=300)
            numbers = range(first, first + BATCH)
            contents = [content_of(name, number, killers_every) for number in numbers]
            publish(producer, name, contents, keyed)
            confirmed.writelines(f"{content}\n" for content in contents)
            confirmed.flush()
            if first % UNDECODABLE_EVERY == 0:
                client.xadd("orders", {"data": b"\xff\xff"})


def lag(client: Redis) -> int:
    """How many entries the group has not read yet, up to `MAX_LAG`; 0 before it exists.

    Counted where the server's answer is nil, as that of Redis 7.0 is after a restart.
    """
    if not client.exists("orders"):
        return 0
    for group in client.xinfo_groups("orders"):
        if group["lag"] is not None:
            return min(group["lag"], MAX_LAG)
        after = f"({group['last-delivered-id'].decode()}"
        return len(client.xrange("orders", min=after, count=MAX_LAG))
    return 0


def publish(producer: RedisStreamProducer, name: str, contents: list[str], keyed: bool) -> None:
    """With keys, one by one and once each; without, the whole batch again after an error."""
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
    produce(**{**given, "confirmed_file": Path(given["confirmed_file"])})
