"""Wait for a state, with a limit: nothing in the lab sleeps for a fixed time."""

import time
from collections.abc import Callable

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
