"""Exercises: untouched, solved and wrong answers, judged by the state of the server."""

from collections.abc import Iterator
from textwrap import dedent
from time import monotonic

import pytest

from redisflow_lab.lab import Lab
from redisflow_lab.lab.workshop import Task, exercise
from redisflow_lab.lab.workshop.chapters import EXERCISES
from redisflow_lab.lab.workshop.verdict import Outcome

WRONG = [(id_, name) for id_, found in EXERCISES.items() for name in found.wrong]


@pytest.fixture
def task(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Task]:
    task = exercise(request.getfixturevalue("exercise_id"), lab)
    yield task
    lab.kill_workers(task.orders)


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


@pytest.mark.parametrize(("exercise_id", "name"), WRONG)
def test_a_wrong_answer_fails_with_a_command_that_shows_it(
    task: Task, exercise_id: str, name: str
) -> None:
    do(task, EXERCISES[exercise_id].wrong[name])
    verdict = task.check()
    assert verdict.outcome is Outcome.FAILED, verdict
    assert "task.hint()" in verdict.text


@pytest.mark.parametrize("exercise_id", EXERCISES)
def test_each_wrong_answer_gets_a_message_of_its_own(lab: Lab, exercise_id: str) -> None:
    said = []
    for code in EXERCISES[exercise_id].wrong.values():
        task = exercise(exercise_id, lab)
        do(task, code)
        said.append(task.check().text)
        lab.kill_workers(task.orders)
    assert len(set(said)) == len(said) >= 3


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
