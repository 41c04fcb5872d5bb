"""The layout of the picture of a stream, the same for matplotlib and the browser.

From the top: the group's cursor, the entries from left to right, one row for each consumer with
the entries it owns, and the dead letters. The layout of a recording never moves: it has room
for every consumer from the start.
"""

from redisflow_lab._internal.printable import printable
from redisflow_lab.inspection.state import Owned, State, order
from redisflow_lab.lab.recording.recording import Recording
from redisflow_lab.lab.views.shapes import Frame, Path, Rect, Text
from redisflow_lab.lab.views.story import Seen, Story

WIDTH = 900
MAX_ROWS = 7
"""How many consumers have a row; the others share one line of text."""
_LEFT, _CELL, _ROW = 128.0, 46.0, 38.0
_TOP = 46.0


_LOOKS = {
    "acked": "filled: acknowledged",
    "pending": "hatched: pending",
    "waiting": "empty: not delivered yet",
    "gone": "dotted: no longer in the stream",
}


class Layout:
    """The layout of a recording, as one of the groups sees the stream.

    recording: of at least one moment
    group:     whose view is drawn
    rows:      keep room for at least this many consumers
    """

    def __init__(self, recording: Recording, group: str, *, rows: int = 1) -> None:
        self.story = Story(recording, group)
        self._consumers = self.story.consumers[:MAX_ROWS]
        self._others = self.story.consumers[MAX_ROWS:]
        self.rows = max(rows, len(self._consumers) + bool(self._others))
        self._below = _TOP + 40 + 14 + _ROW * self.rows
        self.height = self._below + (46 if self.story.has_letters else 0) + 10

    def frame(self, number: int, *, since: int | None = None) -> Frame:
        """The shapes at a moment.

        number: of the moment, from 0
        since:  an earlier moment; arcs show which entries changed owner since. None for the
                one before
        """
        recording, seen = self.story.recording, self.story.seen[number]
        frame: Frame = {}
        name = printable(recording.stream, 16)
        frame["stream"] = Text("name", _LEFT - 8, _TOP + 20, f"stream {name}", "end")
        if seen is None:
            text = self.story.trouble(number)
            frame["trouble"] = Text("title", _LEFT, _TOP + 20, text)
            return frame
        frame |= self._entries(seen)
        if self.story.group in seen.state.groups:
            frame |= self._cursor(seen)
        frame |= self._owners(seen)
        frame |= self._arcs(seen, number - 1 if since is None else since)
        frame |= self._shelf(seen.state)
        return frame

    def legend(self, number: int) -> str:
        """What the styles of the entries at a moment mean, in words."""
        frame = self.frame(number)
        styles = {shape.style for name, shape in frame.items() if name.startswith("entry ")}
        return "   ".join(said for style, said in _LOOKS.items() if style in styles)

    def _x(self, column: int) -> float:
        return _LEFT + column * _CELL

    def _entries(self, seen: Seen) -> Frame:
        frame: Frame = {}
        if seen.others:
            frame["older"] = Text(
                "small", _LEFT - 8, _TOP + 36, f"{seen.others:,} others", "end"
            )
        for column, entry_id in enumerate(seen.shown):
            x = self._x(column)
            pending = entry_id in seen.group.owned
            done = not pending and order(entry_id) <= order(seen.group.read)
            gone = entry_id in seen.gone
            style = "gone" if gone else "pending" if pending else "acked" if done else "waiting"
            frame[f"entry {entry_id}"] = Rect(style, x + 2, _TOP, _CELL - 4, 40)
            label = self.story.label(entry_id)
            if pending and not gone:
                frame[f"plate {entry_id}"] = _plate(x + _CELL / 2, _TOP + 20, label)
            frame[f"id {entry_id}"] = Text(
                "on-acked" if style == "acked" else "plain",
                x + _CELL / 2, _TOP + 20, label, "middle",
            )  # fmt: skip
        return frame

    def _cursor(self, seen: Seen) -> Frame:
        """A mark after the last entry that was delivered to the group."""
        read, lag = order(seen.group.read), seen.group.lag
        column = sum(order(entry_id) <= read for entry_id in seen.shown)
        x, right = self._x(column), column > 8
        text = f"{printable(self.story.group, 24)} has read up to here"
        if lag != 0:
            text += f", lag {'unknown' if lag is None else lag}"
        head = ((x - 5, _TOP - 18), (x + 5, _TOP - 18), (x, _TOP - 9), (x - 5, _TOP - 18))
        at, anchor = (x - 9, "end") if right else (x + 9, "start")
        return {
            "cursor": Path("cursor", ((x, _TOP - 12), (x, _TOP + 44))),
            "cursor head": Path("cursor", head),
            "cursor text": Text("plain", at, _TOP - 17, text, anchor),
        }

    def _row(self, name: str) -> float:
        """The upper edge of the row of a consumer."""
        row = self._consumers.index(name) if name in self._consumers else MAX_ROWS
        return _TOP + 54 + _ROW * row

    def _owners(self, seen: Seen) -> Frame:
        frame: Frame = {}
        group = seen.group
        for name in self._consumers:
            consumer, y = group.consumers.get(name), self._row(name)
            if consumer is None:
                continue
            frame[f"row {name}"] = Path("rule", ((_LEFT, y + _ROW), (WIDTH - 4, y + _ROW)))
            frame[f"name {name}"] = Text("name", _LEFT - 8, y + 13, printable(name, 14), "end")
            if name in seen.killed:
                frame[f"state {name}"] = Text("dead", _LEFT - 8, y + 27, "killed", "end")
                for number, (x, to) in enumerate([(8.0, 26.0), (26.0, 8.0)]):
                    frame[f"cross {number} {name}"] = Path("cross", ((x, y + 6), (to, y + 26)))
            else:
                text = f"idle {_span(consumer.idle_ms)}"
                frame[f"state {name}"] = Text("small", _LEFT - 8, y + 27, text, "end")
        for column, entry_id in enumerate(seen.shown):
            owned = group.owned.get(entry_id)
            if owned is not None and owned.consumer in self._consumers:
                frame |= self._owned(
                    entry_id, owned, self._x(column), self._row(owned.consumer)
                )
        if others := [name for name in self._others if name in group.consumers]:
            pending = sum(group.consumers[name].pending for name in others)
            text = f"and {len(others)} other consumers, {pending} pending with them"
            frame["others"] = Text("plain", _LEFT, self._row("") + 18, text)
        if not group.consumers:
            frame["nobody"] = Text("small", _LEFT - 8, _TOP + 54 + 18, "no consumer", "end")
        return frame

    def _owned(self, entry_id: str, owned: Owned, x: float, y: float) -> Frame:
        middle = x + _CELL / 2
        return {
            f"owned {entry_id}": Rect("pending", x + 5, y + 4, _CELL - 10, _ROW - 8),
            f"owned plate {entry_id}": Rect("plate", x + 8, y + 7, _CELL - 16, _ROW - 14),
            f"deliveries {entry_id}": Text(
                "plain", middle, y + 13, f"{owned.deliveries} x", "middle"
            ),
            f"idle {entry_id}": Text(
                "small", middle, y + 25, _span(owned.idle_ms), "middle"
            ),
        }  # fmt: skip

    def _arcs(self, seen: Seen, since: int) -> Frame:
        """Arcs from the old owner to the new one, for entries that changed owner."""
        earlier = self.story.seen[since] if since >= 0 else None
        if earlier is None:
            return {}
        frame: Frame = {}
        for column, entry_id in enumerate(seen.shown):
            was = earlier.group.owned.get(entry_id)
            owned = seen.group.owned.get(entry_id)
            if was is None or owned is None or was.consumer == owned.consumer:
                continue
            if not {was.consumer, owned.consumer} <= {*self._consumers}:
                continue
            x = self._x(column) + _CELL - 8
            start, end = self._row(was.consumer) + 19, self._row(owned.consumer) + 19
            points = ((x, start), (x + 20, (start + end) / 2), (x + 3, end))
            frame[f"arc {entry_id}"] = Path("arc", points, curved=True)
            back = 5 if end < start else -5
            tip = (x + 3, end)
            head = (tip, (x + 11, end + back * 0.6), (x + 4, end + back * 2), tip)
            frame[f"arc head {entry_id}"] = Path("head", head)
        return frame

    def _shelf(self, state: State) -> Frame:
        if not self.story.has_letters:
            return {}
        y = self._below + 6
        frame: Frame = {
            "shelf": Path("rule", ((_LEFT, y + 34), (WIDTH - 4, y + 34))),
            "shelf name": Text("name", _LEFT - 8, y + 12, "dead letters", "end"),
            "shelf count": Text("small", _LEFT - 8, y + 26, f"{state.dead:,}", "end"),
        }
        for column, letter in enumerate(state.letters):
            x = self._x(column)
            frame[f"letter {column}"] = Rect("letter", x + 2, y + 2, _CELL - 4, 30)
            label = self.story.label(letter)
            frame[f"letter id {column}"] = Text("plain", x + _CELL / 2, y + 17, label, "middle")
        return frame


def _plate(x: float, y: float, label: str) -> Rect:
    """A white background for text on a hatch."""
    width = 8 + 6.2 * len(label)
    return Rect("plate", x - width / 2, y - 8, width, 16)


def _span(milliseconds: int) -> str:
    """A duration that fits into a cell."""
    seconds = milliseconds / 1_000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
