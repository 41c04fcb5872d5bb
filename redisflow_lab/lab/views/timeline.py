"""The delivery timeline: which consumer had which entry, and how each delivery ended."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from redisflow_lab._internal.printable import printable
from redisflow_lab.inspection.state import order
from redisflow_lab.lab.views.picture import Picture
from redisflow_lab.lab.views.shapes import Frame, Path, Rect, Text
from redisflow_lab.lab.views.still import Panel, draw_still

Deaths = Sequence[tuple[str, float]]
"""Each consumer that was killed, and when, on the clock of the events."""

Point = tuple[float, float]

_WIDTH, _LEFT, _RIGHT = 900, 128.0, 880.0
_TOP, _BAR, _GAP = 34.0, 20.0, 4.0
_MARKS = {"handled": ("●", "handler returned"), "failed": ("■", "handler failed")}
_ENDS = {
    "acked": ("acked", "acknowledged"),
    "dead-lettered": ("letter", "dead-lettered"),
    "": ("pending", "not acknowledged"),
}
"""How a delivery can end: the style of its bar, and in words."""


@dataclass(frozen=True)
class _Delivery:
    """An entry that was delivered to a consumer.

    at:  the step of each of its events, by kind
    end: "acked", "dead-lettered", or empty if it is neither
    """

    consumer: str
    entry_id: str
    at: dict[str, int]
    end: str

    @property
    def began(self) -> int:
        return min(self.at.values())


_NO_DELIVERY = ["claimed", "outage-began", "outage-ended"]
"""Kinds of events that no delivery has."""


def draw_timeline(events: pd.DataFrame, deaths: Deaths) -> Picture:
    """Draw one lane for each consumer, and in it one bar for each delivery of an entry.

    events: columns kind, entry_id, consumer, at (seconds), deliveries, as in `Worker.events`
    deaths: `at` on the same clock

    A filled bar runs from delivery to acknowledgement, a grey one to dead-lettering; a hatched
    one is a delivery that was not acknowledged. A dot marks where the handler returned, a
    square where it failed, a red line with a cross where the process was killed. An arrow leads
    to the next delivery of the same entry.

    The axis counts events, one step each, because the interesting moments are microseconds
    apart.
    """
    events = events[~events["kind"].isin(_NO_DELIVERY)]
    steps = _steps(events, deaths)
    killed = [(consumer, steps[consumer, at]) for consumer, at in deaths]
    deliveries = [*_deliveries(events, steps)]
    lanes = [*dict.fromkeys([*events["consumer"].map(str), *(who for who, _ in killed)])]
    timeline = _Timeline(deliveries, killed, lanes, max(steps.values(), default=0) + 1)
    return draw_still(
        [Panel("", timeline.frame(), timeline.height)], _WIDTH, timeline.in_words()
    )


class _Timeline:
    """The layout of a timeline.

    killed: each consumer that was killed, and at which step
    over:   the step after the last one
    """

    def __init__(
        self,
        deliveries: Sequence[_Delivery],
        killed: Sequence[tuple[str, int]],
        lanes: Sequence[str],
        over: int,
    ) -> None:
        self._deliveries, self._killed, self._lanes, self._over = (
            deliveries, killed, lanes, over,
        )  # fmt: skip
        self._entries = sorted({of.entry_id for of in deliveries}, key=order)
        self._lane = max(len(self._entries), 1) * (_BAR + _GAP) + 2 * _GAP
        self._down = _TOP + self._lane * len(lanes)
        self.height = self._down + 44

    def frame(self) -> Frame:
        frame = self._legend() | self._axis()
        for number, lane in enumerate(self._lanes):
            top = _TOP + self._lane * number
            frame[f"lane {lane}"] = Path("rule", ((_LEFT, top), (_RIGHT, top)))
            name = printable(lane, 14)
            frame[f"name {lane}"] = Text("name", _LEFT - 8, top + self._lane / 2, name, "end")
        for number, delivery in enumerate(self._deliveries):
            frame |= self._bar(number, delivery)
        for number, (consumer, step) in enumerate(self._killed):
            frame |= self._death(number, self._lanes.index(consumer), step)
        return frame | self._arrows()

    def in_words(self) -> str:
        sentences = []
        for delivery in self._deliveries:
            what = [word for word in ("failed", "handled") if word in delivery.at][:1]
            said = ", ".join([*what, _ENDS[delivery.end][1]])
            sentences.append(
                f"{self._label(delivery)} by {printable(delivery.consumer)}: {said}"
            )
        sentences += [f"the process of {printable(who)} died" for who, _ in self._killed]
        return f"Delivery timeline. {'; '.join(sentences)}."

    def _bar(self, number: int, delivery: _Delivery) -> Frame:
        style, _ = _ENDS[delivery.end]
        x, y = self._x(delivery.began), self._y(delivery)
        width = max(self._x(self._until(delivery)) - x, 3.0)
        label = self._label(delivery)
        frame: Frame = {f"bar {number}": Rect(style, x, y, width, _BAR)}
        if style == "pending":
            room = 7.0 * len(label) + 6
            frame[f"plate {number}"] = Rect("plate", x + 3, y + 3, room, _BAR - 6)
        middle = y + _BAR / 2
        text_style = "on-acked" if style == "acked" else "plain"
        frame[f"label {number}"] = Text(text_style, x + 6, middle, label)
        for kind, (mark, _) in _MARKS.items():
            if kind in delivery.at:
                at = self._x(delivery.at[kind])
                frame[f"{kind} plate {number}"] = Rect("plate", at - 6, y + 4, 12, _BAR - 8)
                frame[f"{kind} {number}"] = Text("plain", at, middle, mark, "middle")
        return frame

    def _death(self, number: int, lane: int, step: int) -> Frame:
        x, top = self._x(step), _TOP + self._lane * lane
        middle = top + self._lane / 2
        frame: Frame = {
            f"death {number}": Path("cursor", ((x, top + 3), (x, top + self._lane - 3)))
        }
        for stroke, (left, right) in enumerate([(x - 8, x + 8), (x + 8, x - 8)]):
            points = ((left, middle - 8), (right, middle + 8))
            frame[f"cross {stroke} {number}"] = Path("cross", points)
        return frame

    def _arrows(self) -> Frame:
        """From a delivery that was not acknowledged to the next one of the same entry."""
        frame: Frame = {}
        before: dict[str, _Delivery] = {}
        for number, delivery in enumerate(self._deliveries):
            if earlier := before.pop(delivery.entry_id, None):
                start = (self._x(self._until(earlier)), self._y(earlier) + _BAR / 2)
                end = (self._x(delivery.began), self._y(delivery) + _BAR / 2)
                if start == end:  # one bar follows the other
                    continue
                frame[f"arrow {number}"] = Path("arc", (start, end))
                frame[f"arrow head {number}"] = Path("head", _head(start, end))
            if not delivery.end:
                before[delivery.entry_id] = delivery
        return frame

    def _legend(self) -> Frame:
        """A swatch and a name for each style in this timeline."""
        seen = {kind for delivery in self._deliveries for kind in (*delivery.at, delivery.end)}
        frame: Frame = {}
        x, y = 8.0, 14.0
        for end, (style, said) in _ENDS.items():
            if end in seen:
                frame[f"swatch {style}"] = Rect(style, x, y - 7, 26, 14)
                frame[f"swatch name {style}"] = Text("plain", x + 32, y, said)
                x += 48 + 6.3 * len(said)
        marks = [mark for kind, mark in _MARKS.items() if kind in seen]
        for mark, said in marks + ([("✖", "process killed")] if self._killed else []):
            style = "dead" if mark == "✖" else "plain"
            frame[f"swatch {mark}"] = Text(style, x + 4, y, mark, "middle")
            frame[f"swatch name {mark}"] = Text("plain", x + 13, y, said)
            x += 29 + 6.3 * len(said)
        if self._arrows():
            frame["swatch arrow"] = Path("arc", ((x, y), (x + 22, y)))
            frame["swatch arrow head"] = Path("head", _head((x, y), (x + 24, y)))
            frame["swatch name arrow"] = Text("plain", x + 30, y, "delivered again")
        return frame

    def _axis(self) -> Frame:
        frame: Frame = {"axis": Path("axis", ((_LEFT, self._down), (_RIGHT, self._down)))}
        every = next(
            step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, self._over)
            if self._over / step <= 20
        )  # fmt: skip
        for step in range(0, self._over + 1, every):
            x = self._x(step)
            frame[f"tick {step}"] = Path("axis", ((x, self._down), (x, self._down + 4)))
            frame[f"step {step}"] = Text("small", x, self._down + 12, str(step), "middle")
        middle = (_LEFT + _RIGHT) / 2
        said = "what happened, one step each"
        frame["axis name"] = Text("small", middle, self._down + 30, said, "middle")
        return frame

    def _until(self, delivery: _Delivery) -> int:
        """The step to which the bar of a delivery is drawn."""
        if delivery.end:
            return max(delivery.at.values())
        ends = [step for who, step in self._killed if who == delivery.consumer]
        ends += [
            other.at["delivered"]
            for other in self._deliveries
            if other.entry_id == delivery.entry_id and "delivered" in other.at
        ]
        return min((step for step in ends if step > delivery.began), default=self._over)

    def _label(self, delivery: _Delivery) -> str:
        """The id of the entry if it fits into a bar; else its position."""
        entry_id = delivery.entry_id
        if len(entry_id) <= 6:
            return entry_id
        return f"#{self._entries.index(entry_id) + 1}"

    def _x(self, step: int) -> float:
        return round(_LEFT + 6 + (_RIGHT - _LEFT - 12) * step / self._over, 1)

    def _y(self, delivery: _Delivery) -> float:
        """The upper edge of the bar of a delivery."""
        lane = _TOP + self._lane * self._lanes.index(delivery.consumer)
        return lane + _GAP * 1.5 + (_BAR + _GAP) * self._entries.index(delivery.entry_id)


def _head(
    start: tuple[float, float], end: tuple[float, float]
) -> tuple[tuple[float, float], ...]:
    """A triangle at the end of a line."""
    (x, y), (from_x, from_y) = end, start
    length = max(((x - from_x) ** 2 + (y - from_y) ** 2) ** 0.5, 1.0)
    along, across = (x - from_x) / length, (y - from_y) / length
    back = (x - 9 * along, y - 9 * across)
    side = (5 * across, -5 * along)
    return (
        end,
        (back[0] + side[0], back[1] + side[1]),
        (back[0] - side[0], back[1] - side[1]),
        end,
    )


def _deliveries(
    events: pd.DataFrame, steps: dict[tuple[str, float], int]
) -> Iterator[_Delivery]:
    for key, rows in events.groupby(["consumer", "entry_id", "deliveries"], sort=False):
        consumer, entry_id, _ = map(str, key)
        at = {
            str(kind): steps[consumer, moment]
            for kind, moment in zip(rows["kind"], rows["at"], strict=True)
        }
        end = next((kind for kind in _ENDS if kind in at), "")
        yield _Delivery(consumer, entry_id, at, end)


def _steps(events: pd.DataFrame, deaths: Deaths) -> dict[tuple[str, float], int]:
    """The step of each event, in order of time. Entries of one read share a step."""
    moments = [
        (at, str(consumer), "" if kind != "delivered" else "read")
        for at, consumer, kind in zip(
            events["at"], events["consumer"], events["kind"], strict=True
        )
    ] + [(at, consumer, "death") for consumer, at in deaths]
    steps: dict[tuple[str, float], int] = {}
    step = -1
    before = ("", "")
    for at, consumer, what in sorted(moments):
        if what != "read" or before != (consumer, what):
            step += 1
        before = (consumer, what)
        steps[consumer, at] = step
    return steps
