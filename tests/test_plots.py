"""Plots draw every text as it is, every group, whole numbers on axes of counts, and gaps."""

import math
from collections.abc import Callable

import pandas as pd
import pytest
from consumers import Publish
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser

from redisflow_lab.lab import Lab
from redisflow_lab.lab.views import plots
from redisflow_lab.lab.views.live import Watch

FORMULAS = ["$$", "$", "$x^2$", r"\$5 and $6"]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were drawn, in order."""
    drawn: list[Figure] = []
    picture = plots.Picture

    def keep(figure: Figure, alt: str) -> plots.Picture:
        drawn.append(figure)
        return picture(figure, alt)

    monkeypatch.setattr(plots, "Picture", keep)
    return drawn


@pytest.fixture
def no_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a text was drawn as a formula")

    monkeypatch.setattr(MathTextParser, "parse", refuse)


@pytest.mark.usefixtures("no_formula")
@pytest.mark.parametrize("text", FORMULAS)
def test_a_lag_plot_draws_text_with_dollars_as_it_is(lab: Lab, stream: str, text: str) -> None:
    lab.redis.xgroup_create(stream + text, text, id="0", mkstream=True)
    watch = Watch(lab.redis, stream + text)
    watch.mark(f"sold for {text}")
    picture = watch.plot()
    assert f"sold for {text}" in picture.alt
    assert picture.png.startswith(b"\x89PNG")


@pytest.mark.usefixtures("no_formula")
@pytest.mark.parametrize("text", FORMULAS)
def test_a_timeline_draws_names_with_dollars_as_they_are(
    lab: Lab, stream: str, publish: Publish, text: str
) -> None:
    publish("a")
    worker = lab.worker(text, lambda _: None, stream=stream, crash="before-ack")
    worker.wait_end()
    assert f"by {text}: handled" in lab.timeline(worker).alt


def test_every_group_is_in_the_legend(lab: Lab, stream: str, figures: list[Figure]) -> None:
    names = ["_private", "billing", *(f"g{number}" for number in range(40))]
    for name in names:
        lab.redis.xgroup_create(stream, name, id="0", mkstream=True)
    watch = Watch(lab.redis, stream)
    watch.sample()
    watch.plot()
    [upper, lower] = figures[0].axes
    assert sorted(text.get_text() for text in upper.get_legend().get_texts()) == sorted(names)
    assert len(lower.get_lines()) == len(names)


@pytest.mark.parametrize("most", [0, 1, 3])
def test_axes_of_counts_have_ticks_at_whole_numbers(
    lab: Lab, stream: str, publish: Callable[..., list[str]], figures: list[Figure], most: int
) -> None:
    lab.redis.xgroup_create(stream, "billing", id="0", mkstream=True)
    watch = Watch(lab.redis, stream)
    watch.sample()
    publish(*map(str, range(most)))
    watch.sample()
    watch.plot()
    for axes in figures[0].axes:
        bottom, top = axes.get_ylim()
        ticks = [tick for tick in axes.get_yticks() if bottom <= tick <= top]
        assert len(ticks) >= 2
        assert all(tick == round(tick) for tick in ticks)


def test_a_plot_has_a_gap_where_nothing_was_measured(figures: list[Figure]) -> None:
    samples = pd.DataFrame(
        {
            "t_s": [0.0, 1.0, 7.0, 8.0],
            "group": "billing",
            "lag": pd.array([1, 2, 3, 4], dtype="Int64"),
            "pending": [0, 0, 0, 0],
        }
    )
    plots.lag_plot(samples, [], "orders", gaps=[1.5])
    for axes in figures[0].axes:
        [line] = axes.get_lines()
        drawn = list(zip(*line.get_data(), strict=True))
        assert [at for at, value in drawn if math.isnan(value)] == [1.5]
        assert [at for at, _ in drawn] == [0.0, 1.0, 1.5, 7.0, 8.0]


def test_a_lag_that_is_not_known_is_unknown_in_the_alt_text(lab: Lab, stream: str) -> None:
    for number in range(1, 7):
        lab.redis.xadd(stream, {"data": b""}, id=f"{number}-0")
    lab.redis.xgroup_create(stream, "billing", id="3-0")
    lab.redis.xdel(stream, "5-0")
    watch = Watch(lab.redis, stream)
    watch.sample()
    assert "billing: lag up to unknown, in the end unknown" in watch.plot().alt


def test_text_in_a_plot_is_escaped_and_cut(lab: Lab, stream: str) -> None:
    name = "\x1b[2J" + "x" * 5_000_000
    lab.redis.xgroup_create(stream, name, id="0", mkstream=True)
    watch = Watch(lab.redis, stream)
    watch.mark(name)
    alt = watch.plot().alt
    assert alt.count(r"\x1b[2J") == 2
    assert "\x1b" not in alt
    assert len(alt) < 1_000
    assert watch.samples["group"].tolist() == [name]
    assert watch.marks["text"].tolist() == [name]
