"""A live view of a stream, with buttons that act on it."""

import base64
from collections import deque
from dataclasses import replace
from importlib.util import find_spec
from threading import Event, Lock, Thread
from typing import Any

from IPython.display import DisplayHandle, display

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.recording.recorder import Recorder
from redisflow_lab.lab.views.browser import packed
from redisflow_lab.lab.views.history import HEIGHT, History
from redisflow_lab.lab.views.layout import WIDTH, Layout
from redisflow_lab.lab.views.picture import Picture
from redisflow_lab.lab.views.steering import NAMES, Steering
from redisflow_lab.lab.views.still import Panel, draw_still
from redisflow_lab.lab.views.story import Story

DRAW_S = 0.08
STILL_S = 0.5
"""Interval between the pictures that replace the widget where it is not available."""
_MOMENTS = 300
"""How many moments the plots show."""
_ROWS = len(NAMES)
_SENT = ["id", "row", "text", "call", "applies"]
"""What the browser is told of a button."""


class LiveView:
    """Draws a stream that is being recorded, until it is closed. Made by `Lab.live`."""

    def __init__(self, recorder: Recorder, group: str, steering: Steering) -> None:
        self._recorder, self._group, self._steering = recorder, group, steering
        self._over = Event()
        self._rows = _ROWS
        self._widget: Any = None
        if find_spec("anywidget") is not None:
            from redisflow_lab.lab.views.live_widget import LiveWidget

            self._widget = LiveWidget()
            self._widget.on_msg(self._pressed)
        self._handle: DisplayHandle | None = None
        self.drawn = 0
        self._drawing = Lock()  # pressing a button draws, too
        self._draw()
        self._thread = Thread(target=self._keep_drawing, daemon=True)

    def __repr__(self) -> str:
        return self.picture.alt

    @property
    def picture(self) -> Picture:
        """The view as a picture, at this moment."""
        layout = self._layout()
        now = len(layout.story.recording.moments) - 1
        name, group = layout.story.recording.stream, printable(self._group, 40)
        alt = f"Stream {name}, as the group {group} sees it: {layout.story.words(now)}"
        frame = layout.frame(now, since=_before_the_last_change(layout.story))
        panel = Panel(layout.story.caption(now - 1), frame, layout.height)
        return draw_still([panel], WIDTH, alt)

    def close(self) -> None:
        """Stop drawing; the last picture stays."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _ipython_display_(self) -> None:
        picture = self.picture
        if self._widget is None:
            self._handle = display(picture, display_id=True)
        else:
            shown: Any = self._widget._repr_mimebundle_()
            data = dict(shown[0] if isinstance(shown, tuple) else shown)
            # Where the widget cannot be shown: GitHub, print, a notebook without a kernel.
            data["text/plain"] = picture.alt
            data["image/png"] = base64.b64encode(picture.png).decode()
            display(data, metadata={"image/png": {"alt": picture.alt}}, raw=True)
        if self._thread.ident is None:  # it may be shown twice
            self._thread.start()

    def _layout(self) -> Layout:
        """The layout of the last moments that were kept, with the newest sample last."""
        recording = self._recorder.recording
        kept = [*deque(recording.moments, maxlen=_MOMENTS)]
        moments = [*([kept[0]] * (2 - len(kept))), *kept, self._recorder.newest]
        layout = Layout(replace(recording, moments=moments), self._group, rows=self._rows)
        self._rows = max(self._rows, layout.rows)  # a picture that shrinks makes a page jump
        return layout

    def _draw(self) -> None:
        with self._drawing:
            self.drawn += 1
            if self._widget is not None:
                self._send()

    def _send(self) -> None:
        layout = self._layout()
        now = len(layout.story.recording.moments) - 1
        history = History(layout.story.recording, self._group, layout.height)
        since = _before_the_last_change(layout.story)  # so that it stays visible
        frame = layout.frame(now, since=since) | history.frame(now)
        with self._widget.hold_sync():
            self._widget.frame = packed(frame)
            self._widget.height = layout.height + HEIGHT
            self._widget.caption = layout.story.caption(now - 1)
            self._widget.words = layout.story.words(now)
            self._widget.told = [*map(layout.story.labelled, self._steering.told)]
            self._widget.buttons = [
                {name: getattr(button, name) for name in _SENT}
                for button in self._steering.buttons()
            ]

    def _keep_drawing(self) -> None:
        try:
            while not self._over.wait(STILL_S if self._widget is None else DRAW_S):
                if self._handle is not None:
                    self._handle.update(self.picture)
                self._draw()
        except ReferenceError:  # the lab was garbage-collected without being closed
            self._recorder.close()

    def _pressed(self, _: object, content: dict[str, Any], __: object) -> None:
        if not self._over.is_set():
            self._steering.press(str(content.get("press")))
            self._draw()


def _before_the_last_change(story: Story) -> int:
    """The newest moment with another state than now.

    It is not always the last one that was kept: a moment is kept, too, for a command whose
    change was seen before its reply, or that changed nothing.
    """
    states = [None if seen is None else seen.state for seen in story.seen]
    return next(
        (number for number in reversed(range(len(states) - 1)) if states[number] != states[-1]),
        len(states) - 2,
    )
