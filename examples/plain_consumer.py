"""A consumer in plain redis-py: everything that the course teaches, and nothing else.

    python examples/plain_consumer.py --url redis://localhost:6379 \\
      --stream orders --group workers --name w1 --effects effects

Handles a message by pushing its content to the list `--effects`. `make grade` shows what such a
program must do; in a service, use `RedisStreamConsumer`, which has the same parts.
"""

import argparse
import signal
from threading import Event
from typing import Any

import redis

from redisflow_lab import Message

MIN_IDLE_MS = 5_000
MAX_DELIVERIES = 5
A_DAY_S = 86_400

# Without the mark: push the effect and set the mark. One script is one step on the server.
ONCE = """
if redis.call('SET', KEYS[2], '1', 'NX', 'EX', ARGV[2]) then
  redis.call('RPUSH', KEYS[1], ARGV[1])
end
"""


class Consumer:
    def __init__(self, options: argparse.Namespace) -> None:
        self.r = redis.Redis.from_url(options.url)
        self.stream, self.group, self.name = options.stream, options.group, options.name
        self.effects = options.effects
        self.cursor: Any = "0-0"
        self.stop = Event()

    def run(self) -> None:
        pause_s = 0.1
        while not self.stop.is_set():
            try:
                self.ensure_group()
                self.replay()
                while not self.stop.is_set():
                    self.claim()
                    self.work(self.read(">"))
                    pause_s = 0.1
            except redis.ConnectionError:  # the server is away: wait, longer each time
                self.stop.wait(pause_s)
                pause_s = min(2 * pause_s, 2.0)

    def ensure_group(self) -> None:
        try:
            self.r.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def read(self, start: str) -> list[Any]:
        found: Any = self.r.xreadgroup(
            self.group, self.name, {self.stream: start}, count=10, block=500
        )
        return found[0][1] if found else []

    def replay(self) -> None:
        last = "0"
        while not self.stop.is_set() and (entries := self.read(last)):
            self.work(entries)
            last = entries[-1][0]

    def claim(self) -> None:
        claimed: Any = self.r.xautoclaim(
            self.stream, self.group, self.name, MIN_IDLE_MS, self.cursor, count=10
        )
        self.cursor, entries, _ = claimed
        self.work(entries)

    def work(self, entries: list[Any]) -> None:
        for entry_id, fields in entries:
            if self.stop.is_set():
                return  # what is left stays pending: it is replayed, or claimed
            try:
                self.handle(entry_id, fields)
            except redis.ConnectionError:
                raise
            except Exception as error:
                print(f"{entry_id.decode()} failed: {error!r}")
                self.give_up_if_it_failed_too_often(entry_id, fields)
            else:
                self.r.xack(self.stream, self.group, entry_id)

    def handle(self, entry_id: bytes, fields: Any) -> None:
        content = Message.from_fields(fields).content
        mark = f"{self.stream}:done:{entry_id.decode()}"
        self.r.eval(ONCE, 2, self.effects, mark, content, A_DAY_S)

    def give_up_if_it_failed_too_often(self, entry_id: bytes, fields: Any) -> None:
        rows: Any = self.r.xpending_range(self.stream, self.group, entry_id, entry_id, 1)
        if rows and rows[0]["times_delivered"] >= MAX_DELIVERIES:
            with self.r.pipeline(transaction=True) as both:
                both.xadd(f"{self.stream}:dead", fields)
                both.xack(self.stream, self.group, entry_id)
                both.execute()


def main() -> None:
    parser = argparse.ArgumentParser()
    for option in ("--url", "--stream", "--group", "--name", "--effects"):
        parser.add_argument(option, required=True)
    consumer = Consumer(parser.parse_args())
    signal.signal(signal.SIGTERM, lambda *_: consumer.stop.set())
    consumer.run()


if __name__ == "__main__":
    main()
