"""SIGTERM and SIGINT ask a loop to stop."""

import os
import signal
import subprocess
import sys

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


EMBEDDED = """
import ctypes, importlib, os, signal, sys

# The C library's own handler for SIGTERM, there before Python's module looks for one:
# what a program has installed that embeds Python.
owner = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: None)
libc = ctypes.CDLL(None)
libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, type(owner))
libc.signal(signal.SIGTERM, owner)
for name in ("_signal", "signal"):
    del sys.modules[name]
signal = importlib.import_module("signal")
assert signal.getsignal(signal.SIGTERM) is None

from redisflow_lab.signals import stop_on_signals

with stop_on_signals() as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.wait(10)
print("stopped", flush=True)
os.kill(os.getpid(), signal.SIGTERM)
signal.pause()
"""


def test_a_signal_of_an_embedding_program_stops_the_block_and_then_ends_the_process() -> None:
    """Python cannot give such a handler back, and a signal must not be swallowed either."""
    done = subprocess.run(
        [sys.executable, "-c", EMBEDDED], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.returncode) == ("stopped\n", -signal.SIGTERM), done.stderr
