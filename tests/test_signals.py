"""SIGTERM and SIGINT ask a loop to stop."""

import os
import signal

import pytest

from redisflow_lab.lab.waiting import wait_until
from redisflow_lab.signals import stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_sets_stop_and_the_second_does_what_it_did_before(
    number: signal.Signals,
) -> None:
    before = signal.getsignal(number)
    handled_before: list[int] = []
    signal.signal(number, lambda *_: handled_before.append(1))
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), number)
            wait_until(stop.is_set, "the first signal sets stop")
            assert handled_before == []
            os.kill(os.getpid(), number)
            wait_until(lambda: handled_before == [1], "the second calls the former handler")
    finally:
        signal.signal(number, before)
