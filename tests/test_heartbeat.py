"""A heartbeat that says False: the message is another consumer's, and stays so."""

from redisflow_lab import Delivery, Message, RedisStreamConsumer, RedisStreamProducer
from redisflow_lab.lab import Lab


def test_a_message_that_was_taken_over_is_not_acknowledged_for_the_other(
    lab: Lab, stream: str
) -> None:
    """Its new owner may die before it is handled: acknowledged, it would be lost."""
    ids = RedisStreamProducer(lab.redis, stream).publish_many(
        Message("web", str(number)) for number in range(2)
    )
    alice = RedisStreamConsumer(lab.redis, stream, "billing", "alice", block_ms=20)
    alice.ensure_group()
    answers: list[bool] = []

    def robbed_of_the_first(delivery: Delivery) -> None:
        if delivery.entry_id == ids[0]:
            lab.redis.xclaim(stream, "billing", "bob", 0, [ids[0]])
        answers.append(delivery.heartbeat())

    alice.read_new(robbed_of_the_first)
    assert answers == [False, True]
    pending = lab.pending(stream)
    assert list(pending["entry_id"]) == ids[:1]
    assert list(pending["consumer"]) == ["bob"]
