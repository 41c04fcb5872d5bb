"""Waiting for a state, with a limit: the only way anything here waits."""

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
    """Return as soon as `state()` is true. Raises TimeoutError, naming `what`, after the limit.

    `details()` is asked for more to say only when the limit was passed.
    """
    limit = time.monotonic() + timeout_s
    while not state():
        if time.monotonic() > limit:
            raise TimeoutError(f"waited {timeout_s:g} s, but not: {what}. {details()}".rstrip())
        time.sleep(_PAUSE_S)  # between two looks at the state
