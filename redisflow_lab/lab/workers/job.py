"""What a started process does first: it reads its job from a pipe."""

import os
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True)
class Surroundings:
    """The working folder, `sys.path` and environment of a process.

    They are those of the notebook, so that the process finds the same files and modules.
    """

    folder: str
    path: list[str]
    environment: dict[str, str]

    @classmethod
    def here(cls) -> "Surroundings":
        """The surroundings of this process, now."""
        return cls(os.getcwd(), [str(entry) for entry in sys.path], dict(os.environ))


def pack(surroundings: Surroundings, call: bytes) -> bytes:
    """A job as `run` reads it. `call` is a pickled function with its arguments."""
    return pickle.dumps(surroundings) + call


def run(pipe: BinaryIO, fds: Sequence[int]) -> None:
    """Read a job from the pipe, and do it. Its function gets `fds` as its last arguments."""
    with pipe:
        surroundings: Surroundings = pickle.load(pipe)
        os.environ.clear()
        os.environ.update(surroundings.environment)
        os.chdir(surroundings.folder)
        sys.path[:] = surroundings.path
        function, arguments = pickle.load(pipe)  # may import modules of the notebook
    function(*arguments, *fds)
