"""Acknowledgements between the handler and the server: completed, sent, confirmed, restored."""

import pytest
import redis
from network import client_losing_answers_to
from redis import Redis

from redisflow_lab import Event
from redisflow_lab._internal.acks import Acks
from redisflow_lab._internal.connection import stream_client
from redisflow_lab._internal.emitter import Emitter
from redisflow_lab._internal.entry import Entry
from redisflow_lab._internal.failovers import failovers_of
from redisflow_lab._internal.group import Group
from redisflow_lab.lab import Lab


def acks_into(events: list[Event], client: Redis, stream: str = "orders") -> Acks:
    own = stream_client(client, stream)
    group = Group(own, stream, "billing", "alice")
    return Acks(
        group, Emitter(stream, "billing", "alice", events.append), failovers_of(own, own)
    )


def entry(number: int) -> Entry:
    return Entry(b"%d-0" % number, None, 1)


def test_what_is_sent_is_no_longer_completed() -> None:
    acks = acks_into([], Redis())
    assert acks.complete(entry(1)) == 1
    assert acks.complete(entry(2)) == 2
    assert acks.send() == [entry(1), entry(2)]
    assert acks.send() == []


def test_what_is_restored_is_sent_again_before_what_was_completed_later() -> None:
    acks = acks_into([], Redis())
    acks.complete(entry(1))
    sent = acks.send()
    acks.complete(entry(2))
    acks.restore(sent)
    assert acks.send() == [entry(1), entry(2)]


def test_only_what_is_confirmed_is_reported_as_acknowledged() -> None:
    events: list[Event] = []
    acks = acks_into(events, Redis())
    acks.complete(entry(1))
    acks.restore(acks.send())
    assert events == []
    acks.confirm(acks.send())
    assert [(event.kind, event.entry_id) for event in events] == [("acked", "1-0")]


def test_a_flush_whose_reply_is_lost_is_repeated(lab: Lab, stream: str) -> None:
    lab.redis.xgroup_create(stream, "billing", mkstream=True)
    lab.redis.xadd(stream, {"a": "1"}, id="1-0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"})
    events: list[Event] = []
    with client_losing_answers_to(b"XACK", lab, times=1) as client:
        acks = acks_into(events, client, stream)
        acks.complete(entry(1))
        with pytest.raises(redis.ConnectionError):
            acks.flush()
        assert events == []
        acks.flush()
    assert [event.kind for event in events] == ["acked"]
    assert lab.redis.xpending(stream, "billing")["pending"] == 0
