"""Predictions are noted before, and answered after; nothing of them is lost."""

import json
from collections.abc import Callable
from math import inf, nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from consumers import all_at_once

from redisflow_lab.lab.workshop.chapters import PREDICTIONS
from redisflow_lab.lab.workshop.predictions import Predictions
from redisflow_lab.lab.workshop.progress import Progress

Said = Callable[[], str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """What was printed since the last time."""
    return lambda: capsys.readouterr().out


@pytest.fixture
def learner() -> Predictions:
    """One whose notebook is in no folder of hers: it lasts as long as the kernel."""
    progress = Progress(None)
    return Predictions(lambda: progress)


def learner_in(folder: Path) -> Predictions:
    """One whose kernel has just been started."""
    return Predictions(lambda: Progress(folder))


@pytest.mark.parametrize(
    ("predicted", "actual"),
    [
        (3, 3),
        (3.0, 3),
        ("Dune ", "dune"),
        ("3", 3),
        ([1, 2], (1, 2)),
        ("a", b"a"),
        (None, None),
        ([0], 0),
        ("5, 1", [5, 1]),
        (["5", "1"], [5, 1]),
    ],
)
def test_a_right_prediction_is_told_so_without_an_explanation(
    learner: Predictions, said: Said, predicted: object, actual: object
) -> None:
    learner.predict("04-bob", predicted)
    assert said().startswith("Noted: ")
    learner.reveal("04-bob", actual)
    assert said().endswith("   (as you predicted)\n")


@pytest.mark.parametrize("predicted", [3, [3, 4], True])
def test_a_wrong_one_is_told_why_people_think_so(
    learner: Predictions, said: Said, predicted: object
) -> None:
    learner.predict("04-bob", predicted)
    said()
    learner.reveal("04-bob", 0)
    first, *why = said().splitlines()
    assert first.startswith("0   (you predicted ")
    assert " ".join(why) == PREDICTIONS["04-bob"]


@pytest.mark.parametrize(
    ("predicted", "actual", "because"),
    [
        ("none of them", 0, "the answer is a number"),
        (None, 0, "the answer is a number"),
        (4, "6-2", "the answer is a text, in quotes"),  # 6-2 without quotes
        (5, [5, 1], "the answer is a list"),
    ],
)
def test_what_could_not_be_right_is_not_counted_as_wrong(
    tmp_path: Path, said: Said, predicted: object, actual: object, because: str
) -> None:
    learner = learner_in(tmp_path)
    learner.predict("04-bob", predicted)
    said()
    learner.reveal("04-bob", actual)
    assert f"not counted, as {because}" in said()
    assert Progress(tmp_path).read("predictions", "04-bob")["right"] is None


def test_without_a_prediction_the_value_is_shown_all_the_same(
    learner: Predictions, said: Said
) -> None:
    learner.predict("04-bob", ...)
    assert "in the place of the dots" in said()
    learner.reveal("04-bob", 0)
    assert said() == "0   (no prediction)\n"


@pytest.mark.parametrize(
    "value",
    [
        nan, inf, "x" * 10_000, {"a": 1}, print, [object()], [1] * 1_000,
        pytest.param(10**5_000, id="a number of 5,000 digits"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_prediction_is_not_noted(
    learner: Predictions, said: Said, value: object
) -> None:
    learner.predict("04-bob", 7)
    said()
    learner.predict("04-bob", value)
    assert said().startswith("This was not noted: ")
    learner.reveal("04-bob", 7)
    assert "as you predicted" in said()


def test_a_name_that_does_not_exist_is_named_with_the_nearest(learner: Predictions) -> None:
    for call in (learner.predict, learner.reveal):
        with pytest.raises(KeyError, match=r"no prediction '04-bop'; the nearest is '04-bob'"):
            call("04-bop", 1)


def test_it_survives_a_restart_of_the_kernel(tmp_path: Path, said: Said) -> None:
    learner_in(tmp_path / "work").predict("04-bob", 0)
    said()
    learner_in(tmp_path / "work").reveal("04-bob", 0)
    assert "as you predicted" in said()


def test_two_notebooks_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    names = [f"prediction {number}" for number in range(40)]
    all_at_once(
        [
            lambda name=name: Progress(tmp_path).write("predictions", name, predicted=1)  # type: ignore[misc]
            for name in names
        ]
    )
    assert set(json.loads((tmp_path / "progress.json").read_text())["predictions"]) == {*names}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "not a progress file"),
        (b'{"version": 1}', "not a progress file"),
        (
            b'{"version": 99, "predictions": {}, "exercises": {}, "stages": {}}',
            "a newer version",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_put_aside_and_not_lost(
    tmp_path: Path, said: Said, content: bytes, problem: str
) -> None:
    for number in (1, 2):
        (tmp_path / "progress.json").write_bytes(content)
        learner_in(tmp_path).predict("04-bob", 0)
        assert problem in said()
        assert (tmp_path / f"progress-{number}.json").read_bytes() == content
    learner_in(tmp_path).reveal("04-bob", 0)
    assert "as you predicted" in said()


def test_it_is_kept_where_the_learner_works_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDISFLOW_WORK", raising=False)
    monkeypatch.chdir(tmp_path)
    Progress.here().write("predictions", "04-bob", predicted=1)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("REDISFLOW_WORK", str(tmp_path / "work"))
    Progress.here().write("predictions", "04-bob", predicted=1)
    monkeypatch.delenv("REDISFLOW_WORK")
    monkeypatch.chdir(tmp_path / "work")
    assert Progress.here().read("predictions", "04-bob") == {"predicted": 1}


@pytest.mark.parametrize("actual", [np.int64(3), pd.Series([3]), np.array([3, 4]), {1, 2}])
def test_a_value_out_of_a_table_is_shown(
    learner: Predictions, said: Said, actual: object
) -> None:
    learner.predict("04-bob", np.int64(3))
    assert said() == "Noted: 3\n"
    learner.reveal("04-bob", actual)
    assert "3" in said() or isinstance(actual, set)


def test_the_first_reveal_counts(tmp_path: Path, said: Said) -> None:
    learner = learner_in(tmp_path)
    learner.predict("04-bob", 0)
    learner.reveal("04-bob", 0)
    said()
    learner.reveal("04-bob", 2)
    assert said() == "2   (you predicted 0; counted before)\n"
    assert Progress(tmp_path).read("predictions", "04-bob")["right"] is True
    learner.predict("04-bob", 1)
    assert said() == "You predicted 0 before the answer was shown. That one counts.\n"
    learner.reveal("04-bob", 1)
    assert Progress(tmp_path).read("predictions", "04-bob") == {
        "predicted": 0, "right": True, "actual": 0,
    }  # fmt: skip


def test_several_values_belong_into_a_list(learner: Predictions, said: Said) -> None:
    learner.predict("04-bob", 6, 0)
    assert said() == "Put them into one list, [6, 0].\n"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target = tmp_path / "synchronised.json"
    (tmp_path / "progress.json").symlink_to(target)
    Progress(tmp_path).write("predictions", "04-bob", predicted=1)
    assert "04-bob" in target.read_text()
    assert (tmp_path / "progress.json").is_symlink()
