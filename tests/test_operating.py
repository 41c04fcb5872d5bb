"""`redisflow` operates streams: each command as a process, on a real server."""

import json
import logging
import os
import pty
import re
import signal
import subprocess
import sys
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from commands import Redisflow, redisflow_at
from consumers import NewConsumer, Publish, numbered, running
from handlers import decline

from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.cli.durations import for_people
from redisflow_lab.lab import Lab
from redisflow_lab.partitions import PartitionedConsumer, PartitionedProducer

WAITS = "What is published to them waits"
DOCUMENTED = (Path(__file__).parent.parent / "docs" / "cli.md").read_text()
(PERMISSIONS,) = re.findall(r"\*\*Permissions\.\*\* (.*)", DOCUMENTED)


@pytest.fixture
def redisflow(lab_in_use: Lab, tmp_path: Path) -> Redisflow:
    """Runs the command on the lab's server."""
    return redisflow_at(lab_in_use.url, tmp_path)


def test_streams_are_listed_with_what_they_hold(
    lab: Lab, stream: str, publish: Publish, redisflow: Redisflow
) -> None:
    publish(*numbered(5))
    lab.redis.xgroup_create(stream, "billing", id="0")
    (row,) = redisflow("streams", "--match", stream, "--seconds", 0, "--json").json
    assert row.pop("memory_bytes") > 100
    assert row == {
        "stream": stream, "shard": None, "length": 5, "groups": 1, "entries_per_s": None,
    }  # fmt: skip
    (row,) = redisflow("streams", "--match", stream, "--seconds", 0.1, "--json").json
    assert row["entries_per_s"] == 0
    table = redisflow("streams", "--match", stream).out
    assert table.splitlines()[0].split()[:3] == ["stream", "length", "groups"]
    assert "\x1b" not in table


def test_a_stream_is_inspected_as_it_is(
    lab: Lab, stream: str, publish: Publish, redisflow: Redisflow
) -> None:
    ids = publish("1 x Dune", "1 x Emma", "1 x Ulysses")
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=2)
    found = redisflow("inspect", stream, "--json").json
    (group,) = found["groups"]
    assert (found["length"], found["entries_added"]) == (3, 3)
    assert (group["lag"], group["pending"], group["oldest_pending_id"]) == (1, 2, ids[0])
    assert [row["consumer"] for row in group["consumers"]] == ["alice"]
    assert found["shard"] is None
    assert (found["first"]["content"], found["last"]["content"]) == ("1 x Dune", "1 x Ulysses")
    text = redisflow("inspect", stream).out
    assert "3 entries of 3 that were added" in text
    assert "web: 1 x Dune" in text


def test_entries_are_decoded(lab: Lab, stream: str, redisflow: Redisflow) -> None:
    fields: Any = Message("web", "1 x Dune").to_fields()
    lab.redis.xadd(stream, {**fields, "trace": "abc", "bin": b"\xff\x00"}, id="1-0")
    lab.redis.xadd(stream, {"data": b"\xff"}, id="2-0")
    lab.redis.xadd(stream, fields, id="1730671200000-0")
    good, foreign, newest = redisflow("entries", stream, "--json").json
    assert (good["id"], good["at"], good["producer"]) == ("1-0", None, "web")
    assert good["fields"] == [["trace", "abc"], ["bin", {"base64": "/wA="}]]
    assert foreign["content"] is None
    assert "cannot decode" in foreign["problem"]
    assert newest["at"] == "2024-11-03T22:00:00.000+00:00"
    assert [
        row["id"]
        for row in redisflow("entries", stream, "--from", "2-0", "--to", "2-0", "--json").json
    ] == ["2-0"]
    (row,) = redisflow("entries", stream, "--newest", "--count", 1, "--raw", "--json").json
    assert row["fields"][0][0] == "data"
    assert "1 x Dune" in redisflow("entries", stream).out


def test_new_entries_are_followed_until_ctrl_c(own_lab: Lab, publish: Publish) -> None:
    publish("before")
    follower = subprocess.Popen(
        [sys.executable, "-m", "redisflow_lab", "entries", "orders", "--follow", "--json"],
        env={**os.environ, "REDISFLOW_URL": own_lab.url}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert follower.stdout is not None
    try:
        own_lab.wait_until(
            lambda: any(row["cmd"] == "xread" for row in own_lab.redis.client_list()),
            "it reads",
        )
        publish("one", "two")
        lines = [json.loads(follower.stdout.readline()) for _ in range(2)]
        assert [line["content"] for line in lines] == ["one", "two"]
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 0
    finally:
        follower.kill()
        follower.wait()


def test_pending_entries_are_shown_with_their_owners(
    lab: Lab, stream: str, publish: Publish, redisflow: Redisflow
) -> None:
    ids = publish(*numbered(3))
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=2)
    lab.redis.xreadgroup("billing", "bob", {stream: ">"}, count=1)
    lab.redis.xclaim(stream, "billing", "alice", 0, ids[:1], idle=3_600_000, justid=True)
    rows = redisflow("pending", stream, "billing", "--json").json
    assert [(row["id"], row["consumer"], row["deliveries"]) for row in rows] == [
        (ids[0], "alice", 1), (ids[1], "alice", 1), (ids[2], "bob", 1),
    ]  # fmt: skip
    (old,) = redisflow("pending", stream, "billing", "--idle", "30m", "--json").json
    assert old["id"] == ids[0]
    (bobs,) = redisflow("pending", stream, "billing", "--consumer", "bob", "--json").json
    assert bobs["id"] == ids[2]
    assert " 1 h " in redisflow("pending", stream, "billing", "--idle", "30m").out
    assert " 1 h " in redisflow("inspect", stream).out


@pytest.mark.parametrize(
    ("ms", "says"),
    [
        (0, "0 ms"), (999, "999 ms"), (1_000, "1 s"), (61_500, "1 min 1 s"),
        (3_900_000, "1 h 5 min"), (3_600_999, "1 h"), (90_061_000, "1 d 1 h"),
    ],
)  # fmt: skip
def test_idle_times_are_shown_as_people_say_them(ms: int, says: str) -> None:
    assert for_people(ms) == says


def test_a_group_is_deleted_after_saying_what_is_lost(
    lab: Lab, stream: str, publish: Publish, redisflow: Redisflow
) -> None:
    publish(*numbered(5))
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=2)
    delete = ("groups", "delete", stream, "billing")
    unasked = redisflow(*delete)
    assert unasked.status == 2
    lost = (
        "delete the group billing, with 2 entries pending, 3 entries not read, and 1 consumer"
    )
    assert lost in unasked.sentence
    found = {"group": "billing", "pending": 2, "lag": 3, "consumers": 1}
    assert redisflow(*delete, "--dry-run", "--json").json == found | {"deleted": False}
    assert len(lab.redis.xinfo_groups(stream)) == 1
    assert redisflow(*delete, "--yes", "--json").json == found | {"deleted": True}
    assert lab.redis.xinfo_groups(stream) == []
    assert lab.redis.xlen(stream) == 5
    assert "no group 'billing'" in redisflow(*delete, "--yes").sentence


def test_partitions_are_shown_with_the_members_that_read_them(
    own_lab: Lab, redisflow: Redisflow
) -> None:
    missing = redisflow("partitions", "orders")
    assert (missing.status, "has no partitions" in missing.sentence) == (1, True)
    producer = PartitionedProducer(own_lab.redis, "orders", partitions=2)
    producer.publish_many([("a", Message("web", "a"))])  # in partition 1
    unread = redisflow("partitions", "orders", "--json")
    assert (unread.status, [row["group"] for row in unread.json]) == (0, [None, None])
    member = PartitionedConsumer(
        own_lab.redis, "orders", "billing", partitions=2, member=0, of=2, block_ms=20
    )
    with running(member, handler=print):
        own_lab.wait_until(lambda: own_lab.redis.exists("{orders:0}") == 1, "it reads")
        own_lab.redis.set("{orders:1}:owner:billing", "of another program")
        done = redisflow("partitions", "orders", "billing", "--json")
    assert done.status == 3
    assert f"1 of 2 partitions: 1. {WAITS}: start member 1 of 2" in done.sentence
    zero, one = done.json
    assert keys_of(done.json) <= documented_names()
    assert (zero["owner"], zero["length"], zero["lag"]) == ("member 0 of 2", 0, 0)
    assert (one["owner"], one["length"], one["lag"]) == (None, 1, None)
    table = redisflow("partitions", "orders").out
    assert table.count("no active member") == 2
    assert "shard" not in table
    whole = redisflow("inspect", "orders")
    assert (whole.status, "orders has 2 partitions" in whole.sentence) == (1, True)
    unknown = redisflow("partitions", "orders", "shipping")
    assert (unknown.status, "no group 'shipping'" in unknown.sentence) == (1, True)
    own_lab.redis.set("orders:partitions", "many")
    wrong = redisflow("partitions", "orders")
    assert (wrong.status, "not a number of partitions" in wrong.sentence) == (1, True)


def test_a_message_is_published_once_for_a_key(
    lab: Lab, stream: str, redisflow: Redisflow
) -> None:
    arguments = ("publish", stream, "--producer", "ops", "--content", "1 x Dune", "--key", "7")
    first, second = redisflow(*arguments), redisflow(*arguments, "--json")
    assert first.out.strip() == second.json["id"]
    assert lab.redis.xlen(stream) == 1
    assert "blank" in redisflow("publish", stream, "--producer", " ", "--content", "").sentence


@pytest.fixture
def letters(stream: str, publish: Publish, consumer: NewConsumer) -> list[str]:
    """Three dead letters; the ids of their entries."""
    ids = publish("Kim", "Lee", "Max")
    consumer(max_deliveries=1).read_new(decline)
    return ids


def test_dead_letters_are_listed_shown_redriven_and_discarded(
    lab: Lab, stream: str, letters: list[str], redisflow: Redisflow
) -> None:
    rows = redisflow("dead-letters", "list", stream, "--json").json
    assert [row["entry_id"] for row in rows] == letters
    first, second, third = (row["letter_id"] for row in rows)
    shown = redisflow("dead-letters", "show", stream, first, "--json").json
    assert (shown["reason"], shown["entry"]["content"]) == ("failed", "Kim")
    text = " ".join(redisflow("dead-letters", "show", stream, first).out.split())
    assert f"at {shown['at']} " in text  # when it was dead-lettered, and not the entry's own
    assert "entry content Kim" in text
    dry = redisflow("dead-letters", "redrive", stream, first, "--dry-run", "--json").json
    assert [row["letter_id"] for row in dry] == [first]
    assert lab.redis.xlen(stream) == 3
    (done,) = redisflow("dead-letters", "redrive", stream, first, "--yes", "--json").json
    assert (done["letter_id"], done["problem"]) == (first, None)
    assert lab.redis.xlen(stream) == 4
    again = redisflow("dead-letters", "redrive", stream, first, "--yes")
    assert (again.status, f"no dead letter {first}" in again.sentence) == (1, True)
    gone = redisflow("dead-letters", "discard", stream, second, "--yes", "--json")
    assert gone.json == {"deleted": 1}
    left = redisflow("dead-letters", "list", stream, "--json").json
    assert [row["letter_id"] for row in left] == [third]
    assert redisflow("dead-letters", "discard", stream, "--all", "--yes").status == 0
    assert lab.redis.xlen(f"{stream}:dead") == 0


def test_dead_letters_are_chosen_by_what_they_are(
    lab: Lab, stream: str, letters: list[str], redisflow: Redisflow
) -> None:
    def chosen(*filters: str) -> int:
        arguments = ("dead-letters", "redrive", stream, *filters, "--dry-run", "--json")
        return len(redisflow(*arguments).json)

    assert chosen("--group", "billing") == 3
    assert chosen("--group", "shipping") == 0
    assert chosen("--reason", "failed", "--error", "declined") == 3
    assert chosen("--error", "no such text") == 0
    assert chosen("--older-than", "1h") == 0
    neither = redisflow("dead-letters", "discard", stream)
    assert (neither.status, "say which ones" in neither.sentence) == (2, True)


MANY = 2_000


@pytest.fixture
def many_letters(lab: Lab, stream: str, publish: Publish, consumer: NewConsumer) -> None:
    """So many dead letters, and nothing in the stream."""
    logging.disable(logging.ERROR)
    publish(*numbered(MANY))
    consumer(batch=MANY, ack_every=MANY, max_deliveries=1).read_new(decline)
    logging.disable(logging.NOTSET)
    lab.redis.xtrim(stream, maxlen=0, approximate=False)


def start_redrive(lab: Lab, stream: str) -> "subprocess.Popen[str]":
    command = ("dead-letters", "redrive", stream, "--all", "--yes", "--json")
    return subprocess.Popen(
        [sys.executable, "-m", "redisflow_lab", *command],
        env={**os.environ, "REDISFLOW_URL": lab.url},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.usefixtures("many_letters")
def test_ctrl_c_in_the_middle_of_a_redrive_leaves_nothing_half_done(
    lab: Lab, stream: str
) -> None:
    redrive = start_redrive(lab, stream)
    lab.wait_until(lambda: lab.redis.xlen(stream) > 20, "it has begun")
    redrive.send_signal(signal.SIGINT)
    out, err = redrive.communicate(timeout=30)
    assert redrive.returncode == 130
    written = lab.redis.xlen(stream)
    assert written + lab.redis.xlen(f"{stream}:dead") == MANY
    assert len(json.loads(out)) == written < MANY
    assert f"of {MANY:,}. The others are dead letters still" in err
    assert "Traceback" not in err


@pytest.mark.usefixtures("many_letters")
def test_two_redrives_at_once_write_each_message_once(lab: Lab, stream: str) -> None:
    both = [start_redrive(lab, stream) for _ in range(2)]
    rows = [row for one in both for row in json.loads(one.communicate(timeout=60)[0])]
    assert {one.returncode for one in both} <= {0, 1}
    written = [row["entry_id"] for row in rows if row["entry_id"]]
    assert len({*written}) == len(written) == lab.redis.xlen(stream) == MANY
    assert lab.redis.xlen(f"{stream}:dead") == 0
    assert {row["problem"] for row in rows} <= {
        None,
        "it is not there any more: another redrive was faster",
    }


def test_content_of_10_mb_is_shown_as_a_line(
    lab: Lab, stream: str, publish: Publish, consumer: NewConsumer, redisflow: Redisflow
) -> None:
    publish("x" * 10_000_000)
    consumer(max_deliveries=1).read_new(decline)
    for command in (
        ("streams", "--match", stream), ("inspect", stream), ("entries", stream),
        ("dead-letters", "list", stream),
    ):  # fmt: skip
        done = redisflow(*command)
        assert done.status == 0, done.err
        assert len(done.out) < 5_000


def test_tls_to_a_port_without_it_is_explained(own_lab: Lab, redisflow: Redisflow) -> None:
    url = own_lab.url.replace("redis://", "rediss://")
    done = redisflow("streams", url=f"{url}?socket_timeout=0.5")
    assert done.status == 1
    assert "TLS" in done.sentence
    assert "Traceback" not in done.err


def test_only_names_with_nothing_pending_are_pruned(
    lab: Lab, stream: str, publish: Publish, redisflow: Redisflow
) -> None:
    publish("a")
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"})
    lab.redis.xgroup_createconsumer(stream, "billing", "bob")
    arguments = ("consumers", "prune", stream, "billing", "--idle", "0s")
    (dry,) = redisflow(*arguments, "--dry-run", "--json").json
    assert dry == {"consumer": "bob", "removed": False}
    (done,) = redisflow(*arguments, "--yes", "--json").json
    assert done == {"consumer": "bob", "removed": True}
    assert list(lab.consumers(stream)["consumer"]) == ["alice"]


def test_a_stream_is_trimmed_up_to_what_is_pending(
    lab: Lab, stream: str, publish: Publish, redisflow: Redisflow
) -> None:
    publish(*numbered(6))
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=4)
    lab.redis.xack(stream, "billing", *lab.pending(stream)["entry_id"][:2])
    unasked = redisflow("trim", stream, "--maxlen", 1)
    assert (unasked.status, "Add --yes" in unasked.sentence) == (2, True)
    assert lab.redis.xlen(stream) == 6
    done = redisflow("trim", stream, "--maxlen", 1, "--yes", "--json").json
    assert done == {
        "removed": 2,
        "pending": 0,
        "held_by_pending": True,
        "held_by": "billing",
        "length": 4,
    }
    text = redisflow("trim", stream, "--maxlen", 1, "--even-pending", "--yes").out
    assert "3 entries removed, 1 left. Of these, 2 were pending" in " ".join(text.split())
    neither = redisflow("trim", stream, "--yes")
    assert (neither.status, "give one of --maxlen" in neither.sentence) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("inspect", "MISSING"), 1, "no stream 'MISSING'"),
        (("pending", "STREAM", "nobody"), 1, "no group 'nobody'"),
        (("pending", "STREAM", "billing", "--idle", "soon"), 2, "'soon' is no duration"),
        (("entries", "STREAM", "--from", "yesterday"), 1, "Invalid stream ID"),
        (("dead-letters", "show", "STREAM", "5"), 1, "must be an entry id"),
        (("inspect", "LIST"), 1, "is a list and not a stream"),
        (("entries", "LIST"), 1, "WRONGTYPE"),
        (("trim", "LIST", "--maxlen", "1", "--yes"), 1, "WRONGTYPE"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_one_sentence(
    lab: Lab,
    stream: str,
    redisflow: Redisflow,
    arguments: tuple[str, ...],
    status: int,
    says: str,
) -> None:
    lab.redis.xgroup_create(stream, "billing", id="0", mkstream=True)
    lab.redis.rpush(f"{stream}:list", "a")
    names = {"STREAM": stream, "LIST": f"{stream}:list", "MISSING": f"{stream}:missing"}
    done = redisflow(*(names.get(argument, argument) for argument in arguments))
    assert done.status == status, done.err
    assert says.replace("MISSING", names["MISSING"]) in done.sentence
    assert "Traceback" not in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://localhost:1", "no server answers at localhost:1"),
        ("http://localhost", "is not the URL of a server"),
        ("redis://:p%40ss@localhost:port/0", "is not the URL of a server"),
    ],
)
def test_an_address_that_leads_nowhere_is_explained(
    redisflow: Redisflow, url: str, says: str
) -> None:
    done = redisflow("streams", url=url)
    assert done.status != 0
    assert says in done.sentence
    assert "p%40ss" not in done.err
    assert "Traceback" not in done.err


def test_a_password_comes_from_the_environment_or_a_prompt_and_is_never_shown(
    own_lab: Lab, redisflow: Redisflow
) -> None:
    own_lab.redis.execute_command("ACL", "SETUSER", "ops", "on", ">tell nobody", "~*", "+@all")
    port = own_lab.server.port
    url = f"redis://ops@127.0.0.1:{port}/0"
    assert redisflow("streams", "--json", url=url, REDISFLOW_PASSWORD="tell nobody").json == []
    refused = redisflow("streams", url=url, REDISFLOW_PASSWORD="a guess")
    assert (refused.status, "rejects the user or the password" in refused.sentence) == (1, True)
    without = redisflow("streams", url=url)
    assert (without.status, "password" in without.sentence) == (1, True)
    parent, child = pty.openpty()
    asked = subprocess.Popen(
        [sys.executable, "-m", "redisflow_lab", "streams", "--json", "--url", url],
        stdin=child, stdout=subprocess.PIPE, stderr=child, text=True, start_new_session=True,
        env={**os.environ, "REDISFLOW_URL": ""},
    )  # fmt: skip
    os.close(child)
    said = os.read(parent, 1_000).decode()

    def typed_in() -> bool:  # what is typed before the echo is off is thrown away
        os.write(parent, b"tell nobody\n")
        return asked.poll() is not None

    own_lab.wait_until(typed_in, "it has taken the password")
    out, _ = asked.communicate()
    os.close(parent)
    assert "Password" in said
    assert json.loads(out) == []
    assert "tell nobody" not in said + out


def test_a_closed_pipe_and_a_narrow_terminal_are_no_error(
    lab: Lab, stream: str, publish: Publish, redisflow: Redisflow
) -> None:
    publish(*("x" * 500 for _ in range(500)))
    command = f"{sys.executable} -m redisflow_lab entries {stream} --count 500 --json | head -1"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, check=True,
        env={**os.environ, "REDISFLOW_URL": lab.url},
    )  # fmt: skip
    assert done.stdout == "[\n"
    assert "Traceback" not in done.stderr
    narrow = redisflow("entries", stream, COLUMNS="40")
    assert narrow.status == 0


def test_the_permissions_that_the_page_names_are_enough(
    own_lab: Lab, consumer: NewConsumer, publish: Publish, redisflow: Redisflow
) -> None:
    consumer()
    publish("a", "b")
    looking, *more = (
        re.findall(r"\+\S+[a-z]", sentence) for sentence in PERMISSIONS.split(". ")
    )
    url = f"redis://ops:pw@127.0.0.1:{own_lab.server.port}/0"

    def allow(*commands: str) -> None:
        own_lab.redis.execute_command(
            "ACL", "SETUSER", "ops", "reset", "on", ">pw", "~orders*", *looking, *commands
        )

    allow()
    for command in (
        ("inspect", "orders"), ("entries", "orders"), ("entries", "orders", "--newest"),
        ("pending", "orders", "billing"), ("dead-letters", "list", "orders"),
    ):  # fmt: skip
        done = redisflow(*command, url=url)
        assert done.status == 0, (command, done.err)
    trim = ("trim", "orders", "--maxlen", 1, "--yes")
    refused = redisflow(*trim, url=url)
    assert (refused.status, "eval" in refused.sentence.lower()) == (1, True)
    allow(*(command for sentence in more for command in sentence))
    own_lab.redis.xadd("secret", {"data": "x"})
    rows = redisflow("streams", "--seconds", 0, "--json", url=url).json
    assert [(row["stream"], row["length"]) for row in rows] == [("orders", 2), ("secret", None)]
    assert redisflow(*trim, url=url).status == 0
    assert own_lab.redis.xlen("orders") == 1
    assert redisflow("watch", "orders", "--count", 1, url=url).status == 0
    prune = ("consumers", "prune", "orders", "billing", "--idle", "0", "--yes", "--json")
    assert redisflow(*prune, url=url).json == [{"consumer": "alice", "removed": True}]


def keys_of(value: Any) -> set[str]:
    """Every key in a document."""
    if isinstance(value, dict):
        return {*value}.union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


def documented_names() -> set[str]:
    """Every key that docs/cli.md names, and more."""
    names = re.findall(r'`"?(\w+)"?`|"(base64)"', DOCUMENTED)
    return {name for pair in names for name in pair}


def test_the_page_names_each_key_that_is_printed(
    lab: Lab, stream: str, letters: list[str], redisflow: Redisflow
) -> None:
    lab.redis.xadd(stream, {"data": b"\xff"})
    (letter, *_) = redisflow("dead-letters", "list", stream, "--json").json
    commands = [
        ("streams", "--seconds", "0"), ("inspect", stream), ("entries", stream),
        ("watch", stream, "--count", "1"), ("entries", stream, "--raw"),
        ("pending", stream, "billing"),
        ("dead-letters", "show", stream, letter["letter_id"]),
        ("dead-letters", "redrive", stream, letter["letter_id"], "--yes"),
        ("dead-letters", "discard", stream, "--all", "--yes"),
        ("consumers", "prune", stream, "billing", "--idle", "0", "--yes"),
        ("groups", "delete", stream, "billing", "--dry-run"),
        ("trim", stream, "--acknowledged", "--yes"),
    ]  # fmt: skip
    printed = set().union(
        *(keys_of(redisflow(*command, "--json").json) for command in commands)
    )
    assert printed <= documented_names()


def test_groups_are_watched_while_the_server_goes_and_comes(
    own_lab: Lab, publish: Publish, tmp_path: Path
) -> None:
    publish("a", "b", "c")
    own_lab.redis.xgroup_create("orders", "billing", id="0")
    watcher = subprocess.Popen(
        [sys.executable, "-m", "redisflow_lab", "watch", "orders", "other", "--every", "0.05",
         "--json"],
        env={**os.environ, "REDISFLOW_URL": own_lab.url}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watcher.stdout is not None
    samples = map(json.loads, watcher.stdout)
    try:
        orders, other = next(samples)["streams"]
        assert "no stream 'other'" in other["problem"]
        (billing,) = orders["groups"]
        assert (billing["lag"], billing["pending"], billing["read_per_s"]) == (3, 0, None)
        assert 0 < billing["lag_s"] < 60
        own_lab.redis.xreadgroup("billing", "alice", {"orders": ">"})
        read = next(s for s in samples if s["streams"][0]["groups"][0]["pending"] == 3)
        (billing,) = read["streams"][0]["groups"]
        assert (billing["lag"], billing["lag_s"], billing["consumers"]) == (0, 0.0, 1)
        own_lab.server.kill()
        # The proxy of a container may accept connections for a moment longer, and close them.
        no_answer = "no server answers"
        assert any(no_answer in sample["problem"] for sample in samples if sample["problem"])
        own_lab.server.start()
        assert next(s for s in samples if not s["problem"])["streams"][0]["length"] == 3
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(10) == 0
    finally:
        watcher.kill()
        watcher.wait()


def test_nothing_reads_a_whole_stream(
    own_lab: Lab, consumer: NewConsumer, redisflow: Redisflow
) -> None:
    fields: Any = Message("web", "x" * 100).to_fields()
    pipeline = own_lab.redis.pipeline(transaction=False)
    for _ in range(20_000):
        pipeline.xadd("orders", fields)
    pipeline.execute()
    consumer()
    own_lab.redis.xreadgroup("billing", "alice", {"orders": ">"}, count=5_000)

    def sent() -> int:
        return int(own_lab.redis.info("stats")["total_net_output_bytes"])  # type: ignore[index]

    for command in (
        ("streams", "--seconds", "0"), ("inspect", "orders"), ("entries", "orders"),
        ("pending", "orders", "billing"), ("watch", "orders", "--count", "1"),
        ("trim", "orders", "--maxlen", "100", "--yes"),
        ("trim", "orders", "--maxlen", "100", "--even-pending", "--yes"),
    ):  # fmt: skip
        before = sent()
        assert redisflow(*command).status == 0
        assert sent() - before < 100_000, command


def test_a_trim_says_which_group_holds_the_rest(
    lab: Lab, stream: str, publish: Publish, redisflow: Redisflow
) -> None:
    publish(*numbered(10))
    for group in ("billing", "audit"):
        lab.redis.xgroup_create(stream, group, id="0")
    trim = ("trim", stream, "--acknowledged", "--yes")
    assert "audit holds the rest: it has not read 10 entries" in redisflow(*trim).out
    lab.redis.xgroup_destroy(stream, "audit")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=6)
    lab.age(stream=stream)
    first, *_ = lab.pending(stream)["entry_id"]
    said = f"billing holds the rest: 6 pending, the oldest is {first}, idle for 1h"
    assert said in redisflow(*trim).out
    assert redisflow(*trim, "--json").json["held_by"] == "billing"
    lab.redis.xack(stream, "billing", *lab.pending(stream)["entry_id"])
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, noack=True)
    assert redisflow(*trim, "--json").json["held_by"] is None


def test_a_trim_that_may_not_be_explained_is_no_failure(
    own_lab: Lab, publish: Publish, redisflow: Redisflow
) -> None:
    publish(*numbered(3))
    own_lab.redis.xgroup_create("orders", "billing", id="0")
    own_lab.redis.execute_command(
        "ACL", "SETUSER", "ops", "reset", "on", ">pw", "~*", "+@all", "-time"
    )
    url = f"redis://ops@127.0.0.1:{own_lab.server.port}/0"
    trim = ("trim", "orders", "--acknowledged", "--yes")
    done = redisflow(*trim, url=url, REDISFLOW_PASSWORD="pw")
    assert (done.status, done.err) == (0, "")
    assert done.out == "0 entries removed, 3 left.\nbilling holds the rest.\n"


def test_more_pending_entries_than_are_shown_are_mentioned(
    lab: Lab, stream: str, publish: Publish, redisflow: Redisflow
) -> None:
    publish(*numbered(5))
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"})
    pending = ("pending", stream, "billing", "--count")
    assert "There are more than these 3" in redisflow(*pending, "3").out
    assert "There are more" not in redisflow(*pending, "5").out
    assert len(redisflow(*pending, "3", "--json").json) == 3


def test_a_full_server_is_said(own_lab: Lab, publish: Publish, redisflow: Redisflow) -> None:
    publish("a")
    assert "maxmemory" not in redisflow("streams").out
    own_lab.redis.config_set("maxmemory", 10**9)
    assert "% of its maxmemory of 1,000,000,000 bytes." in redisflow("streams").out
    own_lab.redis.config_set("maxmemory", 1_000)
    assert "it is full, and refuses writes" in redisflow("streams").out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads its memory from /proc")
def test_a_stream_of_a_million_entries_takes_two_seconds_and_60_mb(
    own_lab: Lab, consumer: NewConsumer, tmp_path: Path
) -> None:
    producer = RedisStreamProducer(own_lab.redis, "orders")
    for _ in range(10):
        producer.publish_many(repeat(Message("web", "x" * 100), 100_000))
    consumer()
    own_lab.redis.xreadgroup("billing", "alice", {"orders": ">"}, count=10_000)
    # Not ru_maxrss: in it Linux counts what the parent had when it started this process.
    measure = (
        "import os, sys; from pathlib import Path; from redisflow_lab.cli import main\n"
        "try: main()\n"
        "finally:\n"
        "    status = Path('/proc/self/status').read_text()\n"
        "    print(sum(os.times()[:2]), status.split('VmHWM:')[1].split()[0], file=sys.stderr)"
    )
    for command in (
        ("streams", "--seconds", "0"), ("inspect", "orders"), ("entries", "orders"),
        ("pending", "orders", "billing"), ("watch", "orders", "--count", "1"),
        ("publish", "orders", "--producer", "web", "--content", "x"),
        ("dead-letters", "list", "orders"),
        ("consumers", "prune", "orders", "billing", "--idle", "1h", "--yes"),
        ("trim", "orders", "--acknowledged", "--yes"),
        ("trim", "orders", "--maxlen", "990000", "--even-pending", "--yes"),
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", measure, *command], capture_output=True, text=True,
            env={**os.environ, "REDISFLOW_URL": own_lab.url}, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        seconds, kb = map(float, done.stderr.splitlines()[-1].split())
        assert (seconds < 2, kb < 60 * 1_024) == (True, True), (command, seconds, kb)
