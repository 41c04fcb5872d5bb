"""Exercises: untouched, solved and wrong answers, judged by the state of the server."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from textwrap import dedent
from time import monotonic
from typing import Any

import pytest
from redis.exceptions import NoPermissionError
from several import lab_of

from redisflow_lab import Delivery, Message
from redisflow_lab.capabilities import unsupported
from redisflow_lab.lab import Lab
from redisflow_lab.lab.chapters import read_layout
from redisflow_lab.lab.workshop import Task, exercise
from redisflow_lab.lab.workshop.chapters import CHAPTERS, EXERCISES
from redisflow_lab.lab.workshop.exercise import Wrong, counted
from redisflow_lab.lab.workshop.progress import Progress
from redisflow_lab.lab.workshop.tasks import Exercises
from redisflow_lab.lab.workshop.verdict import Outcome

pytestmark = pytest.mark.by_server

WRONG = [
    pytest.param(id_, wrong, id=f"{id_}: {wrong.what}")
    for id_, found in EXERCISES.items()
    for wrong in found.wrong
]


NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
ON_THEIR_OWN = {
    chapter.number
    for chapter in CHAPTERS
    if r"Lab(\"own\")" in (NOTEBOOKS / chapter.file).read_text()
}
"""Chapters that change their server, and so have one that is theirs."""

LAYOUTS = {
    chapter.number: layout
    for chapter in CHAPTERS
    if (layout := read_layout(NOTEBOOKS / chapter.file))
}
"""Which servers the lab has, in chapters in which it has several."""


@pytest.fixture(scope="module")
def several() -> Iterator[Callable[[str], Lab]]:
    """Gives the lab that a chapter with several servers takes: one for all its exercises."""
    with ExitStack() as stack:
        open_lab = cache(lambda number: stack.enter_context(lab_of(**LAYOUTS[number])))
        yield open_lab


@pytest.fixture
def task(request: pytest.FixtureRequest) -> Iterator[Task]:
    """On the server that the exercise's chapter takes: the shared one, or its own."""
    exercise_id = request.getfixturevalue("exercise_id")
    lab: Lab
    if (number := exercise_id[:2]) in LAYOUTS:
        lab = request.getfixturevalue("several")(number)
    else:
        lab = request.getfixturevalue("own_lab" if number in ON_THEIR_OWN else "lab")
    skip_if_unsupported(lab, exercise_id)
    task = exercise(exercise_id, lab)
    yield task
    lab.kill_workers(task.orders)


def skip_if_unsupported(lab: Lab, exercise_id: str) -> None:
    if missing := unsupported(lab.redis, EXERCISES[exercise_id].needs):
        pytest.skip(f"{lab.server.label} does not support {', '.join(missing)}")


def do(task: Task, code: str) -> None:
    """Run code of a learner's cell."""
    exec(dedent(code), {"task": task})


@pytest.mark.parametrize("exercise_id", EXERCISES)
def test_a_task_that_was_not_touched_is_not_attempted(task: Task, exercise_id: str) -> None:
    verdict = task.check()
    assert verdict.outcome is Outcome.NOT_ATTEMPTED
    assert EXERCISES[exercise_id].goal in verdict.text


@pytest.mark.parametrize("exercise_id", EXERCISES)
def test_the_solution_passes_however_often_it_is_checked(task: Task, exercise_id: str) -> None:
    do(task, EXERCISES[exercise_id].solution)
    for _ in range(2):
        verdict = task.check()
        assert verdict.outcome is Outcome.PASSED, verdict
        assert EXERCISES[exercise_id].why in verdict.text


def may_ask_for_commands(task: Task) -> bool:
    try:
        return bool(task.redis.info("commandstats"))
    except NoPermissionError:
        return False


@pytest.mark.parametrize(("exercise_id", "wrong"), WRONG)
def test_a_wrong_answer_fails_with_a_message_of_its_own(
    task: Task, exercise_id: str, wrong: Wrong
) -> None:
    do(task, wrong.code)
    verdict = task.check()
    if verdict.outcome is Outcome.NOT_ATTEMPTED and not may_ask_for_commands(task):
        pytest.skip("it changes nothing, and this user may not ask which commands there were")
    assert verdict.outcome is Outcome.FAILED, verdict
    assert wrong.says in verdict.text
    assert "task.hint()" in verdict.text


@pytest.mark.parametrize("exercise_id", EXERCISES)
def test_an_exercise_has_three_wrong_answers_that_are_told_apart(exercise_id: str) -> None:
    said = [wrong.says for wrong in EXERCISES[exercise_id].wrong]
    assert len(said) >= 3
    assert not [(one, other) for one in said for other in said if one != other and one in other]
    assert len(set(said)) == len(said)


NEEDS_NO_NEW_ORDERS = [
    "30-known", "30-on-call", "31-day", "31-safe", "31-forgotten", "32-acknowledge", "32-bound",
]  # fmt: skip


@pytest.mark.parametrize("exercise_id", NEEDS_NO_NEW_ORDERS)
def test_a_cell_of_another_task_that_published_to_this_one_is_noticed(
    task: Task, exercise_id: str
) -> None:
    """`task` is the one that was set last, also in a cell further up that is run again."""
    do(task, EXERCISES[exercise_id].solution)
    pipe = task.redis.pipeline(transaction=False)
    for _ in range(300):
        pipe.xadd(task.orders, {"data": "x"})
    pipe.execute()
    verdict = task.check()
    assert verdict.outcome is Outcome.FAILED
    assert "the one that was set last" in verdict.text


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (counted(1, "order"), "1 order"),
        (counted(0, "order"), "0 orders"),
        (counted(2, "order was", "orders were"), "2 orders were"),
        (counted(1, "order was", "orders were"), "1 order was"),
    ],
)
def test_a_number_agrees_with_its_noun(said: str, expected: str) -> None:
    assert said == expected


@pytest.mark.parametrize("exercise_id", EXERCISES)
def test_an_exercise_has_three_hints_and_does_not_give_away_its_solution(
    task: Task, exercise_id: str
) -> None:
    hints = [task.hint().text for _ in range(4)]
    assert len(set(hints)) == 3
    assert hints[2] == hints[3]
    assert max(map(len, repr(task).splitlines())) <= 76
    assert EXERCISES[exercise_id].solution not in " ".join(hints) + repr(task)
    assert task.solution().code == EXERCISES[exercise_id].solution


def test_setting_a_task_again_begins_anew_and_ends_its_workers(lab: Lab) -> None:
    first = exercise("04-after-delivery", lab)
    worker = first.worker("alice", first.bill)
    worker.wait_for("acked", 3)
    second = exercise("04-after-delivery", lab)
    assert worker.ended
    assert second.check().outcome is Outcome.NOT_ATTEMPTED


def test_a_handler_may_use_the_task(lab: Lab) -> None:
    task = exercise("04-after-delivery", lab)

    def bill(delivery: Delivery) -> None:
        task.redis.rpush(task.key("invoices"), delivery.message.content)
        task.bill(delivery)

    task.worker("alice", bill).wait_for("acked", 3)
    assert lab.redis.llen(task.invoices) == 6


def test_an_exercise_that_does_not_exist_is_named_with_the_nearest(lab: Lab) -> None:
    with pytest.raises(KeyError, match=r"'04-after-deliver'.* nearest is '04-after-delivery'"):
        exercise("04-after-deliver", lab)


@pytest.mark.parametrize("end", ["kill", "close"])
def test_a_check_of_a_server_that_is_down_says_so_soon(own_lab: Lab, end: str) -> None:
    task = exercise("04-after-delivery", own_lab)
    own_lab.server.kill() if end == "kill" else own_lab.close()
    began = monotonic()
    verdict = task.check()
    assert monotonic() - began < 10
    assert verdict.outcome is Outcome.ERROR
    assert "lab.server.start()" in verdict.text


def test_a_task_that_cannot_be_set_says_that_the_server_is_down(own_lab: Lab) -> None:
    own_lab.server.kill()
    with pytest.raises(ConnectionError, match=r"the server is down: .*lab\.server\.start\(\)"):
        exercise("04-after-delivery", own_lab)


def test_a_stream_that_the_learner_deleted_is_named(lab: Lab) -> None:
    task = exercise("04-after-delivery", lab)
    lab.redis.delete(task.orders)
    assert "is gone" in task.check().text


def test_a_verdict_does_not_need_colour_and_is_shown_escaped(lab: Lab) -> None:
    task = exercise("04-after-delivery", lab)
    lab.redis.rpush(task.invoices, "<b>1</b>")
    verdict = task.check()
    assert repr(verdict).startswith("✗ Not yet. ")
    assert "✗ Not yet. " in verdict._repr_html_()
    assert "<b>" not in verdict._repr_html_()


def test_a_task_names_its_hints_and_shows_no_marks_of_markdown(lab: Lab) -> None:
    """Code in a text is marked with backticks for the guide, which is Markdown."""
    task = exercise("05-replay", lab)
    assert "task.hint()" in repr(task)
    task.hint()
    hint = task.hint()
    assert "XREADGROUP with 0 gives" in repr(hint)
    assert "<code>0</code>" in hint._repr_html_()
    assert "`" not in repr(hint) + hint._repr_html_()


def test_what_was_checked_and_shown_is_kept(lab: Lab, tmp_path: Path) -> None:
    task = Exercises(lambda: Progress(tmp_path)).exercise("04-after-delivery", lab)
    task.check()
    task.hint()
    do(task, EXERCISES["04-after-delivery"].solution)
    task.check()
    known = Progress(tmp_path).read("exercises", "04-after-delivery")
    assert known == {"checks": 2, "outcome": "passed", "passed": True, "hints": 1}
    lab.redis.delete(task.orders)
    assert task.check().outcome is Outcome.ERROR
    task.solution()
    known = Progress(tmp_path).read("exercises", "04-after-delivery")
    assert known["passed"] is True
    assert known["solution_shown"] is True


@pytest.mark.parametrize("kind", ["bytes that are no text", "another type", "no message"])
def test_something_that_cannot_be_read_is_told_and_not_raised(lab: Lab, kind: str) -> None:
    task = exercise("04-after-delivery", lab)
    if kind == "another type":
        lab.redis.set(task.invoices, "1 x Dune")
    elif kind == "no message":
        lab.redis.xadd(task.orders, {"line": "1 x Dune"})
    lab.redis.rpush(task.orders + ":other", b"\xff")
    if kind == "bytes that are no text":
        lab.redis.rpush(task.invoices, b"\xff\xfe")
    lab.worker("alice", lambda _: None, stream=task.orders).wait_for("acked", 3)
    verdict = task.check()
    assert verdict.outcome is Outcome.FAILED
    lab.kill_workers(task.orders)


def test_a_verdict_is_shown_although_progress_cannot_be_kept(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "progress.json").mkdir()
    task = Exercises(lambda: Progress(tmp_path)).exercise("04-after-delivery", lab)
    assert task.check().outcome is Outcome.NOT_ATTEMPTED
    assert "Your progress cannot be kept" in capsys.readouterr().out


def test_a_backlog_that_was_read_at_once_is_told_where_the_server_counts_reads(
    own_lab: Lab,
) -> None:
    task = exercise("03-backlog", own_lab)
    found: Any = own_lab.redis.xreadgroup("billing", "alice", {task.orders: ">"})
    for entry_id, fields in found[0][1]:
        own_lab.redis.rpush(task.invoices, Message.from_fields(fields).content)
        own_lab.redis.xack(task.orders, "billing", entry_id)
    assert "Reads of at most ten" in task.check().text
