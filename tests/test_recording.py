"""A recording holds what the server said, in the order of time, and a file keeps it."""

import json
import os
import signal
from itertools import groupby
from pathlib import Path
from threading import Event

import pytest
from consumers import Publish

from redisflow_lab import Delivery, Message
from redisflow_lab.lab import Lab
from redisflow_lab.lab.recording.recording import Recording, RecordingError


def add(lab: Lab, stream: str, first: int, last: int) -> None:
    fields = Message("web", "1 x Dune").to_fields()
    for number in range(first, last + 1):
        lab.redis.xadd(stream, fields, id=f"{number}-0")  # type: ignore[arg-type]


def pending_in(recording: Recording) -> list[int]:
    """How many entries were pending, whenever that changed."""
    return [count for count, _ in groupby(recording.samples["pending"].tolist())]


def test_each_command_of_a_cell_is_a_moment_with_what_the_server_says_after_it(
    lab: Lab,
) -> None:
    stream = lab.key("told")
    lab.record(stream)
    add(lab, stream, 1, 3)
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=2)
    lab.redis.xack(stream, "billing", "1-0")
    recording = lab.recording(stream)
    assert pending_in(recording) == [0, 2, 1]
    assert list(recording.events["kind"]) == ["command"] * 6
    assert list(recording.events["text"][2:]) == [
        "XADD told 3-0 ... → 3-0",
        "XGROUP CREATE told billing 0 → OK",
        "XREADGROUP GROUP billing alice COUNT 2 STREAMS told > → 2 entries",
        "XACK told billing 1-0 → 1",
    ]
    assert list(recording.events["t_s"]) == sorted(recording.events["t_s"])


def test_the_commands_of_a_pipeline_are_told(lab: Lab, stream: str) -> None:
    lab.record(stream)
    with lab.redis.pipeline() as pipeline:
        pipeline.xadd(stream, {"data": "x"}, id="7-0").xlen(stream).xdel(stream, "7-0")
        pipeline.execute()
    texts = list(lab.recording(stream).events["text"])
    assert [text.split()[0] for text in texts] == ["XADD", "XDEL"]
    assert texts[0].endswith("7-0 ... → 7-0")


def test_the_commands_of_a_client_with_one_connection_are_told(lab: Lab, stream: str) -> None:
    lab.record(stream)
    with lab.redis.client() as client:
        client.xadd(stream, {"data": "x"})
    (text,) = lab.recording(stream).events["text"]
    assert text.startswith("XADD ")


def test_what_a_worker_does_and_its_death_are_recorded(lab: Lab, stream: str) -> None:
    add(lab, stream, 1, 3)
    lab.record(stream)
    lab.worker("alice", print, stream=stream, crash="before-ack", after=2).wait_end()
    recording = lab.recording(stream)
    kinds = list(recording.events["kind"])
    assert kinds == [
        "started", "delivered", "delivered", "delivered", "handled", "acked", "handled", "died",
    ]  # fmt: skip
    assert recording.events["text"].iloc[-1] == "alice is killed (SIGKILL)"
    assert pending_in(recording)[-1] == 2


def test_the_end_of_a_process_is_told_to_each_recording(lab: Lab, stream: str) -> None:
    def consume() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    add(lab, stream, 1, 1)
    lab.record(stream)
    process = lab.process(consume)
    process.wait_end()
    process.kill()
    events = lab.recording(stream).events
    assert events[["kind", "group", "consumer", "text"]].values.tolist() == [
        ["started", "", "consume", "consume is started"],
        ["died", "", "consume", "consume is killed (SIGKILL)"],
    ]


def test_a_process_is_told_by_the_name_of_its_consumer(lab: Lab, stream: str) -> None:
    def consume(name: str) -> None:
        connection.xreadgroup("billing", name, {stream: ">"})
        os.kill(os.getpid(), signal.SIGKILL)

    connection = lab.server.connect()
    add(lab, stream, 1, 1)
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.record(stream)
    process = lab.process(consume, "alice")
    process.wait_end()
    told = list(lab.recording(stream).events["text"])
    assert told == ["alice is started", "alice is killed (SIGKILL)"]
    assert "Consumers: alice (killed)." in repr(lab.replay(stream))
    assert repr(process) == "<process consume: SIGKILL>"


def test_a_slow_handler_is_seen_at_work(lab: Lab, stream: str, publish: Publish) -> None:
    def handle(delivery: Delivery) -> None:
        Event().wait(0.4)

    publish("one", "two", "three")
    lab.record(stream)
    worker = lab.worker("alice", handle, stream=stream)
    worker.wait_for("acked", 3)
    worker.stop()
    assert pending_in(lab.recording(stream))[-4:] == [3, 2, 1, 0]


def test_the_server_is_down_and_comes_back(own_lab: Lab) -> None:
    add(own_lab, "orders", 1, 2)
    own_lab.record()
    own_lab.server.kill()
    down = own_lab.recording().moments[-1]
    assert (down.state, down.trouble) == (None, "the server is down")
    own_lab.server.start()
    state = own_lab.recording().moments[-1].state
    assert state is not None
    assert state.entries == ("1-0", "2-0")
    events = own_lab.recording().events
    assert list(events["kind"]) == ["down", "up"]
    assert list(events["text"]) == ["the server is down", "the server answers again"]


def test_nothing_is_kept_while_nothing_changes(lab: Lab, stream: str) -> None:
    add(lab, stream, 1, 1)
    lab.record(stream)
    before = len(lab.recording(stream).moments)
    for _ in range(20):
        recording = lab.recording(stream)
    assert len(recording.moments) == before


def test_a_stream_that_does_not_exist_or_is_deleted_is_a_moment_too(
    lab: Lab, stream: str
) -> None:
    lab.record(stream)
    add(lab, stream, 1, 1)
    lab.redis.delete(stream)
    troubles = groupby(moment.trouble for moment in lab.recording(stream).moments)
    assert [trouble for trouble, _ in troubles] == [
        "this stream does not exist",
        "",
        "this stream does not exist",
    ]


def test_a_second_recording_of_a_stream_begins_anew(lab: Lab, stream: str) -> None:
    add(lab, stream, 1, 3)
    lab.record(stream)
    add(lab, stream, 4, 5)
    lab.record(stream)
    assert len(lab.recording(stream).events) == 0


def test_what_is_not_recorded_says_what_to_do(lab: Lab, stream: str) -> None:
    with pytest.raises(RuntimeError, match=r"is not recorded\. Call lab\.record"):
        lab.replay(stream)


@pytest.fixture
def recording(lab: Lab, stream: str) -> Recording:
    lab.record(stream)
    add(lab, stream, 1, 4)
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=3)
    lab.redis.xack(stream, "billing", "2-0")
    return lab.recording(stream)


def test_a_file_keeps_all_of_it(recording: Recording, tmp_path: Path) -> None:
    file = tmp_path / "act.json"
    recording.save(file)
    loaded = Recording.load(file)
    assert loaded == recording
    owned = loaded.moments[-1].state.groups["billing"].owned  # type: ignore[union-attr]
    assert list(owned) == ["1-0", "3-0"]
    assert file.stat().st_size < 500 * len(recording.moments)


def test_an_entry_that_is_pending_later_keeps_its_place(
    lab: Lab, stream: str, recording: Recording, tmp_path: Path
) -> None:
    """The group is set back, and reads again what was acknowledged."""
    lab.redis.xgroup_setid(stream, "billing", "0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=4)
    file = tmp_path / "act.json"
    lab.recording(stream).save(file)
    state = Recording.load(file).moments[-1].state
    assert state is not None
    assert [*state.groups["billing"].owned] == ["1-0", "2-0", "3-0", "4-0"]


def test_the_file_of_a_long_act_is_small(lab: Lab, stream: str, tmp_path: Path) -> None:
    """Each moment as what has changed: not the 100 entries that are pending in all of them."""
    add(lab, stream, 1, 100)
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"})
    lab.record(stream)
    for _ in range(60):
        lab.redis.xclaim(stream, "billing", "bob", 0, ["50-0"])
        lab.redis.xclaim(stream, "billing", "alice", 0, ["50-0"])
    recording = lab.recording(stream)
    file = tmp_path / "act.json"
    recording.save(file)
    assert Recording.load(file) == recording
    assert file.stat().st_size < 600 * len(recording.moments)


def damaged(content: str) -> dict[str, str]:
    fields = json.loads(content)
    return {
        "no complete recording": content[: len(content) // 2],
        "no recording of RedisFlow Lab": json.dumps({"cells": []}),
        "a recording of version 2": json.dumps({**fields, "version": 2}),
        "a damaged recording": json.dumps({**fields, "moments": [{"t_s": 0}]}),
        "a recording of version None": json.dumps({"format": fields.get("format")}),
        "a damaged recording: ValueError": json.dumps(
            {**fields, "moments": [{"t_s": 0, "changes": [1], "trouble": ""}]}
        ),
    }


@pytest.mark.parametrize("says", [*damaged("{}")])
def test_a_file_that_cannot_be_read_is_explained(
    says: str, recording: Recording, tmp_path: Path
) -> None:
    file = tmp_path / "act.json"
    recording.save(file)
    file.write_text(damaged(file.read_text())[says])
    with pytest.raises(RecordingError, match=says):
        Recording.load(file)
