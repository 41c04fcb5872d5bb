"""Many consumers meet many poison messages at once, one of them far from the server."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event as StopEvent
from threading import Lock, Thread
from time import monotonic

from consumers import NewConsumer, rows, running
from network import Fault, Proxy, at
from redis import Redis

from redisflow_lab import Delivery, Event, Kind, Message
from redisflow_lab.dead_letters import DeadLetters
from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until


def write_until(stop: StopEvent, redis: Redis, stream: str) -> None:
    """Undecodable entries, 300 a second, good ones, and dead letters of another program."""
    number = 0
    while not stop.wait(0.01):
        pipeline = redis.pipeline(transaction=False)
        for _ in range(3):
            pipeline.xadd(stream, {"data": b"\xff"})
        pipeline.xadd(stream, Message("web", str(number)).to_fields())
        pipeline.xadd(f"{stream}:dead", {"by": "another program"})
        pipeline.execute()
        number += 1


@contextmanager
def writing_to(redis: Redis, stream: str) -> Iterator[None]:
    """Write there while the block runs."""
    stop = StopEvent()
    writer = Thread(target=write_until, args=(stop, redis, stream))
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def test_each_dead_letters_every_good_message_is_handled_and_stop_ends_all(
    lab: Lab, stream: str, consumer: NewConsumer, dead_letters: DeadLetters
) -> None:
    handled: Counter[str] = Counter()
    dead_lettered_by: Counter[str] = Counter()
    lock = Lock()

    def handle(delivery: Delivery) -> None:
        with lock:
            handled[delivery.message.content] += 1

    def on_event(event: Event) -> None:
        if event.kind is Kind.DEAD_LETTERED:
            with lock:
                dead_lettered_by[event.consumer] += 1

    with Proxy(lab, at(b"", Fault(delay_s=0.01))) as proxy:
        near = [consumer(f"near-{number}", on_event=on_event) for number in range(3)]
        far = consumer("far", redis=proxy.client, on_event=on_event)
        with running(*near, far, handler=handle) as stop:
            with writing_to(lab.redis, stream):
                wait_until(
                    lambda: len(dead_lettered_by) == 4 and dead_lettered_by["far"] > 5,
                    "each takes part, and the far one goes on",
                    timeout_s=60,
                )
            wait_until(
                lambda: rows(lab.groups(stream), "pending", "lag") == [[0, 0]],
                "all is dealt with",
                timeout_s=60,
            )
            began = monotonic()
            stop.set()
        took_s = monotonic() - began
    good = [fields for _, fields in lab.redis.xrange(stream) if fields[b"data"] != b"\xff"]
    assert set(handled.values()) == {1}
    assert len(handled) == len(good)
    assert len(list(dead_letters)) == lab.redis.xlen(stream) - len(good)
    assert took_s < 5  # about 0.1 s on a quiet machine
