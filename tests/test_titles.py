"""The title of a step says what has changed since the step before, in words."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from redisflow_lab.inspection.state import Consumer, Group, Owned, State
from redisflow_lab.lab.recording.moment import NO_STREAM, Happening, Moment
from redisflow_lab.lab.recording.recording import Recording
from redisflow_lab.lab.views.layout import Layout
from redisflow_lab.lab.views.shapes import Text
from redisflow_lab.lab.views.story import Story
from redisflow_lab.lab.views.storyboard import storyboard

IDS = [f"1795821314044-{number}" for number in range(1, 7)]
CONSUMERS = {"alice": Consumer(3, 0), "bob": Consumer(0, 0)}
BILLING = Group(IDS[2], 3, 3, {of: Owned("alice", 1, 0) for of in IDS[:3]}, CONSUMERS)
SHIPPING = Group(IDS[0], 5, 0, {}, {})
GROUPS = {"billing": BILLING, "shipping": SHIPPING}
STATE = State(6, 6, IDS[0], tuple(IDS), GROUPS, 0, ())


def of_alice(t_s: float, kind: str, text: str, entry_id: str = "") -> Happening:
    return Happening(
        t_s, kind, f"alice {text} {entry_id}".strip(), "billing", "alice", entry_id
    )


def second(happened: Sequence[Happening], state: State = STATE) -> str:
    """The title of the second of two moments, with this between them."""
    moments = [Moment(0.0, STATE), Moment(1.0, state)]
    return Story(Recording("orders", moments, happened), "billing").caption(1)


LIFE = [
    of_alice(0.1, "handled", "has handled", IDS[0]),
    of_alice(0.2, "acked", "acknowledged", IDS[0]),
    of_alice(0.3, "handled", "has handled", IDS[1]),
    of_alice(0.4, "acked", "acknowledged", IDS[1]),
    of_alice(0.5, "handled", "has handled", IDS[2]),
    of_alice(0.6, "died", "is killed (SIGKILL)"),
]


def test_the_last_events_before_a_kill_are_told_and_the_earliest_are_counted() -> None:
    assert second(LIFE) == (
        "(2 more); alice has handled #2; alice acknowledged #2; alice has handled #3; "
        "alice is killed (SIGKILL)"
    )


def test_what_is_counted_is_counted_where_it_happened() -> None:
    begins = of_alice(0.05, "started", "is started")
    assert second([begins, *LIFE]) == (
        "alice is started; (3 more); alice acknowledged #2; alice has handled #3; "
        "alice is killed (SIGKILL)"
    )


def test_a_command_names_an_entry_as_its_cell_names_it() -> None:
    command = Happening(0.5, "command", f"XADD orders * ... → {IDS[5]}")
    assert second([command]) == "XADD orders * ... → #6"
    other = Happening(
        0.5, "failed", f"alice failed on {IDS[5]}: ValueError: 2025-11", "billing"
    )
    assert second([other]) == "alice failed on #6: ValueError: 2025-11"


def test_the_picture_in_words_and_its_key_moments_name_them_so_too() -> None:
    claim = of_alice(0.5, "claimed", "claimed", IDS[1])
    moments = [Moment(0.0, STATE), Moment(1.0, STATE), Moment(2.0, STATE)]
    alt = storyboard(Recording("orders", moments, [claim]), "billing").alt
    assert "alice claims #2" in alt
    assert "#2 pending with alice" in alt
    assert IDS[1] not in alt


def billing(**changes: object) -> State:
    return replace(STATE, groups={**GROUPS, "billing": replace(BILLING, **changes)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (
            billing(owned={of: Owned("bob", 2, 0) for of in IDS[:3]}),
            "#1, #2, #3 now pending with bob",
        ),
        (
            billing(owned={of: Owned("", 1, 0) for of in IDS[:3]}),
            "#1, #2, #3 now pending without an owner",
        ),
        (
            billing(owned={**BILLING.owned, IDS[1]: Owned("alice", 2, 0)}),
            "#2 delivered again",
        ),
        (
            billing(owned={of: Owned("alice", 1, 0) for of in IDS[1:4]}),
            "#1 no longer pending, #4 pending",
        ),
        (billing(consumers={**CONSUMERS, "carol": Consumer(0, 0)}), "carol joins the group"),
        (billing(consumers={"alice": Consumer(3, 0)}), "bob's name is removed"),
        (billing(read=IDS[4]), "the group has read up to #5"),
        (
            replace(STATE, groups={**GROUPS, "shipping": replace(SHIPPING, lag=4)}),
            "the group shipping reads or acknowledges",
        ),
        (replace(STATE, groups={"billing": BILLING}), "the group shipping is destroyed"),
        (
            replace(STATE, added=7, first=IDS[1], entries=(*IDS[1:], "1795821314044-7")),
            "as many entries added as removed",
        ),
        (replace(STATE, dead=1, letters=(IDS[0],)), "dead letters 1"),
    ],
)
def test_a_change_without_an_event_is_told_in_words(state: State, says: str) -> None:
    assert second([], state) == says


def test_a_recording_of_a_new_stream_begins_without_an_error() -> None:
    moments = [Moment(0.0, None, NO_STREAM), Moment(1.0, STATE), Moment(2.0, None, NO_STREAM)]
    recording = Recording("orders", moments, [])
    layout = Layout(recording, "billing")
    assert [layout.story.caption(number) for number in range(3)] == [
        "the recording begins: the stream has no entry",
        "the stream is created",
        "the stream is deleted",
    ]
    shown = layout.frame(0)["trouble"]
    assert isinstance(shown, Text)
    assert shown.text == layout.story.words(0) == "the stream has no entry"
    assert Story(replace(recording, moments=moments[1:]), "billing").caption(0) == (
        "the recording begins"
    )
