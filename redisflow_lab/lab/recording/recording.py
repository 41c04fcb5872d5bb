"""A recording: the states of a stream over time, and what happened between them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import pandas as pd

from redisflow_lab.lab.recording.file import from_plain, to_plain
from redisflow_lab.lab.recording.moment import Happening, Moment

FORMAT, VERSION = "redisflow-lab recording", 1


class RecordingError(ValueError):
    """A file is not a recording, is damaged, or has another version."""


@dataclass(frozen=True)
class Recording:
    """The states of a stream over time. Made by `Lab.record`, or by `load` from a file.

    stream:     its name, without a prefix
    moments:    in order of time; each differs from the one before, or something happened
                between the two
    happenings: in order of time
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
        """Write the recording to a JSON file.

        A moment is stored as its changes since the one before; idle times are accurate to 5 ms.
        """
        content = {
            "format": FORMAT,
            "version": VERSION,
            "stream": self.stream,
            "left_out": self.left_out,
            "happenings": [asdict(happening) for happening in self.happenings],
            "moments": [*to_plain(self.moments)],
        }
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        Path(path).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a recording that `save` wrote.

        Raises RecordingError if the file is not a recording, is damaged, or has another
        version.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise RecordingError(
                f"{path} is no complete recording: {error}. If it was cut off, copy it again"
            ) from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise RecordingError(f"{path} is JSON, but no recording of RedisFlow Lab")
        if (version := content.get("version")) != VERSION:
            raise RecordingError(
                f"{path} is a recording of version {version}; this is RedisFlow Lab "
                f"with version {VERSION}. Open it with the release that wrote it"
            )
        try:
            return cls(
                content["stream"],
                [*from_plain(content["moments"])],
                [Happening(**happening) for happening in content["happenings"]],
                content["left_out"],
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise RecordingError(f"{path} is a damaged recording: {error!r}") from None
