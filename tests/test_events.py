"""Everything that happens to an entry passes through the hook, or goes to the log."""

import logging

import pytest
from consumers import NewConsumer, Publish
from handlers import decline_only

from redisflow_lab import Event


def test_every_event_of_an_entry_passes_through_the_hook_in_order(
    publish: Publish, consumer: NewConsumer
) -> None:
    ids = publish("0", "1")
    events: list[Event] = []
    consumer(on_event=events.append).read_new(decline_only("1", []))
    assert [(event.kind, event.entry_id) for event in events] == [
        ("delivered", ids[0]),
        ("delivered", ids[1]),
        ("handled", ids[0]),
        ("acked", ids[0]),
        ("failed", ids[1]),
    ]
    assert [event.at for event in events] == sorted(event.at for event in events)


def test_without_a_hook_the_log_names_the_same_events(
    publish: Publish, consumer: NewConsumer, caplog: pytest.LogCaptureFixture
) -> None:
    publish("0")
    with caplog.at_level(logging.DEBUG, logger="redisflow_lab.events"):
        consumer().read_new(lambda _: None)
    assert [record.message.split()[0] for record in caplog.records] == [
        "delivered",
        "handled",
        "acked",
    ]
