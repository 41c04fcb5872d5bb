"""A learner's predictions, exercises and stages, kept in one small file."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redisflow_lab.lab.waiting import wait_until

VERSION = 1
FILE = "progress.json"
KINDS = ("predictions", "exercises", "stages")


class Progress:
    """Predictions, exercises and stages of one learner, by name.

    Kept in `progress.json`, in the folder that REDISFLOW_WORK names, or else in the folder of
    the notebook if the file exists there. Without either, as in a test run, they are kept in
    memory until the kernel ends. Several notebooks may write at the same time.
    """

    def __init__(self, folder: Path | None) -> None:
        # The target of a link, such as a synchronised folder, so that the link is not replaced.
        self._file = None if folder is None else (folder / FILE).resolve()
        self._kept: dict[str, Any] = _empty()

    @classmethod
    def here(cls) -> "Progress":
        """The progress for notebooks in the current folder."""
        if named := os.environ.get("REDISFLOW_WORK"):
            return cls(Path(named))
        return cls(Path.cwd() if Path(FILE).exists() else None)

    def begin(self) -> None:
        """Write the file if it does not exist."""
        self._change(lambda _: None)

    def read(self, kind: str, name: str) -> dict[str, Any]:
        """The values of one prediction, exercise or stage; empty if there are none.

        kind: "predictions", "exercises" or "stages"
        """
        return self.read_all(kind).get(name, {})

    def read_all(self, kind: str) -> dict[str, dict[str, Any]]:
        """The values of all predictions, exercises or stages, by name."""
        found: dict[str, dict[str, Any]] = self._content()[kind]
        return {name: dict(known) for name, known in found.items()}

    def write(self, kind: str, name: str, **values: Any) -> None:
        """Add values to those of one prediction, exercise or stage."""
        self._change(lambda content: content[kind].setdefault(name, {}).update(values))

    def _content(self) -> dict[str, Any]:
        if self._file is not None:
            try:
                with _locked(self._file):
                    return _load(self._file)
            except OSError as error:
                self._give_up(error)
        return self._kept

    def _change(self, change: Callable[[dict[str, Any]], object]) -> None:
        if self._file is not None:
            try:
                with _locked(self._file):
                    content = _load(self._file)
                    change(content)
                    _store(content, self._file)
                return
            except OSError as error:
                self._give_up(error)
        change(self._kept)

    def _give_up(self, error: OSError) -> None:
        """Continue in memory: a full disk must not keep a verdict from the learner."""
        print(f"Your progress cannot be kept: {error}. It lasts as long as this kernel.")
        self._file = None


def read_file(file: Path) -> dict[str, Any]:
    """The content of a progress file: predictions, exercises and stages, each by name.

    Raises ValueError with the reason if it is not one, and OSError if it cannot be opened.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # neither text nor JSON
        raise ValueError(f"it cannot be read ({error})") from None
    if problem := _problem_of(content):
        raise ValueError(problem)
    return dict(content)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Keep other processes from changing the file. Raises TimeoutError after 5 s."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{FILE}.lock").open("w") as lock:
        wait_until(lambda: _lock(lock.fileno()), f"another kernel unlocks {file}", timeout_s=5)
        yield


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _load(file: Path) -> dict[str, Any]:
    if not file.exists():
        return _empty()
    try:
        return read_file(file)
    except ValueError as error:
        aside = _free_name(file)
        file.replace(aside)
        print(f"{file} was put aside as {aside.name}: {error}. A new one was begun.")
        return _empty()


def _store(content: dict[str, Any], file: Path) -> None:
    new = file.with_name(f".{FILE}.new")
    new.write_text(json.dumps(content, indent=1), encoding="utf-8")
    new.replace(file)  # atomically: a crash leaves the old file or the new one


def _empty() -> dict[str, Any]:
    return {"version": VERSION, **{kind: {} for kind in KINDS}}


def _problem_of(content: object) -> str:
    """Why this is not the content of a progress file; empty if it is."""
    if not isinstance(content, dict) or not isinstance(content.get("version"), int):
        return "it is not a progress file"
    if content["version"] > VERSION:
        return f"a newer version of the course has written it (format {content['version']})"
    entries = [content.get(kind) for kind in KINDS]
    if not all(isinstance(one, dict) and _all_dicts(one) for one in entries):
        return "it is not a progress file"
    return ""


def _all_dicts(entries: dict[str, object]) -> bool:
    return all(isinstance(known, dict) for known in entries.values())


def _free_name(file: Path) -> Path:
    names = (file.with_name(f"{file.stem}-{number}.json") for number in range(1, 10_000))
    return next(name for name in names if not name.exists())
