"""A replay: one HTML page that plays a recording step by step, without a network."""

import json
from html import escape
from pathlib import Path as File
from string import Template
from typing import Any

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.recording.recording import Recording
from redisflow_lab.lab.views.browser import HATCH, pack, read, styles
from redisflow_lab.lab.views.history import HEIGHT, History
from redisflow_lab.lab.views.layout import WIDTH, Layout
from redisflow_lab.lab.views.proof import prove
from redisflow_lab.lab.views.shapes import Frame

MAX_STEPS = 1_000
"""The most steps of a replay. Of a longer recording, evenly spaced moments are shown."""


class Replay:
    """A recording as an HTML page.

    recording: of at least one moment
    group:     whose view of the stream is drawn
    """

    def __init__(self, recording: Recording, group: str) -> None:
        self._recording, self._group = recording, group
        self._layout = Layout(recording, group)
        self._history = History(recording, group, self._layout.height)
        self.height = self._layout.height + HEIGHT

    @property
    def html(self) -> str:
        """The page."""
        stream, group = printable(self._recording.stream, 40), printable(self._group, 40)
        script = read("picture.js").replace("export class", "class")
        script += read("replay.js").replace('import { Picture } from "./picture.js";\n', "")
        data = {"steps": self._steps()}
        return Template(read("replay.html")).substitute(
            title=escape(f"{stream}: what happened"),
            label=escape(f"The stream {stream} as the group {group} sees it; described above"),
            css=read("replay.css") + styles("svg"),
            hatch=HATCH,
            width=WIDTH,
            height=self.height,
            notice=f'<p id="notice">{escape(said)}</p>' if (said := self._notice()) else "",
            # Escaped, so that no string can end the <script> element or begin a comment.
            data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
            script=script,
        )

    def save(self, path: str | File) -> None:
        """Write the page to a file."""
        File(path).write_text(self.html, encoding="utf-8")

    def _notice(self) -> str:
        moments, steps = len(self._recording.moments), len(self._chosen())
        said = ""
        if steps < moments:
            said = f"{moments:,} moments, shown in {steps:,} steps."
        if left_out := self._recording.left_out:
            said += f" The {left_out:,} moments before these were not kept."
        return said.strip()

    def _chosen(self) -> list[int]:
        """The numbers of the moments that are shown: evenly spaced, first and last included."""
        moments = len(self._recording.moments)
        steps = min(moments, MAX_STEPS)
        if steps == 1:
            return [0]
        return [number * (moments - 1) // (steps - 1) for number in range(steps)]

    def _steps(self) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = []
        before: Frame = {}
        earlier = None
        for number in self._chosen():
            moment = self._recording.moments[number]
            frame = self._layout.frame(number, since=earlier) | self._history.frame(number)
            steps.append(
                {
                    "t": round(moment.t_s - self._recording.moments[0].t_s, 3),
                    "caption": self._layout.story.caption(number, since=earlier),
                    "set": {
                        name: pack(shape)
                        for name, shape in frame.items()
                        if before.get(name) != shape
                    },
                    "drop": [name for name in before if name not in frame],
                    "proof": prove(self._recording.stream, self._group, moment),
                }
            )
            before, earlier = frame, number
        return steps


def frame_element(page: str, height: float) -> str:
    """An <iframe> for a notebook, so that the page's styles and scripts stay inside it."""
    return (
        f'<iframe title="Replay" width="100%" height="{height:.0f}" style="border:0" '
        f'srcdoc="{escape(page)}"></iframe>'
    )
