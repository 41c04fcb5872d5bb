"""A consumer belongs to the process that made it: a forked child has the same name."""

import os
from threading import Event as StopEvent

import pytest
from consumers import NewConsumer, Publish

from redisflow_lab import RedisStreamConsumer


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", [None, "alice"])
def test_it_refuses_to_work_in_a_forked_process(
    publish: Publish, consumer: NewConsumer, name: str | None
) -> None:
    made_here = consumer(name)
    publish("0")
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            os.write(writer, _refusals(made_here).encode())
        finally:
            os._exit(0)
    os.wait()
    os.close(writer)
    with os.fdopen(reader) as child:
        said = child.read()
    assert said.count("Make a consumer in each process") == 4
    assert made_here.read_new(lambda _: None) == 1


def _refusals(consumer: RedisStreamConsumer) -> str:
    said, stop = "", StopEvent()
    stop.set()  # a run that is not refused ends as well
    for step in (
        consumer.read_new,
        consumer.replay_pending,
        consumer.take_over,
        lambda handler: consumer.run(handler, stop=stop),
    ):
        try:
            step(lambda _: None)
        except RuntimeError as error:
            said += str(error)
    return said
