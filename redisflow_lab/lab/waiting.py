"""Wait for a state, with a limit: nothing in the lab sleeps for a fixed time."""

import time
from collections.abc import Callable

WHAT_TO_TRY = (
    "If this cell ran before, its messages may be acknowledged already: restart the kernel, "
    "and run the notebook up to this cell. If the machine is slow, "
    "give it longer with timeout_s="
)
"""Advice for a notebook in which a state was not reached in time."""

_PAUSE_S = 0.002


def wait_until(
    state: Callable[[], object],
    what: str,
    *,
    timeout_s: float = 10.0,
    details: Callable[[], str] = lambda: "",
) -> None:
    """Return as soon as `state()` is true.

    what:    the state in words, for the error: "alice ends" becomes "not within 10 s: alice
             ends"
    details: called after the limit; its text is added to the error

    Raises TimeoutError after `timeout_s` seconds.
    """
    limit = time.monotonic() + timeout_s
    while not state():
        if time.monotonic() > limit:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}. {details()}".rstrip())
        time.sleep(_PAUSE_S)  # between two looks at the state
