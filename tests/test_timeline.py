"""The delivery timeline of workers, and its alt text."""

from collections.abc import Sequence

import pandas as pd
import pytest
from consumers import Publish
from matplotlib.mathtext import MathTextParser

from redisflow_lab.lab import Lab
from redisflow_lab.lab.views import timeline
from redisflow_lab.lab.views.picture import Picture
from redisflow_lab.lab.views.shapes import Frame, Rect, Text
from redisflow_lab.lab.views.still import Panel


def test_the_alt_text_of_a_timeline_names_each_delivery_and_death(
    lab: Lab, stream: str, publish: Publish
) -> None:
    publish("a", "b")
    first = lab.worker("alice", lambda _: None, stream=stream, crash="before-ack", after=2)
    first.wait_end()
    second = lab.worker("alice", lambda _: None, stream=stream)
    second.wait_for("acked", 1)
    second.stop()
    picture = lab.timeline(first, second)
    assert picture.alt == (
        "Delivery timeline. #1 by alice: handled, acknowledged; "
        "#2 by alice: handled, not acknowledged; #2 by alice: handled, acknowledged; "
        "the process of alice died."
    )
    data, metadata = picture._repr_mimebundle_()
    assert data["text/plain"] == metadata["image/png"]["alt"] == picture.alt


@pytest.fixture
def no_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a text was drawn as a formula")

    monkeypatch.setattr(MathTextParser, "parse", refuse)


@pytest.mark.usefixtures("no_formula")
@pytest.mark.parametrize("text", ["$$", "$", "$x^2$", r"\$5 and $6"])
def test_names_with_dollars_are_drawn_as_they_are(
    lab: Lab, stream: str, publish: Publish, text: str
) -> None:
    publish("a")
    worker = lab.worker(text, lambda _: None, stream=stream, crash="before-ack")
    worker.wait_end()
    assert f"by {text}: handled" in lab.timeline(worker).alt


BEGINS = [
    ("delivered", "1-0", "alice", 0.1, 1),
    ("delivered", "2-0", "alice", 0.2, 1),
    ("failed", "1-0", "alice", 0.3, 1),
    ("handled", "2-0", "alice", 0.4, 1),
]
TOLD = pd.DataFrame(
    [
        *BEGINS,
        ("delivered", "2-0", "bob", 0.6, 2),
        ("handled", "2-0", "bob", 0.7, 2),
        ("acked", "2-0", "bob", 0.8, 2),
        ("delivered", "1-0", "bob", 0.9, 2),
        ("failed", "1-0", "bob", 1.0, 2),
        ("dead-lettered", "1-0", "bob", 1.1, 2),
    ],
    columns=["kind", "entry_id", "consumer", "at", "deliveries"],
)


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[Frame]:
    """The frames that were drawn, in order."""
    drawn: list[Frame] = []
    draw = timeline.draw_still

    def keep(panels: Sequence[Panel], width: float, alt: str) -> Picture:
        drawn.extend(panel.frame for panel in panels)
        return draw(panels, width, alt)

    monkeypatch.setattr(timeline, "draw_still", keep)
    return drawn


def bars(frame: Frame) -> list[tuple[str, float]]:
    """The style and the width of each bar, in steps."""
    step = frame["step 1"], frame["step 0"]
    assert isinstance(step[0], Text)
    assert isinstance(step[1], Text)
    width = step[0].x - step[1].x
    return [
        (shape.style, round(shape.width / width))
        for name, shape in frame.items()
        if name.startswith("bar ") and isinstance(shape, Rect)
    ]


def test_a_bar_ends_with_the_process_or_with_what_became_of_the_delivery(
    frames: list[Frame],
) -> None:
    timeline.draw_timeline(TOLD, [("alice", 0.5)])
    [frame] = frames
    # Read together: step 0. Failed 1, handled 2, killed 3, read 4, handled 5, acknowledged 6,
    # read 7, failed 8, dead-lettered 9.
    assert bars(frame) == [("pending", 3), ("pending", 3), ("acked", 2), ("letter", 2)]
    assert len([name for name in frame if name.startswith("arrow head ")]) == 2
    assert {"cross 0 0", "cross 1 0", "death 0"} <= {*frame}


def test_a_consumer_that_died_before_it_was_given_anything_has_a_lane(
    frames: list[Frame],
) -> None:
    told = pd.DataFrame([("claimed", "1-0", "alice", 0.1, 0)], columns=TOLD.columns)
    picture = timeline.draw_timeline(told, [("alice", 0.2)])
    assert picture.alt == "Delivery timeline. the process of alice died."
    assert "name alice" in frames[0]


def test_the_legend_names_what_is_to_be_seen_and_no_more(frames: list[Frame]) -> None:
    told = pd.DataFrame(BEGINS, columns=TOLD.columns)
    timeline.draw_timeline(told, [])
    timeline.draw_timeline(TOLD, [("alice", 0.5)])
    said = [
        [
            shape.text
            for name, shape in frame.items()
            if name.startswith("swatch name ") and isinstance(shape, Text)
        ]
        for frame in frames
    ]
    both = ["handler returned", "handler failed"]
    assert said == [
        ["not acknowledged", *both],
        [
            "acknowledged", "dead-lettered", "not acknowledged", *both, "process killed",
            "delivered again",
        ],
    ]  # fmt: skip


def test_a_long_timeline_has_room_for_its_numbers(frames: list[Frame]) -> None:
    many = [
        (kind, f"{number}-0", f"c{number % 3}", number / 10, 1)
        for number in range(150)
        for kind in ("delivered", "acked")
    ]
    timeline.draw_timeline(pd.DataFrame(many, columns=TOLD.columns), [])
    ticks = [name for name in frames[0] if name.startswith("tick ")]
    assert 10 <= len(ticks) <= 21
