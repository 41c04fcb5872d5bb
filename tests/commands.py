"""Runs the command `redisflow` as a process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Redisflow = Callable[..., "Done"]


class Done:
    """What a command did."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """What it said of an error, without the frame that is drawn around it."""
        return " ".join(self.err.replace("│", " ").split())


def redisflow_at(url: str, home: Path) -> Redisflow:
    """Runs the command on this server, in an environment with as little as possible."""

    def run(*arguments: object, url: str = url, **environment: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "redisflow_lab", *map(str, arguments)],
            env={"PATH": os.environ["PATH"], "REDISFLOW_URL": url, "HOME": str(home)}
            | {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
            | environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return Done(done)

    return run
