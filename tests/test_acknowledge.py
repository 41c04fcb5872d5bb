"""An entry is acknowledged after its handler returned, and stays pending otherwise."""

from collections.abc import Callable

import pytest
import redis
from consumers import NewConsumer, Publish, numbered
from handlers import decline_only, interrupt_at

from redisflow_lab.lab import Lab

PendingIds = Callable[[], list[str]]


def test_an_entry_is_acknowledged_only_after_its_handler_returned(
    publish: Publish, consumer: NewConsumer, pending_ids: PendingIds
) -> None:
    ids = publish(*numbered(3))
    seen: list[list[str]] = []
    consumer().read_new(lambda _: seen.append(pending_ids()))
    assert seen == [ids, ids[1:], ids[2:]]
    assert pending_ids() == []


def test_a_failing_handler_leaves_its_entry_pending_and_the_next_is_handled(
    publish: Publish, consumer: NewConsumer, pending_ids: PendingIds
) -> None:
    ids = publish(*numbered(3))
    handled: list[str] = []
    consumer().read_new(decline_only("1", handled))
    assert handled == ["0", "2"]
    assert pending_ids() == [ids[1]]


def test_ack_every_acknowledges_several_at_once_and_the_rest_at_the_end_of_the_read(
    publish: Publish, consumer: NewConsumer, pending_ids: PendingIds
) -> None:
    publish(*numbered(5))
    seen: list[int] = []
    consumer(ack_every=2).read_new(lambda _: seen.append(len(pending_ids())))
    assert seen == [5, 5, 3, 3, 1]
    assert pending_ids() == []


def test_an_interrupt_acknowledges_what_was_completed_before_it(
    publish: Publish, consumer: NewConsumer, pending_ids: PendingIds
) -> None:
    ids = publish(*numbered(3))
    with pytest.raises(KeyboardInterrupt):
        consumer(ack_every=10).read_new(interrupt_at("1", []))
    assert pending_ids() == ids[1:]


def test_an_acknowledgement_that_fails_leaves_the_entry_pending(
    own_lab: Lab, publish: Publish, consumer: NewConsumer, pending_ids: PendingIds
) -> None:
    ids = publish("0")
    with pytest.raises(redis.ConnectionError):
        consumer().read_new(lambda _: own_lab.server.kill())
    own_lab.server.start()
    assert pending_ids() == ids
