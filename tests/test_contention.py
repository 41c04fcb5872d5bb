"""Many consumers meet many poison messages at once, one of them far from the server."""

from collections import Counter
from threading import Event as StopEvent
from threading import Lock, Thread
from time import monotonic

from consumers import NewConsumer, running
from network import Proxy
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

    writing = StopEvent()
    with Proxy(b"", lab, delay_s=0.01) as proxy:
        near = [consumer(f"near-{number}", on_event=on_event) for number in range(3)]
        far = consumer("far", redis=proxy.client, on_event=on_event)
        writer = Thread(target=write_until, args=(writing, lab.redis, stream))
        with running(*near, far, handler=handle) as stop:
            writer.start()
            wait_until(
                lambda: len(dead_lettered_by) == 4 and len(handled) > 100, "each takes part"
            )
            wait_until(lambda: dead_lettered_by["far"] > 20, "the far one goes on")
            writing.set()
            writer.join()
            wait_until(lambda: not len(lab.pending(stream)), "all is dealt with")
            wait_until(lambda: lab.groups(stream)["lag"].max() == 0, "all is delivered")
            began = monotonic()
            stop.set()
        took_s = monotonic() - began
    good = [fields for _, fields in lab.redis.xrange(stream) if fields[b"data"] != b"\xff"]
    assert set(handled.values()) == {1}
    assert len(handled) == len(good)
    assert len(list(dead_letters)) == lab.redis.xlen(stream) - len(good)
    assert took_s < 1
