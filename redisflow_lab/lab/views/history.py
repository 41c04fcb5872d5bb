"""Plots of lag and pending entries over time, in entries and in seconds."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence

from redisflow_lab._internal.printable import printable
from redisflow_lab.inspection.state import NO_GROUP, Group, Owned, State, order
from redisflow_lab.lab.recording.moment import Moment, deleted_since
from redisflow_lab.lab.recording.recording import Recording
from redisflow_lab.lab.views.layout import WIDTH
from redisflow_lab.lab.views.shapes import Frame, Path, Rect, Text

HEIGHT = 214.0
_LEFT, _RIGHT = 128.0, 870.0
_ENTRIES, _SECONDS = (46.0, 74.0), (146.0, 44.0)
"""Top and height of each panel, in px."""
_LABEL_ROWS = (24.0, 36.0)
"""The rows of the labels of marks, above the panels: the middle of each, in px."""
_MARKED = {"died": "✖", "started": "▶", "ended": "■", "down": "✖", "up": "▶"}
_LONGEST_NAME = 10

Line = list[tuple[float, float]]
"""x in px, and the value."""
Since = Callable[[Sequence[Moment], str], Iterator[float | None]]
"""For each moment, since when the oldest entry waits, as a group sees it."""


class History:
    """The plots of one group's lag and pending entries in a recording.

    top: upper edge in the picture, in px
    """

    def __init__(self, recording: Recording, group: str, top: float) -> None:
        self._recording, self._group, self._top = recording, group, top
        self._began = recording.moments[0].t_s
        self._ends = max(recording.moments[-1].t_s, self._began + 0.001)
        known = [moment.state for moment in recording.moments if moment.state is not None]
        groups = [state.groups[group] for state in known if group in state.groups]
        self._most = max([1, *(of.lag or 0 for of in groups), *(of.pending for of in groups)])
        self._waits = {
            "pending-line": self._seconds(pending_since),
            "lag": self._seconds(undelivered_since),
        }
        values = (value for of in self._waits.values() for line in of for _, value in line)
        self._longest = max([1.0, *values])
        self._still = self._draw()

    def frame(self, number: int) -> Frame:
        """The plots, with a line at the moment of this number."""
        x = self._x(self._recording.moments[number].t_s)
        top = self._top + _ENTRIES[0] - 4
        down = self._top + _SECONDS[0] + _SECONDS[1]
        return self._still | {"now": Path("now", ((x, top), (x, down)))}

    def _draw(self) -> Frame:
        frame: Frame = {}
        last = self._recording.moments[-1].t_s - self._began
        for name, (begins, height), most in (
            ("entries", _ENTRIES, self._most), ("seconds", _SECONDS, self._longest),
        ):  # fmt: skip
            top, down = self._top + begins, self._top + begins + height
            frame[f"{name} axis"] = Path("axis", ((_LEFT, top), (_LEFT, down), (_RIGHT, down)))
            frame[f"{name} name"] = Text("small", _LEFT - 40, top + height / 2, name, "end")
            frame[f"{name} 0"] = Text("small", _LEFT - 5, down, "0", "end")
            label = f"{most:,}" if isinstance(most, int) else f"{most:.3g}"
            frame[f"{name} most"] = Text("small", _LEFT - 5, top, label, "end")
        frame["time 0"] = Text("small", _LEFT, self._top + HEIGHT - 12, "0 s")
        ends = f"{last:.2f} s" if last < 10 else f"{last:.0f} s"
        frame["time end"] = Text("small", _RIGHT, self._top + HEIGHT - 12, ends, "end")
        frame |= self._legend()
        for style, what in (("pending-line", "pending"), ("lag", "lag")):
            for number, line in enumerate(self._counts(what)):
                points = tuple((x, self._y(value, _ENTRIES, self._most)) for x, value in line)
                frame[f"{what} {number}"] = Path(style, points)
        for style, lines in self._waits.items():
            for number, line in enumerate(lines):
                points = tuple(
                    (x, self._y(value, _SECONDS, self._longest)) for x, value in line
                )
                frame[f"{style} s {number}"] = Path(style, points)
        return frame | self._marks()

    def _legend(self) -> Frame:
        y = self._top + 8
        return {
            "lag swatch": Path("lag", ((_LEFT, y), (_LEFT + 26, y))),
            "lag name": Text("plain", _LEFT + 32, y, "lag: not yet delivered"),
            "pending swatch": Path("pending-line", ((_LEFT + 190, y), (_LEFT + 216, y))),
            "pending name": Text("plain", _LEFT + 222, y, "pending: not acknowledged"),
            "seconds told": Text(
                "plain", _LEFT + 6, self._top + _SECONDS[0] - 12,
                "seconds: how long the oldest has been waiting",
            ),
        }  # fmt: skip

    def _marks(self) -> Frame:
        """Marks for starts and ends of processes and the server, labelled if there is room."""
        lines: Frame = {}
        labels: Frame = {}
        free = [_LEFT for _ in _LABEL_ROWS]  # from here on, each row has room
        down = self._top + _ENTRIES[0] + _ENTRIES[1]
        told = [
            happening
            for happening in self._recording.happenings
            if happening.kind in _MARKED and happening.group in (self._group, "")
        ]
        for number, happening in enumerate(told):
            x, top = self._x(happening.t_s), self._top + _ENTRIES[0]
            text = f"{_MARKED[happening.kind]} {_short(happening.consumer or 'server')}"
            width = 10 + 6.0 * len(text)
            left = min(x, WIDTH - width)
            row = next((row for row, begins in enumerate(free) if left >= begins), None)
            if row is not None:
                free[row] = left + width
                y = self._top + _LABEL_ROWS[row]
                labels[f"mark plate {number}"] = Rect("plate", left, y - 6, width, 12)
                labels[f"mark name {number}"] = Text("small", left + 3, y, text)
                top = y + 6
            lines[f"mark {number}"] = Path("mark", ((x, top), (x, down)))
        return lines | labels

    def _counts(self, what: str) -> Iterator[Line]:
        """Step lines, interrupted where the value is not known."""
        line: Line = []
        for moment in self._recording.moments:
            group = moment.state.groups.get(self._group) if moment.state is not None else None
            value = getattr(group, what) if group is not None else None
            x = self._x(moment.t_s)
            if line:
                line.append((x, line[-1][1]))
            if value is None:
                if line:
                    yield line
                line = []
            else:
                line.append((x, float(value)))
        if line:
            yield line

    def _seconds(self, find: Since) -> list[Line]:
        """How long the oldest of these entries has waited; no line where nothing is known."""
        moments = self._recording.moments
        lines: list[Line] = [[]]
        ends = [*(moment.t_s for moment in moments[1:]), moments[-1].t_s]
        for began, moment, end in zip(find(moments, self._group), moments, ends, strict=True):
            if moment.state is None:
                lines.append([])
                continue
            lines[-1] += [
                (self._x(t_s), 0.0 if began is None else t_s - began)
                for t_s in (moment.t_s, end)
            ]
        return [line for line in lines if line]

    def _x(self, t_s: float) -> float:
        part = (t_s - self._began) / (self._ends - self._began)
        return round(_LEFT + (_RIGHT - _LEFT) * min(max(part, 0.0), 1.0), 1)

    def _y(self, value: float, panel: tuple[float, float], most: float) -> float:
        begins, height = panel
        return round(self._top + begins + height * (1 - value / most), 1)


def _short(name: str) -> str:
    return printable(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…")


def pending_since(moments: Sequence[Moment], name: str) -> Iterator[float | None]:
    """For each moment, since when the oldest pending entry is pending; None if none is."""
    since: dict[str, float] = {}
    before: dict[str, Owned] = {}
    for moment, began_anew in zip(moments, deleted_since(moments), strict=True):
        known = moment.state is not None or began_anew  # what is pending stays so in an outage
        owned = _group_of(moment, name).owned if known else before
        if owned is not before:
            since = {entry_id: since.get(entry_id, moment.t_s) for entry_id in owned}
            before = owned
        yield min(since.values(), default=None)


def undelivered_since(moments: Sequence[Moment], name: str) -> Iterator[float | None]:
    """For each moment, since when the oldest undelivered entry waits; None if none does."""
    ids: list[str] = []
    since: dict[str, float] = {}
    for moment, began_anew in zip(moments, deleted_since(moments), strict=True):
        ids = [] if began_anew else ids
        for entry_id in moment.state.entries if moment.state is not None else ():
            if not ids or order(entry_id) > order(ids[-1]):
                ids.append(entry_id)
                since[entry_id] = moment.t_s
        oldest = _oldest_undelivered(ids, moment.state, _group_of(moment, name))
        yield None if oldest is None else since[oldest]


def _oldest_undelivered(ids: Sequence[str], state: State | None, group: Group) -> str | None:
    """The first of these ids that is in the stream and has not been delivered to the group."""
    if state is None or not state.entries or group.lag == 0:
        return None
    listed, since = {*state.entries}, order(state.entries[0])
    first = max(
        bisect_right(ids, order(group.read), key=order),
        bisect_left(ids, order(state.first), key=order),
    )
    return next(
        (
            ids[number]
            for number in range(first, len(ids))
            if ids[number] in listed or order(ids[number]) < since
        ),
        None,
    )


def _group_of(moment: Moment, name: str) -> Group:
    return moment.state.groups.get(name, NO_GROUP) if moment.state is not None else NO_GROUP
