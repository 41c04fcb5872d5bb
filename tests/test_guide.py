"""The instructor's guide says what the chapters say, and its plans add up."""

import re

import pytest
from PIL import Image

from redisflow_lab.lab.workshop.chapters import CHAPTERS
from tools.guide.__main__ import GUIDE, updated
from tools.guide.agendas import AGENDAS, LONGEST_WITHOUT_BREAK, Agenda
from tools.guide.questions import QUESTIONS
from tools.marked import with_part
from tools.pictures import DOCS, stored_replay, timeline

pytestmark = pytest.mark.once

each_agenda = pytest.mark.parametrize("agenda", AGENDAS, ids=lambda agenda: agenda.title)


@each_agenda
def test_a_plan_fits_its_time_and_nobody_sits_for_more_than_an_hour(agenda: Agenda) -> None:
    assert agenda.limit - 30 <= agenda.minutes <= agenda.limit
    assert agenda.longest_sitting() <= LONGEST_WITHOUT_BREAK


@each_agenda
def test_a_plan_has_each_chapter_after_those_that_it_builds_on(agenda: Agenda) -> None:
    taught = taught_in(agenda)
    for chapter in CHAPTERS:
        if chapter.number in taught:
            before = taught[: taught.index(chapter.number)]
            missing = set(chapter.builds_on) - set(before)
            assert missing <= {"01"}, (chapter.number, missing)  # the bytes of a message


@each_agenda
def test_a_plan_asks_only_what_its_chapters_teach(agenda: Agenda) -> None:
    plan = "\n".join(item.what for item in agenda.items)
    plan = plan.replace("Ten questions", f"Questions 1 to {len(QUESTIONS)}")
    ranges = re.findall(r"uestions (\d+) to (\d+)", plan)
    assert ranges
    for first, last in ranges:
        for question in QUESTIONS[int(first) - 1 : int(last)]:
            assert set(question.chapters) <= set(taught_in(agenda)), question.asks


def taught_in(agenda: Agenda) -> list[str]:
    """The numbers of the chapters that people know after a plan."""
    return [*agenda.known, *agenda.chapters]


def test_the_guide_has_the_chapters_as_they_are() -> None:
    """`make notebooks` writes them."""
    text = GUIDE.read_text()
    assert updated(text) == text


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no marks for 'agendas'"):
        with_part("# A page", "agendas", "new")


def test_the_readme_shows_pictures_of_the_chapters_as_they_are() -> None:
    """`make notebooks` writes them. Two runs draw other pixels, so the chapters' own count."""
    assert (DOCS / "timeline.png").read_bytes() == timeline()
    steps, _ = stored_replay()
    with Image.open(DOCS / "replay.gif") as moving:
        assert moving.n_frames == len(steps)  # type: ignore[attr-defined]
