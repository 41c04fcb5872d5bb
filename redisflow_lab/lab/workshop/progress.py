"""What a learner has predicted and solved, kept in one small file."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VERSION = 1
FILE = "progress.json"


class Progress:
    """Predictions and exercises of one learner, by id.

    In `progress.json` of the folder that REDISFLOW_WORK names, or of the folder of the
    notebook if such a file is there. Elsewhere, as in a test run, nothing is written, and it
    lasts as long as the kernel. Several notebooks may write at the same time.
    """

    def __init__(self, folder: Path | None) -> None:
        self._file = None if folder is None else folder / FILE
        self._kept: dict[str, Any] = _empty()

    @classmethod
    def here(cls) -> "Progress":
        """The progress for notebooks in the current folder."""
        if named := os.environ.get("REDISFLOW_WORK"):
            return cls(Path(named))
        return cls(Path.cwd() if Path(FILE).exists() else None)

    def read(self, kind: str, name: str) -> dict[str, Any]:
        """What is known of one prediction or exercise; empty if nothing is.

        kind: "predictions" or "exercises"
        """
        with self._open() as content:
            found: dict[str, Any] = content[kind].get(name, {})
            return dict(found)

    def write(self, kind: str, name: str, **values: Any) -> None:
        """Add values to what is known of one prediction or exercise."""
        with self._open() as content:
            content[kind].setdefault(name, {}).update(values)
            self._store(content)

    @contextmanager
    def _open(self) -> Iterator[dict[str, Any]]:
        """The content, while no other process changes it."""
        if self._file is None:
            yield self._kept
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._load(self._file)

    def _load(self, file: Path) -> dict[str, Any]:
        if not file.exists():
            return _empty()
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            problem = _problem_of(content)
        except ValueError as error:  # neither text nor JSON
            problem = f"it cannot be read ({error})"
        if not problem:
            return dict(content)
        aside = _free_name(file)
        file.replace(aside)
        print(f"{file} was put aside as {aside.name}: {problem}. A new one was begun.")
        return _empty()

    def _store(self, content: dict[str, Any]) -> None:
        if self._file is not None:
            new = self._file.with_suffix(".new")
            new.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
            new.replace(self._file)  # in one step: a crash leaves the old one or the new one


def _empty() -> dict[str, Any]:
    return {"version": VERSION, "predictions": {}, "exercises": {}}


def _problem_of(content: object) -> str:
    """Why this cannot be the content; empty if it can."""
    if not isinstance(content, dict) or not isinstance(content.get("version"), int):
        return "it is not a progress file"
    if content["version"] > VERSION:
        return f"a newer version of the course has written it (format {content['version']})"
    if not all(isinstance(content.get(kind), dict) for kind in ("predictions", "exercises")):
        return "it is not a progress file"
    return ""


def _free_name(file: Path) -> Path:
    names = (file.with_name(f"{file.stem}-{number}.json") for number in range(1, 10_000))
    return next(name for name in names if not name.exists())
