"""Pictures of what happened: lag and pending over time, and the delivery timeline.

Each returns a `Picture`, which says in words what it shows. Colour never carries a meaning
alone: lines differ in dashes, deaths are crosses, and everything has a label.
"""

import base64
import io
from html import escape
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's palette, distinct under every common colour blindness.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#555555"
_LINES = [(BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (RED, ":")]


class Picture:
    """A figure and its alt text. The text is also its plain form, so it can be compared."""

    def __init__(self, figure: Figure, alt: str) -> None:
        self.alt = alt
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
        """An <img> with the picture inside."""
        png = base64.b64encode(self.png).decode()
        return f'<img alt="{escape(self.alt)}" src="data:image/png;base64,{png}">'


def lag_plot(samples: pd.DataFrame, marks: list[tuple[float, str]], stream: str) -> Picture:
    """Lag and pending over time, one line a group, with what happened written beside it.

    samples: columns t_s, group, lag, pending, as `Watch.samples`
    marks:   (t_s, text) each
    """
    figure = Figure(figsize=(8, 4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    said = []
    for (group, rows), (colour, dashes) in zip(
        samples.groupby("group", sort=True), _LINES * 9, strict=False
    ):
        for axes, what in ((upper, "lag"), (lower, "pending")):
            known = rows[what].astype("Float64").to_numpy(float, na_value=float("nan"))
            axes.step(
                rows["t_s"], known,
                where="post", color=colour, linestyle=dashes, label=str(group), linewidth=2,
            )  # fmt: skip
        said.append(
            f"{group}: lag up to {rows['lag'].max()}, in the end {rows['lag'].iloc[-1]}; "
            f"pending up to {rows['pending'].max()}, in the end {rows['pending'].iloc[-1]}"
        )
    for axes, what in ((upper, "lag (entries)"), (lower, "pending (entries)")):
        axes.set_ylabel(what)
        axes.set_ylim(bottom=0)
        axes.margins(y=0.15)
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        for at, _ in marks:
            axes.axvline(at, color=GREY, linestyle=(0, (2, 2)), linewidth=1)
    for number, (at, text) in enumerate(marks):
        upper.annotate(
            text, (at, 1.0), xycoords=("data", "axes fraction"), fontsize=8, color=GREY,
            xytext=(3, -2 - 10 * (number % 3)), textcoords="offset points", va="top",
        )  # fmt: skip
    if said:
        upper.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, title="group")
    lower.set_xlabel("seconds since the watch began")
    figure.suptitle(
        f"{stream}: not yet delivered, and delivered but not acknowledged", fontsize=10
    )
    happened = "; ".join(text for _, text in marks)
    alt = f"Lag and pending of {stream}. " + ". ".join(said)
    return Picture(figure, alt + (f". Marked: {happened}." if marks else "."))


def timeline_plot(events: pd.DataFrame, deaths: dict[str, float] | None = None) -> Picture:
    """The delivery timeline: one lane a consumer, a bar from delivery to ack for each entry.

    events: columns kind, entry_id, consumer, at (seconds), deliveries
    deaths: when (same clock) a consumer's process died, marked with a cross

    A bar without an end is an entry that was still pending. A dot is where the handler
    returned. An arrow leads from an entry's unfinished delivery to its next one.
    """
    start = events["at"].min() if len(events) else 0.0
    end = events["at"].max() if len(events) else 1.0
    lanes = list(dict.fromkeys(events["consumer"]))
    entries = sorted(set(events["entry_id"]), key=_order)
    names = {entry_id: f"#{number}" for number, entry_id in enumerate(entries, 1)}
    height = 0.8 / max(1, len(entries))
    figure = Figure(figsize=(8, 1.2 + 1.1 * max(1, len(lanes))), layout="constrained")
    axes = figure.subplots()
    edge = (end - start) * 0.04 or 0.05
    unfinished: dict[str, tuple[float, float]] = {}
    said = []
    for key, rows in events.groupby(["consumer", "entry_id", "deliveries"], sort=False):
        consumer, entry_id, _ = map(str, key)
        at = dict(zip(rows["kind"].map(str), rows["at"] - start, strict=True))
        y = lanes.index(consumer) + height * (entries.index(entry_id) + 0.5) - 0.4
        began = at.get("delivered", min(at.values()))
        ended = at.get("acked")
        died = (deaths or {}).get(consumer)
        until = ended if ended is not None else (died - start if died else end - start + edge)
        axes.barh(
            y, max(until - began, edge / 8), left=began, height=height * 0.8,
            color=BLUE if ended is not None else "white", edgecolor=BLUE if ended else ORANGE,
            hatch=None if ended is not None else "////", linewidth=1,
        )  # fmt: skip
        axes.text(began, y, f"{names[entry_id]} ", ha="right", va="center", fontsize=8)
        if "handled" in at:
            axes.plot(at["handled"], y, "o", color="black", markersize=4, zorder=3)
        if "failed" in at:
            axes.plot(at["failed"], y, "s", color=RED, markersize=5, zorder=3)
        if entry_id in unfinished:
            axes.annotate(
                "", (began, y), unfinished[entry_id], zorder=4,
                arrowprops={"arrowstyle": "->", "color": GREY, "linestyle": "--"},
            )  # fmt: skip
        if ended is None:
            unfinished[entry_id] = (until, y)
        state = "acknowledged" if ended is not None else "still pending"
        done = "failed, " if "failed" in at else "handled, " if "handled" in at else ""
        said.append(f"{names[entry_id]} by {consumer}: {done}{state}")
    for consumer, at_death in (deaths or {}).items():
        if consumer in lanes:
            x = at_death - start
            axes.plot(
                x, lanes.index(consumer), "x", color=RED, markersize=13, markeredgewidth=3
            )
    axes.set_yticks(range(len(lanes)), [str(lane) for lane in lanes])
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.set_xlabel("seconds since the first delivery")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        "solid: delivered to acknowledged   hatched: never acknowledged   "
        "● handler returned   ■ handler failed   ✕ process died",
        fontsize=8,
    )
    alt = "Delivery timeline. " + "; ".join(said) + "."
    for consumer in deaths or {}:
        alt += f" The process of {consumer} died."
    return Picture(figure, alt)


def _order(entry_id: str) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split("-")))
