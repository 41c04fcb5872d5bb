"""What an exercise consists of."""

from abc import ABC, abstractmethod
from typing import ClassVar

from redisflow_lab.lab.workshop.scene import Scene


class NotYetError(Exception):
    """The task is not solved. The text says what was expected, and what is there."""


class Exercise(ABC):
    """One exercise of a chapter. Each is a class, and nothing else is written about it.

    id:       of the chapter and the exercise, such as "04-after-delivery"
    goal:     what the state of the server is to be, in one sentence
    given:    what the learner has, in one sentence
    minutes:  measured with readers
    hints:    three, each a step nearer
    solution: code that solves it, with `task`
    wrong:    answers that people give; by what is wrong with each, its code
    why:      what it teaches, in one or two sentences
    """

    id: ClassVar[str]
    goal: ClassVar[str]
    given: ClassVar[str]
    minutes: ClassVar[int]
    hints: ClassVar[tuple[str, str, str]]
    solution: ClassVar[str]
    wrong: ClassVar[dict[str, str]]
    why: ClassVar[str]

    @abstractmethod
    def set(self, scene: Scene) -> None:
        """Write what the learner begins with, on the fresh keys of the scene."""

    @abstractmethod
    def is_attempted(self, scene: Scene) -> bool:
        """Whether anything has been done with the scene."""

    @abstractmethod
    def check(self, scene: Scene) -> None:
        """Raise NotYetError unless the goal is reached. Reads the server, and nothing else."""


def expect(expected: object, found: object, what: str, command: str, meaning: str = "") -> None:
    """Raise NotYetError unless both are equal.

    what:    of what, such as "pending orders"
    command: which shows it
    meaning: what the difference comes from
    """
    if found != expected:
        raise NotYetError(f"Expected {expected} {what}, found {found} ({command}).\n{meaning}")
