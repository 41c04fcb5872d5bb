"""The stages of a learner's consumer: who passes, who fails where, and who misbehaves."""

import os
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from threading import Event
from time import monotonic

import psutil
import pytest

from redisflow_lab.lab import Lab
from redisflow_lab.lab.waiting import wait_until
from redisflow_lab.lab.workshop.exercise import NotYetError
from redisflow_lab.lab.workshop.grading.arena import Arena
from redisflow_lab.lab.workshop.grading.grader import grade
from redisflow_lab.lab.workshop.grading.stages import STAGES, Stage
from redisflow_lab.lab.workshop.progress import Progress

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("process_server")]

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
PLAIN = (EXAMPLES / "plain_consumer.py").read_text()

MUTANTS: dict[str, tuple[int, list[tuple[str, str]], str]] = {
    "acknowledges first": (
        1,
        [
            (
                "            try:\n                self.handle(",
                "            try:\n"
                "                self.r.xack(self.stream, self.group, entry_id)\n"
                "                self.handle(",
            )
        ],
        "acknowledged before it was handled",
    ),
    "never acknowledges": (
        1,
        [
            (
                "                self.r.xack(self.stream, self.group, entry_id)\n",
                "                pass\n",
            )
        ],
        "5 pending",
    ),
    "acknowledges to another group": (
        1,
        [
            (
                "self.r.xack(self.stream, self.group, entry_id)",
                'self.r.xack(self.stream, "x", entry_id)',
            )
        ],
        "check whether XACK is sent to the group of --group.",
    ),
    "acknowledges what failed": (
        2,
        [
            (
                "            else:\n                self.r.xack",
                "            finally:\n                self.r.xack",
            )
        ],
        "acknowledged all the same",
    ),
    "ends at the first failure": (
        2,
        [
            (
                "                self.give_up_if_it_failed_too_often(entry_id, fields)\n",
                "                raise\n",
            )
        ],
        "it ended with exit 1",
    ),
    "does not replay": (
        3,
        [("                self.replay()\n", "")],
        "Read your own pending orders",
    ),
    "replays forever": (
        4,
        [
            ("(entries := self.read(last))", "((entries := self.read(last)) or last != '0')"),
            (
                "            last = entries[-1][0]",
                "            last = entries[-1][0] if entries else last",
            ),
        ],
        "go on with `>`",
    ),
    "ends with the server": (
        5,
        [
            (
                "except redis.ConnectionError:  # the server is away: wait, longer each time\n",
                "except ZeroDivisionError:\n",
            ),
            (
                "from_url(options.url)",
                "from_url(options.url, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))",
            ),
            ("import redis\n", "import redis\nimport redis.backoff\nimport redis.retry\n"),
        ],
        "it ended with exit 1",
    ),
    "claims too soon": (
        6,
        [("MIN_IDLE_MS = 5_000", "MIN_IDLE_MS = 2_000")],
        "its owner may be slow",
    ),
    "never claims": (6, [("                    self.claim()\n", "")], "none claims them"),
    "has no limit": (7, [(">= MAX_DELIVERIES", ">= 1_000")], "There are 0 dead letters"),
    "gives up at once": (7, [(">= MAX_DELIVERIES", ">= 2")], "try again before you give up"),
    "has no mark": (
        8,
        [("if redis.call('SET', KEYS[2], '1', 'NX', 'EX', ARGV[2]) then", "if true then")],
        "is there twice",
    ),
    "ignores SIGTERM": (
        9,
        [("lambda *_: consumer.stop.set()", "signal.SIG_IGN")],
        "still runs",
    ),
    "dies of SIGTERM": (
        9,
        [("    signal.signal(signal.SIGTERM, lambda *_: consumer.stop.set())\n", "")],
        "it ended with SIGTERM",
    ),
}


WAITED_FOR = {
    "acknowledges to another group", "never acknowledges", "does not replay",
    "replays forever", "never claims", "has no limit",
}  # fmt: skip
"""What these do not do is waited for, up to the limit: `slow` has them all."""


def graded(
    source: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    stages: Sequence[Stage] = STAGES,
) -> str:
    """What the grader says of a consumer.py with this source."""
    (folder / "consumer.py").write_text(source)
    grade(None, folder, Progress(folder), stages=stages)
    return capsys.readouterr().out


def mutant(name: str) -> str:
    """The source of the plain consumer with one fault."""
    source = PLAIN
    for old, new in MUTANTS[name][1]:
        assert old in source
        source = source.replace(old, new)
    return source


def passed(folder: Path) -> list[bool]:
    """Whether each stage was passed, as far as they were tried."""
    known = Progress(folder).read_all("stages")
    return [known[stage.name]["passed"] for stage in STAGES if stage.name in known]


def test_a_consumer_in_plain_redis_py_passes_all_stages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = graded(PLAIN, tmp_path, capsys)
    assert passed(tmp_path) == [True] * 9, said


@pytest.mark.parametrize("name", sorted(MUTANTS.keys() - WAITED_FOR))
def test_a_consumer_with_one_fault_fails_at_its_stage(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage, _, says = MUTANTS[name]
    said = graded(mutant(name), tmp_path, capsys, stages=STAGES[stage - 1 : stage])
    assert passed(tmp_path) == [False], said
    assert says in " ".join(said.split())


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_consumer_with_one_fault_passes_every_earlier_stage(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage, _, says = MUTANTS[name]
    said = graded(mutant(name), tmp_path, capsys, stages=STAGES[:stage])
    assert passed(tmp_path) == [True] * (stage - 1) + [False], said
    assert says in " ".join(said.split())


@pytest.mark.slow
@pytest.mark.parametrize("program", ["helper", "node"])
def test_other_programs_pass_all_stages(
    program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, str(EXAMPLES / "helper_consumer.py")]
    if program == "node":
        installed = EXAMPLES / "node_consumer" / "node_modules"
        if shutil.which("node") is None or not installed.exists():
            pytest.skip("needs node, and `npm install` in examples/node_consumer")
        command = ["node", str(EXAMPLES / "node_consumer" / "consumer.js")]
    grade(command, tmp_path, Progress(tmp_path))
    assert passed(tmp_path) == [True] * 9, capsys.readouterr().out


IN_ONE_STEP = PLAIN.replace(
    """        self.r.eval(ONCE, 2, self.effects, mark, content, A_DAY_S)
""",
    """        with self.r.pipeline(transaction=True) as step:
            step.set(mark, 1, ex=A_DAY_S)
            step.rpush(self.effects, content)
            step.xack(self.stream, self.group, entry_id)
            step.execute()
""",
)
WITHOUT_A_MARK = PLAIN.replace(
    "if redis.call('SET', KEYS[2], '1', 'NX', 'EX', ARGV[2]) then", "if true then"
)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 6, 8])
def test_who_acknowledges_together_with_the_effect_passes(
    stage: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert IN_ONE_STEP != PLAIN
    said = graded(IN_ONE_STEP, tmp_path, capsys, stages=STAGES[stage - 1 : stage])
    assert passed(tmp_path) == [True], said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "stage"),
    [
        (
            WITHOUT_A_MARK.replace(
                "        self.r.eval(ONCE",
                "        [self.r.ping() for _ in range(20)]\n        self.r.eval(ONCE",
            ),
            8,
        ),
        (
            mutant("acknowledges first").replace(
                "        pause_s = 0.1\n",
                "        self.r.llen(self.effects)\n        pause_s = 0.1\n",
                1,
            ),
            1,
        ),
    ],
    ids=["many commands before each effect", "names the effects at its start"],
)  # fmt: skip
def test_a_fault_is_found_whatever_else_a_program_sends(
    source: str, stage: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = graded(source, tmp_path, capsys, stages=STAGES[stage - 1 : stage])
    assert passed(tmp_path) == [False], said


SLOW_TO_END = "forks, ignores SIGTERM, and prints without end"
MISBEHAVING = {
    "stops the server": (
        "import redis, sys\n"
        "r = redis.Redis.from_url(sys.argv[2])\n"
        "while True: r.shutdown(nosave=True)",
        "Did your program stop it",
    ),
    "does not start": ("raise SystemExit('no such thing')", "ended with exit 1"),
    "is no Python": ("this is no Python (", "SyntaxError"),
    SLOW_TO_END: (
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0: os.setsid()\n"
        "while True: print('x' * 1_000)",
        "it is running",
    ),
    "deletes the stream": (
        "import redis, sys\n"
        "r = redis.Redis.from_url(sys.argv[2])\n"
        "while True: r.delete(sys.argv[4])",
        "must not delete it",
    ),
}


def processes_in(folder: Path) -> list[int]:
    """Ids of the processes whose working directory it is."""
    return [
        process.pid
        for process in psutil.process_iter(["cwd"])
        if process.info["cwd"] == str(folder)
    ]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == SLOW_TO_END else [])
        for name in MISBEHAVING
    ],
)
def test_a_program_that_misbehaves_gets_a_sentence_and_leaves_no_process(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, says = MISBEHAVING[name]
    began = monotonic()
    said = graded(source, tmp_path, capsys, stages=STAGES[:1])
    assert says in " ".join(said.split()), said
    assert max(map(len, said.splitlines())) <= 96
    assert monotonic() - began < 30
    # What was killed may still be on its way out of a busy system.
    wait_until(lambda: not processes_in(tmp_path), "no process of it is left", timeout_s=5)


@pytest.mark.parametrize("question", ["pending", "undelivered", "has_group", "age"])
def test_a_stream_that_a_program_deleted_is_named_whatever_is_asked(
    question: str, tmp_path: Path
) -> None:
    with closing(Lab("own")) as lab:
        arena = Arena(lab, [], tmp_path)
        with pytest.raises(NotYetError, match="must not delete it"):
            getattr(arena, question)()
        arena.publish(1)
        assert arena.pending() == []
        assert not arena.has_group()


def test_a_program_that_forks_again_and_again_is_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of its processes lives for a millisecond, and none is the one that is looked at."""
    source = (
        "import os\n"
        "open('group', 'w').write(str(os.getpgrp()))\n"
        "while True:\n"
        "    with open('forks', 'a') as forks: forks.write('x')\n"
        "    if os.fork(): os._exit(0)"
    )
    said = graded(source, tmp_path, capsys, stages=STAGES[:1])
    forks = tmp_path / "forks"

    def is_over() -> bool:
        before = forks.stat().st_size
        Event().wait(0.2)  # hundreds of forks, if it goes on
        return forks.stat().st_size == before

    try:
        assert "ended with exit 0" in said
        wait_until(is_over, "it has ended", timeout_s=3)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(int((tmp_path / "group").read_text()), signal.SIGKILL)


def test_without_a_program_it_says_how_to_get_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not grade(None, tmp_path, Progress(tmp_path))
    assert "There is no consumer.py" in capsys.readouterr().out


def test_a_command_that_does_not_exist_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grade(["nosuchprogram"], tmp_path, Progress(tmp_path), stages=STAGES[:1])
    assert "nosuchprogram" in capsys.readouterr().out
