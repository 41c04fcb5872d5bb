"""Consumers of one process take turns, and who waits longest is next."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event as StopEvent

from redisflow_lab._internal.turn import Line, Turn


def test_a_consumer_that_wants_another_turn_waits_behind_the_others() -> None:
    line, stop, bob_waits, order = Line(), StopEvent(), StopEvent(), list[str]()
    turns = {"alice": Turn(lambda: None), "bob": Turn(while_waiting=bob_waits.set)}
    for turn in turns.values():
        turn.wait_in(line)

    def take(name: str) -> None:
        turns[name].take(stop)
        order.append(name)
        turns[name].give_back()

    assert turns["alice"].take(stop)
    with ThreadPoolExecutor(1) as threads:
        bob = threads.submit(take, "bob")
        assert bob_waits.wait(5)
        turns["alice"].give_back()
        take("alice")
        bob.result(5)
    assert order == ["bob", "alice"]


def test_a_consumer_alone_always_has_its_turn() -> None:
    turn = Turn(while_waiting=lambda: None)
    assert turn.take(StopEvent())
    turn.give_back()
    assert not turn.is_held
