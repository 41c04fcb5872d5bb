"""What a cell started ends with it, if the cell is interrupted."""

from typing import Any

from IPython.core.getipython import get_ipython

from redisflow_lab.lab.workers.starters import Starter


class EndsWithInterruptedCell:
    """Kills what was started in a cell that the learner interrupts (the ■ button).

    starter: has started it

    Outside a notebook it does nothing.
    """

    def __init__(self, starter: Starter) -> None:
        self._starter = starter
        self._before: set[int] = set()
        self._shell = _shell()
        if self._shell is not None:
            self._shell.events.register("pre_run_cell", self._remember)
            self._shell.events.register("post_run_cell", self._end)

    def close(self) -> None:
        if self._shell is not None:
            self._shell.events.unregister("pre_run_cell", self._remember)
            self._shell.events.unregister("post_run_cell", self._end)
            self._shell = None

    def _remember(self, _: object) -> None:
        self._before = {id(one) for one in self._starter.started}

    def _end(self, result: Any) -> None:
        if isinstance(result.error_in_exec, KeyboardInterrupt):
            for process in [*self._starter.started]:
                if id(process) not in self._before:
                    process.kill()


def _shell() -> Any:
    """The IPython of this notebook; None elsewhere."""
    return get_ipython()
