"""The picture of a benchmark: ratios as bars, publishing beside consuming."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")  # draws to a file, also where there is no screen

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from tools.bench.measure import Table

OURS = "#b5361c"
OTHERS = "#5b7083"


def draw(tables: Sequence[Table], path: Path, subtitle: str) -> None:
    """Save a picture with a panel for each table, and a bar for each side and content size."""
    rows = max(len(results) for table in tables for results in table.by_size.values())
    figure, panels = plt.subplots(
        1, len(tables), figsize=(15, 1.6 + 0.62 * rows), layout="constrained"
    )
    for panel, table in zip(panels, tables, strict=True):
        bars(panel, table)
    figure.suptitle(f"RedisFlow Lab beside what else there is\n{subtitle}", fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def bars(panel: Axes, table: Table) -> None:
    """The length is the ratio to the base, which a busy machine disturbs least."""
    height = 0.8 / len(table.by_size)
    sides = [result.side for result in next(iter(table.by_size.values()))]
    for number, (size, results) in enumerate(table.by_size.items()):
        offset = (number - (len(table.by_size) - 1) / 2) * height
        ratios = [0 if result.failed else table.ratio(result, size) for result in results]
        drawn = panel.barh(
            [row + offset for row in range(len(results))],
            ratios,
            height,
            label=f"{size:,} B",
            color=[OURS if side.name == "redisflow" else OTHERS for side in sides],
            edgecolor="white",
            hatch="" if number == 0 else "///",
        )
        texts = [
            "failed" if result.failed else f"{ratio:.2f}   ({result.rate:,.0f}/s)"
            for result, ratio in zip(results, ratios, strict=True)
        ]
        labels = panel.bar_label(drawn, texts, padding=3, fontsize=8)
        for label in labels:  # readable also across the line at 1
            label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    panel.axvline(1, color="black", linewidth=0.8, linestyle="--", zorder=0.5)
    panel.set_yticks(range(len(sides)), [f"{side.name}\n{side.mode}" for side in sides])
    panel.tick_params(labelsize=8)
    panel.invert_yaxis()
    panel.margins(x=0.3)
    panel.set_title(table.what)
    panel.set_xlabel(
        "messages a second (more is better),\n"
        f"as a ratio to {table.base.name} {table.base.mode}"
    )
    panel.set_ylabel("library and mode")
    panel.grid(axis="x", alpha=0.3)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    legend = panel.legend(title="content", loc="lower right")
    for handle in legend.get_patches():
        handle.set_facecolor(OTHERS)
