"""Code that is written for the protocols works with the classes, keyed publish included.

mypy checks the types: see the end of `interfaces.py`.
"""

import inspect

import pytest

from redisflow_lab import (
    Consumer,
    Message,
    MultiStreamConsumer,
    Producer,
    RedisStreamConsumer,
    RedisStreamProducer,
)
from redisflow_lab.lab import Lab


def test_whoever_is_given_a_producer_may_publish_with_a_key(lab: Lab, stream: str) -> None:
    inspect.signature(Producer.publish).bind(None, Message("web", "a"), key="1001")
    producer: Producer = RedisStreamProducer(lab.redis, stream)
    first, second = (producer.publish(Message("web", "a"), key="1001") for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("promised", "offered"),
    [
        (Producer.publish, RedisStreamProducer.publish),
        (Producer.publish_many, RedisStreamProducer.publish_many),
        (Consumer.run, RedisStreamConsumer.run),
        (Consumer.run, MultiStreamConsumer.run),
    ],
)
def test_a_class_takes_each_argument_of_its_protocol(promised: object, offered: object) -> None:
    taken = inspect.signature(offered).parameters  # type: ignore[arg-type]
    for name, parameter in inspect.signature(promised).parameters.items():  # type: ignore[arg-type]
        offer = taken[name]
        assert (offer.kind, offer.default) == (parameter.kind, parameter.default)
