"""A heartbeat finds out what happened to a message: taken over, or trimmed."""

from threading import Event as StopEvent

from redisflow_lab import Delivery, Message, RedisStreamConsumer, RedisStreamProducer
from redisflow_lab.lab import Lab


def test_a_heartbeat_kept_for_later_holds_nothing(lab: Lab, stream: str) -> None:
    RedisStreamProducer(lab.redis, stream).publish(Message("web", "a"))
    alice = RedisStreamConsumer(lab.redis, stream, "billing", "alice", block_ms=20)
    alice.ensure_group()
    kept: list[Delivery] = []
    alice.read_new(kept.append)
    assert kept[0].heartbeat() is False


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


def test_what_is_trimmed_in_hand_is_handled_or_reported(lab: Lab, stream: str) -> None:
    """A claim drops it from the pending list: it is not skipped, nor lost when it fails."""
    ids = RedisStreamProducer(lab.redis, stream).publish_many(
        Message("web", content) for content in ("good", "bad", "good")
    )
    alice = RedisStreamConsumer(lab.redis, stream, "billing", "alice", block_ms=20)
    alice.ensure_group()
    handled: list[str] = []

    def trimmed_meanwhile(delivery: Delivery) -> None:
        lab.redis.xtrim(stream, maxlen=0, approximate=False)
        assert delivery.heartbeat()
        assert delivery.heartbeat()
        if delivery.message.content == "bad":
            raise ValueError("no")
        handled.append(delivery.entry_id)

    alice.read_new(trimmed_meanwhile)
    assert handled == [ids[0], ids[2]]
    letters = lab.dead_letters(stream)
    assert letters[["entry_id", "reason"]].values.tolist() == [[ids[1], "trimmed"]]


def test_what_is_trimmed_and_not_started_is_reported_by_who_leaves(
    lab: Lab, stream: str
) -> None:
    ids = RedisStreamProducer(lab.redis, stream).publish_many(
        Message("web", str(number)) for number in range(2)
    )
    stop = StopEvent()

    def trimmed_at_the_end(_: Delivery) -> None:
        lab.redis.xtrim(stream, maxlen=0, approximate=False)
        stop.set()

    RedisStreamConsumer(lab.redis, stream, "billing", "alice", block_ms=20).run(
        trimmed_at_the_end, stop=stop
    )
    letters = lab.dead_letters(stream)
    assert letters[["entry_id", "reason"]].values.tolist() == [[ids[1], "trimmed"]]
