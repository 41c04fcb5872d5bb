"""The laboratory: a server to break, consumers to kill, and views of what Redis remembers.

- `laboratory`  `Lab`, the one object a notebook needs
- `server`      get a Redis: on PATH, bundled, in Docker, or yours; kill it, restart it
- `workers`     consumers as real processes, which die at a chosen instruction
- `views`       tables, plots, the live view
- `schema`      compare two versions of a protobuf schema
- `chapters`    what a notebook needs of its server
- `process`, `waiting`, `prefix`: child processes, waiting for a state, names on a shared server
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redisflow_lab.lab.laboratory import Lab as Lab

__all__ = ["Lab"]


def __getattr__(name: str) -> Any:
    # Loaded when it is asked for: a worker process imports this package too, and starts in
    # a fifth of the time without pandas and matplotlib.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from redisflow_lab.lab import laboratory

    return getattr(laboratory, name)
