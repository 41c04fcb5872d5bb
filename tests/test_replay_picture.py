"""The picture of a stream is true: what it shows is what the server says at that moment."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from redisflow_lab import Message
from redisflow_lab.lab import Lab
from redisflow_lab.lab.recording.file import TOLERANCE_MS, from_plain, to_plain
from redisflow_lab.lab.recording.moment import Happening, Moment
from redisflow_lab.lab.recording.recorder import Recorder
from redisflow_lab.lab.recording.recording import Recording
from redisflow_lab.lab.views import history
from redisflow_lab.lab.views.layout import Layout
from redisflow_lab.lab.views.replay import MAX_STEPS, Replay
from redisflow_lab.lab.views.shapes import STYLES, Frame, Path, Rect, Text
from redisflow_lab.lab.views.story import CELLS
from redisflow_lab.lab.views.storyboard import storyboard

CONSUMERS = ["alice", "bob", "carol"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 6)),
        st.tuples(st.just("read"), st.sampled_from(CONSUMERS), st.integers(1, 5)),
        st.tuples(st.just("replay"), st.sampled_from(CONSUMERS)),
        st.tuples(st.just("ack"), st.integers(0, 30)),
        st.tuples(st.just("claim"), st.sampled_from(CONSUMERS), st.integers(0, 30)),
        st.tuples(st.just("claim all"), st.sampled_from(CONSUMERS)),
        st.tuples(st.just("trim"), st.integers(0, 12)),
        st.tuples(st.just("delete"), st.integers(0, 30)),
        st.tuples(st.just("leave"), st.sampled_from(CONSUMERS)),
        st.tuples(st.just("rewind"), st.integers(0, 30)),
        st.tuples(st.just("restart")),
    ),
    min_size=3,
    max_size=14,
)

BEGINNING = [("publish", 4), ("read", "alice", 2), ("read", "bob", 1), ("ack", 0)]
"""Each history begins so: few random ones get as far as a pending entry."""


class History:
    """Does the steps, on a stream of its own."""

    def __init__(self, lab: Lab, stream: str) -> None:
        self.lab, self.redis, self.stream = lab, lab.redis, stream
        self._published = 0
        self.redis.xgroup_create(stream, "billing", id="0", mkstream=True)

    def do(self, step: str, *arguments: Any) -> None:
        pending: Any = self.redis.xpending_range(self.stream, "billing", "-", "+", 1_000)
        owned = [row["message_id"].decode() for row in pending]
        number = arguments[-1] if arguments and isinstance(arguments[-1], int) else 0
        chosen = owned[number % len(owned)] if owned else "1-0"
        match step:
            case "publish":
                for _ in range(number):
                    self._published += 1
                    self.redis.xadd(self.stream, {"data": "x"}, id=f"{self._published}-0")
            case "read":
                self.redis.xreadgroup("billing", arguments[0], {self.stream: ">"}, count=number)
            case "replay":
                self.redis.xreadgroup("billing", arguments[0], {self.stream: "0"})
            case "ack":
                self.redis.xack(self.stream, "billing", chosen)
            case "claim":
                self.redis.xclaim(self.stream, "billing", arguments[0], 0, [chosen])
            case "claim all":
                self.redis.xautoclaim(self.stream, "billing", arguments[0], 0)
            case "trim":
                self.redis.xtrim(self.stream, maxlen=number, approximate=False)
            case "delete":
                self.redis.xdel(self.stream, f"{number}-0")
            case "leave":
                self.redis.xgroup_delconsumer(self.stream, "billing", arguments[0])
            case "rewind":
                self.redis.xgroup_setid(self.stream, "billing", f"{number}-0")
            case "restart" if not self.lab.server.prefix:
                self.lab.server.kill()
                self.lab.server.start()


def drawn(frame: Frame) -> dict[str, object]:
    """What a reader of the picture sees."""
    entries = {name[6:]: shape for name, shape in frame.items() if name.startswith("entry ")}
    rows = {
        shape.y: name[5:]
        for name, shape in frame.items()
        if name.startswith("name ") and isinstance(shape, Text)
    }
    owned = {}
    for name, shape in frame.items():
        if name.startswith("owned ") and not name.startswith("owned plate "):
            entry_id = name[6:]
            times = frame[f"deliveries {entry_id}"]
            assert isinstance(shape, Rect)
            assert isinstance(times, Text)
            owned[entry_id] = (rows[shape.y + 9], int(times.text.split()[0]), shape.x - 5)
    cursor = frame["cursor"]
    assert isinstance(cursor, Path)
    text = frame["cursor text"]
    assert isinstance(text, Text)
    return {
        "left to right": [*entries],
        "places": {of: shape.x - 2 for of, shape in entries.items() if isinstance(shape, Rect)},
        "styles": {of: shape.style for of, shape in entries.items()},
        "owned": owned,
        "cursor": cursor.points[0][0],
        "consumers": sorted(rows.values()),
    }


def last_frame(recording: Recording) -> Frame:
    return Layout(recording, "billing").frame(len(recording.moments) - 1)


def order(entry_id: str) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split("-")))


def check(frame: Frame, oracle: Redis, stream: str) -> None:
    """Compare a picture with what another connection is told at the same moment."""
    with oracle.pipeline(transaction=True) as pipeline:
        pipeline.xinfo_groups(stream)
        pipeline.xpending_range(stream, "billing", "-", "+", 1_000)
        pipeline.xinfo_consumers(stream, "billing")
        pipeline.xrange(stream)
        groups, pending, consumers, entries = pipeline.execute()
    read = groups[0]["last-delivered-id"].decode()
    there = [entry_id.decode() for entry_id, _ in entries]
    owners = {
        row["message_id"].decode(): (row["consumer"].decode(), row["times_delivered"])
        for row in pending
    }
    seen: Any = drawn(frame)
    shown = seen["left to right"]
    assert shown == sorted(shown, key=order)
    assert {*there[-(CELLS - 5) :]} <= {*shown}
    assert {of: (who, count) for of, (who, count, _) in seen["owned"].items()} == {
        of: owner for of, owner in owners.items() if of in shown
    }
    assert {*owners} <= {*shown} or len(shown) == CELLS
    for of, (_, _, x) in seen["owned"].items():
        assert x == seen["places"][of]
    for of, style in seen["styles"].items():
        acked = of not in owners and order(of) <= order(read)
        right = "pending" if of in owners else "acked" if acked else "waiting"
        assert style == (right if of in there else "gone"), (of, there)
    left = [seen["places"][of] for of in shown if order(of) <= order(read)]
    assert seen["cursor"] == (left[-1] + 46 if left else 128)
    assert seen["consumers"] == sorted(row["name"].decode() for row in consumers)


def check_file(recording: Recording) -> None:
    """Compare what was written to a file with what is read from it."""
    stored = json.loads(json.dumps([*to_plain(recording.moments)]))
    loaded = [*from_plain(stored)]
    assert loaded == recording.moments
    for one, other in zip(recording.moments, loaded, strict=True):
        assert in_order(one) == in_order(other)
        pairs = zip(idle_times(one), idle_times(other), strict=True)
        assert all(abs(ms - again) <= TOLERANCE_MS for ms, again in pairs)


def in_order(moment: Moment) -> list[list[str]]:
    groups = moment.state.groups.values() if moment.state else ()
    return [[*names] for group in groups for names in (group.owned, group.consumers)]


def idle_times(moment: Moment) -> list[int]:
    groups = moment.state.groups.values() if moment.state else ()
    both = (named for group in groups for named in (group.owned, group.consumers))
    return [one.idle_ms for named in both for one in named.values()]


def follow(lab: Lab, stream: str, steps: list[Any]) -> None:
    lab.redis.delete(stream)
    steps_of = History(lab, stream)
    recorder, oracle = Recorder(lab.server.connect(), stream), lab.server.connect()
    try:
        for step in [*BEGINNING, *steps]:
            steps_of.do(*step)
            check(last_frame(recorder.recording), oracle, stream)
        check_file(recorder.recording)
    finally:
        recorder.close()
        oracle.close()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_owner_count_and_position_are_what_the_server_says(
    lab: Lab, stream: str, steps: list[Any]
) -> None:
    follow(lab, stream, [step for step in steps if step != ("restart",)])


@pytest.mark.slow
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_the_picture_is_true_over_many_histories_with_restarts(
    own_lab: Lab, steps: list[Any]
) -> None:
    follow(own_lab, "orders", steps)


def record(lab: Lab, stream: str, *, entries: int = 3, group: str = "billing") -> Recording:
    """Of a stream with a group, of which each entry but the last is pending with alice."""
    lab.redis.delete(stream)
    lab.record(stream)
    fields: Any = Message("web", "1 x Dune").to_fields()
    for number in range(1, entries + 1):
        lab.redis.xadd(stream, fields, id=f"{number}-0")
    lab.redis.xgroup_create(stream, group, id="0")
    lab.redis.xreadgroup(group, "alice", {stream: ">"}, count=entries - 1)
    return lab.recording(stream)


def test_an_arc_leads_from_the_old_owner_to_the_new_one(lab: Lab, stream: str) -> None:
    record(lab, stream)
    lab.redis.xclaim(stream, "billing", "bob", 0, ["2-0"])
    recording = lab.recording(stream)
    layout = Layout(recording, "billing")
    # The recorder also looks by itself, so the claim need not be seen at the last moment.
    frames = [layout.frame(number) for number in range(len(recording.moments))]
    arcs = [name for frame in frames for name in frame if name.startswith("arc ")]
    assert arcs == ["arc 2-0", "arc head 2-0"]


def test_a_killed_process_has_a_cross_until_it_is_started_again(lab: Lab, stream: str) -> None:
    record(lab, stream)
    crossed = []
    for crash in ("before-ack", None):
        worker = lab.worker("alice", print, stream=stream, crash=crash)
        if crash:
            worker.wait_end()
        crossed.append("cross 0 alice" in last_frame(lab.recording(stream)))
    worker.kill()
    assert crossed == [True, False]


def test_dead_letters_lie_on_a_shelf_under_their_own_ids(lab: Lab, stream: str) -> None:
    record(lab, stream)

    def refuse(delivery: object) -> None:
        raise ValueError("no")

    lab.worker("alice", refuse, stream=stream, max_deliveries=1).wait_for("dead-lettered", 1)
    lab.kill_workers(stream)
    recording = lab.recording(stream)
    layout = Layout(recording, "billing")
    letter = layout.frame(len(recording.moments) - 1)["letter id 0"]
    assert isinstance(letter, Text)
    assert letter.text == "1-0"
    assert "Dead letters: 1-0" in layout.story.words(len(recording.moments) - 1)
    lab.redis.delete(f"{stream}:dead")


EVIL = [
    "<script>alert(1)</script>", "</script><b>", "\"'&amp;", "$x^2$", "é שלום مرحبا",
    "\u202eabc", "x" * 10_000, "]]>", "<!--",
]  # fmt: skip


@pytest.mark.parametrize("text", EVIL, ids=[*map(str, range(len(EVIL)))])
def test_text_of_others_is_shown_and_never_run(lab: Lab, stream: str, text: str) -> None:
    key = f"{stream}{text}"
    lab.record(key)
    lab.redis.xadd(key, {"data": text}, id="1-0")
    lab.redis.xgroup_create(key, text, id="0")
    lab.redis.xreadgroup(text, text, {key: ">"})
    output = lab.replay(key, text)
    page = Replay(lab.recording(key), text).html
    assert page.count("<script") == 2
    assert page.count("</script") == 2
    assert "<!--" not in page
    assert "<b>" not in page
    assert "\u202e" not in page
    assert output.picture.png.startswith(b"\x89PNG")
    assert len(page) < 60_000
    lab.redis.delete(key)


def test_nothing_of_a_deleted_stream_is_in_the_picture_of_a_new_one(
    lab: Lab, stream: str
) -> None:
    record(lab, stream, entries=9)
    lab.redis.delete(stream)
    lab.redis.xadd(stream, {"data": "x"}, id="1-0")
    lab.redis.xgroup_create(stream, "billing", id="0")
    shown = drawn(last_frame(lab.recording(stream)))
    assert shown["left to right"] == ["1-0"]
    assert shown["styles"] == {"1-0": "waiting"}


def waits_s(recording: Recording) -> list[float | None]:
    """How long the oldest entry that is not delivered waits: at each moment, in s."""
    since = history.undelivered_since(recording.moments, "billing")
    pairs = zip(recording.moments, since, strict=True)
    return [None if began is None else moment.t_s - began for moment, began in pairs]


def test_what_waits_longest_is_what_is_still_there(lab: Lab, stream: str) -> None:
    record(lab, stream, entries=4)  # 4-0 is not delivered
    for entry_id in ("5-0", "6-0"):
        lab.redis.xadd(stream, {"data": "x"}, id=entry_id)

    def check_oldest(entry_id: str) -> None:
        recording = lab.recording(stream)
        added = next(m for m in recording.moments if m.state and entry_id in m.state.entries)
        assert waits_s(recording)[-1] == recording.moments[-1].t_s - added.t_s

    check_oldest("4-0")
    lab.redis.xdel(stream, "4-0")
    check_oldest("5-0")
    lab.redis.xtrim(stream, minid="6-0", approximate=False)
    check_oldest("6-0")


def test_what_waits_in_a_new_stream_waits_since_it_is_there(lab: Lab, stream: str) -> None:
    record(lab, stream, entries=9)
    lab.redis.delete(stream)
    lab.redis.xadd(stream, {"data": "x"}, id="1-0")
    lab.redis.xgroup_create(stream, "billing", id="0")
    recording = lab.recording(stream)
    gone = [m.t_s for m in recording.moments if m.state is None][-1]
    waits = waits_s(recording)[-1]
    assert waits is not None
    assert waits < recording.moments[-1].t_s - gone


def test_the_page_asks_for_nothing_from_elsewhere(lab: Lab, stream: str) -> None:
    page = Replay(record(lab, stream), "billing").html
    assert {*re.findall(r"https?://[^\"' ]+", page)} == {"http://www.w3.org/2000/svg"}
    assert "import " not in page


def test_a_stream_that_never_existed_and_a_group_that_does_not(lab: Lab, stream: str) -> None:
    lab.redis.delete(stream)
    lab.record(stream)
    assert "the stream has no entry" in repr(lab.replay(stream))
    lab.redis.xadd(stream, {"data": "x"}, id="1-0")
    output = lab.replay(stream, "nobody")
    assert "1-0 not delivered. Consumers: none." in repr(output)
    assert output.picture.png.startswith(b"\x89PNG")


def test_a_server_that_is_down_for_the_whole_act(own_lab: Lab) -> None:
    own_lab.server.kill()
    own_lab.record()
    output = own_lab.replay()
    assert "the server is down" in repr(output)
    assert output.picture.png.startswith(b"\x89PNG")


def test_two_hundred_consumers_are_seven_rows_and_a_number(lab: Lab, stream: str) -> None:
    record(lab, stream, entries=210)
    for number in range(200):
        lab.redis.xclaim(stream, "billing", f"c{number:03}", 0, [f"{number + 1}-0"])
    recording = lab.recording(stream)
    layout = Layout(recording, "billing")
    frame = layout.frame(len(recording.moments) - 1)
    others = frame["others"]
    assert isinstance(others, Text)
    assert others.text == "and 194 other consumers, 194 pending with them"
    assert layout.height < 600


def test_the_oldest_pending_entries_keep_a_place_in_a_long_stream(
    lab: Lab, stream: str
) -> None:
    record(lab, stream, entries=100)
    for number in range(3, 98):
        lab.redis.xack(stream, "billing", f"{number}-0")
    shown = drawn(last_frame(lab.recording(stream)))
    ids: Any = shown["left to right"]
    assert ids[:2] == ["1-0", "2-0"]
    assert ids[-1] == "100-0"
    assert len(ids) == CELLS


def test_ten_thousand_moments_are_shown_in_steps_and_the_page_says_so(
    lab: Lab, stream: str
) -> None:
    state = record(lab, stream).moments[-1].state
    moments = [Moment(number / 100, state) for number in range(10_000)]
    happenings = [
        Happening(number / 100, "command", f"the {number}th") for number in range(10_000)
    ]
    page = Replay(Recording("orders", moments, happenings, 5), "billing").html
    assert f"10,000 moments, shown in {MAX_STEPS:,} steps." in page
    assert "The 5 moments before these were not kept." in page
    assert page.count('"caption":') == MAX_STEPS
    assert "the 9990th" not in page  # counted as one of several
    assert " more); the 9996th; the 9997th; the 9998th; the 9999th" in page


def test_a_caption_never_leaves_out_that_a_process_died() -> None:
    moments = [Moment(0.0, None, "the server is down"), Moment(1.0, None, "the server is down")]
    happened = [
        Happening(0.5, "delivered", f"alice was given {number}-0", "billing", "alice", "1-0")
        for number in range(9)
    ]
    happened.append(Happening(0.9, "died", "alice is killed (SIGKILL)", "billing", "alice"))
    layout = Layout(Recording("orders", moments, happened), "billing")
    assert layout.story.caption(1) == (
        "(6 more); alice was given 6-0; alice was given 7-0; alice was given 8-0; "
        "alice is killed (SIGKILL)"
    )


def test_each_style_of_the_picture_is_known(lab: Lab, stream: str) -> None:
    page = Replay(record(lab, stream), "billing").html
    used = {*re.findall(r'\["[rtp]","([\w-]+)"', page)}
    assert {"pending", "waiting", "cursor", "lag"} <= used <= {*STYLES}
    assert "svg .pending{fill:url(#hatch)" in page


def test_a_group_that_is_destroyed_while_it_is_recorded(lab: Lab, stream: str) -> None:
    record(lab, stream)
    lab.redis.xgroup_destroy(stream, "billing")
    recording = lab.recording(stream)
    state = recording.moments[-1].state
    assert state is not None
    assert state.groups == {}


def test_a_claim_is_a_key_moment_also_if_it_is_seen_before_its_reply(
    lab: Lab, stream: str
) -> None:
    """The recorder looked between the command and its reply."""
    before = record(lab, stream).moments[-1]
    lab.redis.xclaim(stream, "billing", "bob", 0, ["2-0"])
    after = lab.recording(stream).moments[-1].state
    moments = [replace(before, t_s=0.0), Moment(1.0, after), Moment(1.1, after)]
    claim = Happening(1.05, "command", "XCLAIM orders billing bob 0 2-0 → 1 entry")
    assert "XCLAIM" in storyboard(Recording("orders", moments, [claim]), "billing").alt
