"""The output of a recording in a notebook: a page that plays it, and a still picture."""

from functools import cached_property
from pathlib import Path

from IPython.display import display

from redisflow_lab.lab.recording.recording import Recording
from redisflow_lab.lab.views.picture import Picture
from redisflow_lab.lab.views.replay import Replay, frame_element
from redisflow_lab.lab.views.storyboard import storyboard

_CONTROLS = 360.0
"""Height of everything above and below the picture of a replay, in px."""


class ReplayOutput:
    """The output of `Lab.replay`: a page, and a picture for GitHub and print."""

    def __init__(self, recording: Recording, group: str) -> None:
        self._replay = Replay(recording, group)
        self._recording, self._group = recording, group

    def __repr__(self) -> str:
        return self.picture.alt

    @cached_property
    def picture(self) -> Picture:
        """The key moments, one below the other."""
        return storyboard(self._recording, self._group)

    def save(self, path: str | Path) -> None:
        """Write the page to a self-contained HTML file."""
        self._replay.save(path)

    def _ipython_display_(self) -> None:
        page = frame_element(self._replay.html, self._replay.height + _CONTROLS)
        display({"text/html": page}, raw=True)  # no text: the picture has one
        display(self.picture)
