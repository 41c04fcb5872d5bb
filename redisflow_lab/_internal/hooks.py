"""Calls the hooks of producers and consumers, so that one that fails harms no message."""

import logging
from collections.abc import Callable
from typing import Any

from redisflow_lab._internal.guarded_log import GuardedLog
from redisflow_lab._internal.user_code import ENDS_THE_PROCESS, check_finished

log = GuardedLog("redisflow_lab.hooks")


class GuardedHook:
    """What the hook raises is logged, only the first time of several in a row."""

    def __init__(self, name: str, hook: Callable[[Any], object]) -> None:
        self._name, self._hook = name, hook
        self._is_failing = False

    def __call__(self, happened: object) -> None:
        try:
            check_finished(self._name, self._hook(happened))
        except ENDS_THE_PROCESS:
            raise
        except BaseException as error:
            if not self._is_failing:
                text = "%s failed, and is called again for the next event"
                log.record(logging.ERROR, text, self._name, exception=error)
            self._is_failing = True
        else:
            self._is_failing = False


def guarded(name: str, hook: Callable[[Any], object] | None) -> GuardedHook | None:
    """The hook that a user has given as the argument `name`; None if there is none.

    Raises TypeError if it is not callable.
    """
    if hook is None:
        return None
    if not callable(hook):
        raise TypeError(f"{name} must be callable, not {type(hook).__name__}: {hook!r}")
    return GuardedHook(name, hook)
