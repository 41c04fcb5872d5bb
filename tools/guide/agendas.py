"""Plans of workshops, in relative times, made from the minutes of the chapters."""

from collections.abc import Iterator
from dataclasses import dataclass

from redisflow_lab.lab.workshop.chapters import CHAPTERS, EXERCISES

LONGEST_WITHOUT_BREAK = 60
"""Minutes."""

_MINUTES = {chapter.number: chapter.minutes for chapter in CHAPTERS}
_TITLES = {chapter.number: chapter.title for chapter in CHAPTERS}


@dataclass(frozen=True)
class Item:
    """A part of a plan.

    what:     in words
    minutes:  how long it takes
    is_break: whether people rest
    """

    what: str
    minutes: int
    is_break: bool = False


@dataclass(frozen=True)
class Agenda:
    """One day, or part of one.

    title: with the available time
    limit: available minutes, breaks included
    items: one after the other
    known: the numbers of the chapters that people know before
    """

    title: str
    limit: int
    items: tuple[Item, ...]
    known: tuple[str, ...] = ()

    def times(self) -> Iterator[tuple[int, Item]]:
        """Each item, with the minute at which it begins."""
        begins = 0
        for item in self.items:
            yield begins, item
            begins += item.minutes

    @property
    def chapters(self) -> list[str]:
        """The numbers of its chapters."""
        return [item.what[:2] for item in self.items if item.what[:2].isdigit()]

    @property
    def minutes(self) -> int:
        """The minutes of all items."""
        return sum(item.minutes for item in self.items)

    def longest_sitting(self) -> int:
        """The most minutes between two breaks."""
        longest = sitting = 0
        for item in self.items:
            sitting = 0 if item.is_break else sitting + item.minutes
            longest = max(longest, sitting)
        return longest


def _chapter(number: str, without: str = "") -> Item:
    """A chapter, as a whole or without one of its exercises."""
    if not without:
        return Item(f"{number} {_TITLES[number]}", _MINUTES[number])
    minutes = _MINUTES[number] - EXERCISES[without].minutes
    return Item(f"{number} {_TITLES[number]}, without the task `{without}`", minutes)


def _numbers_below(number: str) -> tuple[str, ...]:
    return tuple(each for each in _MINUTES if each < number)


def _break(minutes: int, what: str = "Break") -> Item:
    return Item(what, minutes, is_break=True)


_WELCOME = Item("Welcome, and the first cell of 00 on every laptop", 10)
_CONSUMER = Item("Your own consumer: `work/consumer.py`, and stages 1 and 2 of `make grade`", 8)


def _talk(minutes: int) -> Item:
    return Item(
        "Talk: whose prediction was wrong, and why; those who are late catch up", minutes
    )


_FIRST = (_WELCOME, _chapter("00"), _chapter("01"))
_CONSUME = (_chapter("02"), _chapter("03"))
_CRASH = (_chapter("04"), _chapter("05"))

AGENDAS = (
    Agenda(
        "90 minutes",
        90,
        (
            _WELCOME, _chapter("00"), _chapter("02"), _break(5),
            _chapter("04", without="04-five-ends"),
            Item("Which predictions were wrong; questions 1 to 4 to take home", 4),
        ),
    ),
    Agenda(
        "Half a day (four hours)",
        240,
        (
            _WELCOME, _chapter("00"), _chapter("02"), _break(10),
            _CONSUMER, _talk(10), _chapter("03"), _break(15),
            _chapter("04"), _talk(10), _break(10),
            _chapter("05"), Item("Questions 1 to 5; home: the consumer's stages 3 to 5", 15),
        ),
    ),
    Agenda(
        "A day (seven and a half hours, an hour of it lunch)",
        450,
        (
            *_FIRST, _break(10), *_CONSUME, _break(10), *_CRASH, _break(60, "Lunch"),
            _chapter("10"), _chapter("11"), _break(10), _chapter("12"), _chapter("13"),
            _break(15), _chapter("14"), Item("Ten questions, and their answers", 20),
        ),
    ),
    Agenda(
        "Two half days: the first",
        210,
        (
            *_FIRST, _break(10), *_CONSUME, _break(15), _chapter("04"), _break(5),
            _chapter("05"), Item("Home: questions 1 to 5, and `make grade`, stages 1 to 5", 2),
        ),
    ),
    Agenda(
        "Two half days: the second",
        240,
        (
            Item("Questions 1 to 5, and stages 1 to 5 on the screen", 15), _chapter("10"),
            _break(10), _chapter("11"), _chapter("12"), _break(15), _chapter("13"),
            _chapter("14"), _break(10), Item("Questions 6 to 10, and their answers", 20),
            Item("Home: stages 6 to 9, and chapters 20 to 22", 5),
        ),
        known=_numbers_below("10"),
    ),
    Agenda(
        "A third half day, for those who operate it",
        240,
        (
            _chapter("30"), _chapter("31"), _break(10), _chapter("32"), _chapter("40"),
            _break(15), _chapter("41"), _chapter("42"), _break(10),
            Item("Ten questions, and one more: what would a failover lose in our shop?", 20),
        ),
        known=_numbers_below("20"),
    ),
)  # fmt: skip
