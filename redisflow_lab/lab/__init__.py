"""The laboratory: a Redis server to kill, consumers that crash on demand, and tables and plots.

- `laboratory`  `Lab`, the one object that a notebook needs
- `server`      finds or starts a Redis: yours, on PATH, bundled or in Docker; or several
- `workers`     consumers in their own processes, which crash at a chosen point
- `recording`   what happens to a stream, and the commands that did it
- `views`       tables, plots, the live view and the replay
- `workshop`    predictions and exercises, checked by the state of the server
- `schema`      compares two versions of a protobuf message
- `chapters`    reads what a notebook needs of its server
- `process`, `lifeline`, `interrupts`, `waiting`, `prefix`: child processes, how they notice the
  end of the kernel or of a cell, waiting for a state, keys on a shared server
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redisflow_lab.lab.laboratory import Lab as Lab

__all__ = ["Lab"]


def __getattr__(name: str) -> Any:
    # Imported on first use: each worker process imports this package, and starts five times
    # faster without pandas and matplotlib.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from redisflow_lab.lab import laboratory

    return getattr(laboratory, name)
