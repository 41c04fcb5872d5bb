"""A recording: states of a stream in the order of time, and what happened between them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from redisflow_lab.lab.inspection.state import Consumer, Group, Owned, State

FORMAT, VERSION = "redisflow-lab recording", 1


class RecordingError(ValueError):
    """A file is no recording, or one of another version."""


@dataclass(frozen=True, slots=True)
class Happening:
    """A command of the notebook, or something that happened to a consumer.

    t_s:      seconds since the recording began
    kind:     an `events.Kind`, or "command", "started", "ended", "died"
    text:     in words
    group:    whose consumer it was; empty if it was none
    consumer: its name
    entry_id: of the entry, for an `events.Kind`
    """

    t_s: float
    kind: str
    text: str
    group: str = ""
    consumer: str = ""
    entry_id: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """What the server answered at a moment.

    t_s:     seconds since the recording began
    state:   None if it could not be read
    trouble: why not, in words
    """

    t_s: float
    state: State | None
    trouble: str = ""


@dataclass(frozen=True)
class Recording:
    """What a stream went through. Made by `Lab.record`, or by `load` from a file.

    stream:     its name, without a prefix
    moments:    in the order of time; each differs from the one before, or something happened
                between the two
    happenings: in the order of time
    left_out:   how many older moments were not kept
    """

    stream: str
    moments: Sequence[Moment]
    happenings: Sequence[Happening]
    left_out: int = 0

    @property
    def events(self) -> pd.DataFrame:
        """One row for each happening: t_s, kind, group, consumer, entry_id, text."""
        columns = ["t_s", "kind", "group", "consumer", "entry_id", "text"]
        rows = [[getattr(happening, name) for name in columns] for happening in self.happenings]
        return pd.DataFrame(rows, columns=columns)

    @property
    def samples(self) -> pd.DataFrame:
        """One row for each moment and group: t_s, group, length, lag, pending, dead_letters.

        lag is NA where the server does not know it. No rows while the server was down.
        """
        columns = ["t_s", "group", "length", "lag", "pending", "dead_letters"]
        rows = [
            [moment.t_s, name, state.length, group.lag, group.pending, state.dead]
            for moment in self.moments
            if (state := moment.state) is not None
            for name, group in state.groups.items()
        ]
        return pd.DataFrame(rows, columns=columns).astype({"lag": "Int64"})

    def save(self, path: str | Path) -> None:
        """Write it to a JSON file. A field of a state is left out if it has not changed."""
        states: list[dict[str, Any] | None] = []
        before: dict[str, Any] = {}
        for moment in self.moments:
            if moment.state is None:
                states.append(None)
                continue
            state = asdict(moment.state)
            states.append(
                {name: value for name, value in state.items() if before.get(name) != value}
            )
            before = state
        content = {
            "format": FORMAT,
            "version": VERSION,
            "stream": self.stream,
            "left_out": self.left_out,
            "happenings": [asdict(happening) for happening in self.happenings],
            "moments": [
                {"t_s": moment.t_s, "state": state, "trouble": moment.trouble}
                for moment, state in zip(self.moments, states, strict=True)
            ],
        }
        Path(path).write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that `save` has written.

        Raises RecordingError if it is none, is not complete, or has another version.
        """
        try:
            content = json.loads(Path(path).read_text())
        except ValueError as error:
            raise RecordingError(
                f"{path} is no complete recording: {error}. Was it cut off when it was copied?"
            ) from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise RecordingError(f"{path} is JSON, and no recording of RedisFlow Lab")
        if content["version"] != VERSION:
            raise RecordingError(
                f"{path} is a recording of version {content['version']}; this is RedisFlow Lab "
                f"with version {VERSION}. Open it with the release that wrote it"
            )
        try:
            return cls(
                content["stream"],
                _moments(content["moments"]),
                [Happening(**happening) for happening in content["happenings"]],
                content["left_out"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise RecordingError(f"{path} is a damaged recording: {error!r}") from None


def _moments(stored: list[dict[str, Any]]) -> list[Moment]:
    moments = []
    before: dict[str, Any] = {}
    for moment in stored:
        state = None
        if moment["state"] is not None:
            before = {**before, **moment["state"]}
            state = _state(**before)
        moments.append(Moment(moment["t_s"], state, moment["trouble"]))
    return moments


def _state(
    *, entries: list[str], letters: list[str], groups: dict[str, dict[str, Any]], **rest: Any
) -> State:
    return State(
        entries=tuple(entries),
        letters=tuple(letters),
        groups={name: _group(**group) for name, group in groups.items()},
        **rest,
    )


def _group(
    *, owned: dict[str, dict[str, Any]], consumers: dict[str, dict[str, Any]], **rest: Any
) -> Group:
    return Group(
        owned={entry_id: Owned(**entry) for entry_id, entry in owned.items()},
        consumers={name: Consumer(**consumer) for name, consumer in consumers.items()},
        **rest,
    )
