"""Plots of what happened: lag and pending entries over time, and the delivery timeline.

Each function returns a `Picture`, which has an alt text. No meaning is carried by colour
alone: lines differ in their dashes, crashes are crosses, and everything has a label.
"""

import base64
import io
from collections.abc import Sequence
from html import escape
from itertools import cycle
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from redisflow_lab._internal.printable import printable

# The palette of Okabe and Ito, distinct under each common form of colour blindness.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#555555"
_MARKS = {
    "handled": "● handler returned",
    "failed": "■ handler failed",
    "dead-lettered": "▼ dead letter",
    "died": "✖ process died",
}
_LABEL = 40
"""How many characters of a name a plot has room for. The alt text has more."""
_LINES = [(BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (RED, ":")]


class Picture:
    """A figure as PNG, and its alt text, which is also its plain-text form in a notebook."""

    def __init__(self, figure: Figure, alt: str) -> None:
        self.alt = alt
        for text in figure.findobj(Text):
            text.set_parse_math(False)  # a name may contain $
        canvas = FigureCanvasAgg(figure)
        png = io.BytesIO()
        canvas.print_png(png)
        self.png = png.getvalue()

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        data = {"text/plain": self.alt, "image/png": base64.b64encode(self.png).decode()}
        return data, {"image/png": {"alt": self.alt}}

    def to_html(self) -> str:
        """An <img> element that contains the PNG and the alt text."""
        png = base64.b64encode(self.png).decode()
        return f'<img alt="{escape(self.alt)}" src="data:image/png;base64,{png}">'


def lag_plot(
    samples: pd.DataFrame,
    marks: list[tuple[float, str]],
    stream: str,
    *,
    gaps: Sequence[float] = (),
) -> Picture:
    """Lag and pending entries over time, one line per group.

    samples: columns t_s (seconds), group, lag, pending, as in `Watch.samples`
    marks:   moments to label, each (t_s, text)
    gaps:    moments (t_s) at which nothing could be measured: the lines are interrupted
    """
    figure = Figure(figsize=(8, 4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    names, sentences = [], []
    for (group, rows), (colour, dashes) in zip(
        samples.groupby("group", sort=True), cycle(_LINES), strict=False
    ):
        names.append(str(group))
        for axes, what in ((upper, "lag"), (lower, "pending")):
            known = pd.Series(
                rows[what].astype("Float64").to_numpy(float, na_value=float("nan")),
                index=rows["t_s"],
            )
            nothing = pd.Series(float("nan"), index=list(gaps), dtype=float)
            drawn = pd.concat([known, nothing]).sort_index(kind="stable") if gaps else known
            axes.step(
                drawn.index, drawn, where="post", color=colour, linestyle=dashes, linewidth=2
            )
        sentences.append(
            f"{printable(names[-1])}: lag up to {_number(rows['lag'].max())}, "
            f"in the end {_number(rows['lag'].iloc[-1])}; "
            f"pending in the end {rows['pending'].iloc[-1]}"
        )
    for axes, what in ((upper, "lag (entries)"), (lower, "pending (entries)")):
        axes.set_ylabel(what)
        axes.set_ylim(0, max(1.0, axes.get_ylim()[1]))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        for at, _ in marks:
            axes.axvline(at, color=GREY, linestyle=(0, (2, 2)), linewidth=1)
    for number, (at, text) in enumerate(marks):
        upper.annotate(
            printable(text, _LABEL), (at, 1.0),
            xycoords=("data", "axes fraction"), fontsize=8, color="black",
            xytext=(3, -2 - 11 * (number % 4)), textcoords="offset points", va="top", zorder=9,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )  # fmt: skip
    if names:
        legend = upper.legend(
            upper.get_lines()[: len(names)], map(str, range(len(names))),
            loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, title="group",
        )  # fmt: skip
        # Set afterwards: a legend leaves out a label that begins with an underscore.
        for label, name in zip(legend.get_texts(), names, strict=True):
            label.set_text(printable(name, _LABEL))
    lower.set_xlabel("seconds since the watch began")
    figure.suptitle(
        f"{printable(stream, _LABEL)}: not yet delivered, and delivered but not acknowledged",
        fontsize=10,
    )
    happened = "; ".join(printable(text) for _, text in marks)
    alt = f"Lag and pending of {printable(stream)}. " + ". ".join(sentences)
    return Picture(figure, alt + (f". Marked: {happened}." if marks else "."))


def timeline_plot(events: pd.DataFrame, deaths: list[tuple[str, float]]) -> Picture:
    """The delivery timeline: one lane per consumer, one bar per delivery of an entry.

    events: columns kind, entry_id, consumer, at (seconds), deliveries, as in `Worker.events`
    deaths: (consumer, at) for each process that was killed; `at` on the same clock

    A filled bar runs from delivery to acknowledgement (blue) or dead-lettering (grey, with a
    triangle); a hatched bar is a delivery that was not acknowledged. A dot marks where the
    handler returned, a square where it failed, a cross where the process was killed. An arrow
    leads from an unacknowledged delivery to the next delivery of the same entry.

    The axis counts events, one step each, because the interesting moments are microseconds
    apart.
    """
    events = events[events["kind"] != "claimed"]
    steps = _steps(events, deaths)
    over = max(steps.values(), default=0) + 1
    lanes = list(dict.fromkeys(events["consumer"]))
    entries = sorted(set(events["entry_id"]), key=_order)
    height = 0.8 / max(1, len(entries))
    figure = Figure(
        figsize=(8, 1.1 + 0.25 * len(lanes) * max(3, len(entries))), layout="constrained"
    )
    axes = figure.subplots()
    delivered = events[events["kind"] == "delivered"]
    deliveries: dict[str, list[float]] = {entry_id: [] for entry_id in entries}
    for entry_id, consumer, when in delivered[["entry_id", "consumer", "at"]].itertuples(
        index=False
    ):
        deliveries[entry_id].append(steps[consumer, when])
    unfinished: dict[str, tuple[float, float]] = {}
    sentences = []
    for key, rows in events.groupby(["consumer", "entry_id", "deliveries"], sort=False):
        consumer, entry_id, _ = map(str, key)
        number = entries.index(entry_id)
        # An id that the server generated is too long for a bar: show its position instead.
        label = entry_id if len(entry_id) <= 6 else f"#{number + 1}"
        y = lanes.index(consumer) + height * (number + 0.5) - 0.4
        at = {
            str(kind): steps[consumer, moment]
            for kind, moment in zip(rows["kind"], rows["at"], strict=True)
        }
        began = min(at.values())
        acked = "acked" in at
        dead_lettered = "dead-lettered" in at
        finished = acked or dead_lettered
        ends = [steps[who, when] for who, when in deaths if who == consumer]
        ends += deliveries[entry_id]
        until = (
            max(at.values())
            if finished
            else min([step for step in ends if step > began] or [over])
        )
        colour = BLUE if acked else GREY if dead_lettered else ORANGE
        axes.barh(
            y, until - began, left=began, height=height * 0.8,
            color=colour if finished else "white", edgecolor=colour,
            hatch=None if finished else "////", linewidth=1,
        )  # fmt: skip
        axes.text(
            began + 0.12, y, label, va="center", fontsize=8, zorder=5,
            color="white" if finished else "black",
            bbox=None
            if finished
            else {"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip
        for kind, mark in (("handled", "o"), ("failed", "s"), ("dead-lettered", "v")):
            if kind in at:
                axes.plot(
                    at[kind], y, mark, color="black", markersize=6, zorder=4,
                    markeredgecolor="white",
                )  # fmt: skip
        if unfinished.get(entry_id, (began, y)) != (began, y):
            axes.annotate(
                "", (began, y), unfinished[entry_id], zorder=3,
                arrowprops={"arrowstyle": "->", "color": GREY, "linestyle": "--"},
            )  # fmt: skip
        if not finished:
            unfinished[entry_id] = (until, y)
        done = "failed, " if "failed" in at else "handled, " if "handled" in at else ""
        state = (
            "acknowledged"
            if acked
            else "dead-lettered"
            if dead_lettered
            else "not acknowledged"
        )
        sentences.append(f"{label} by {printable(consumer)}: {done}{state}")
    for who, when in deaths:
        axes.plot(
            steps[who, when], lanes.index(who), "X", color=RED, markersize=14,
            markeredgecolor="white", zorder=6,
        )  # fmt: skip
        sentences.append(f"the process of {printable(who)} died")
    axes.set_yticks(range(len(lanes)), [printable(str(lane), _LABEL) for lane in lanes])
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.set_xlim(-0.3, over + 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("what happened, one step each")
    axes.spines[["top", "right"]].set_visible(False)
    seen = {*events["kind"]} | ({"died"} if deaths else set())
    marks = [mark for kind, mark in _MARKS.items() if kind in seen]
    axes.set_title(
        "blue: delivered to acknowledged   hatched: not acknowledged   " + "   ".join(marks),
        fontsize=8,
        loc="left",
    )
    return Picture(figure, "Delivery timeline. " + "; ".join(sentences) + ".")


def _number(value: object) -> str:
    return "unknown" if value is pd.NA else str(value)


def _steps(
    events: pd.DataFrame, deaths: list[tuple[str, float]]
) -> dict[tuple[str, float], float]:
    """The step of each moment, in order of time. Entries of one read share a step."""
    moments = [
        (at, str(consumer), "" if kind != "delivered" else "read")
        for at, consumer, kind in zip(
            events["at"], events["consumer"], events["kind"], strict=True
        )
    ] + [(at, consumer, "death") for consumer, at in deaths]
    steps: dict[tuple[str, float], float] = {}
    step = -1
    before = ("", "")
    for at, consumer, what in sorted(moments):
        if what != "read" or before != (consumer, what):
            step += 1
        before = (consumer, what)
        steps[consumer, at] = step
    return steps


def _order(entry_id: str) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split("-")))
