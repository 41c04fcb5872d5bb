"""The definition of a chapter, from which README, handouts and guide are generated."""

from dataclasses import dataclass, field

from redisflow_lab.lab.workshop.exercise import Exercise

PARTS = {
    "0": "What a stream promises",
    "1": "When things go wrong",
    "2": "What changes",
    "3": "Operate",
    "4": "Outgrow one server",
}
"""By the first digit of a chapter's number."""


@dataclass(frozen=True)
class Chapter:
    """One chapter of the course.

    file:        of the notebook; it begins with the number
    title:       as in its first line
    goal:        what the learner can do after it, in one sentence
    reading:     minutes for text and cells
    predicting:  minutes for the predictions
    builds_on:   numbers of the chapters that it needs
    mistakes:    what people get wrong, one sentence each
    skippable:   what can be left out when time is short
    surprise:    the moment that people remember, in one sentence
    trouble:     what to do when something breaks, for an instructor
    predictions: by name, why many people predict something else: shown for a wrong prediction
    exercises:   in the order of the notebook
    needs:       commands and options that its server must support, as for `Lab`
    extra:       minutes for the sections that are called extra, which `minutes` does not count
    """

    file: str
    title: str
    goal: str
    reading: int
    predicting: int
    builds_on: tuple[str, ...]
    mistakes: tuple[str, ...]
    skippable: str
    surprise: str
    trouble: str
    predictions: dict[str, str] = field(default_factory=dict)
    exercises: tuple[type[Exercise], ...] = ()
    needs: tuple[str, ...] = ()
    extra: int = 0

    @property
    def number(self) -> str:
        return self.file[:2]

    @property
    def part(self) -> str:
        return PARTS[self.number[0]]

    @property
    def minutes(self) -> int:
        """Minutes for the chapter with its exercises, without the sections called extra."""
        return self.reading + self.predicting + self.solving

    @property
    def solving(self) -> int:
        """Minutes for the exercises that are not called extra."""
        return sum(task.minutes for task in self.exercises if not task.extra)

    @property
    def duration(self) -> str:
        """The minutes in words: "About 29 minutes, and 4 more for what is called extra."."""
        more = f", and {self.extra} more for what is called extra" if self.extra else ""
        return f"About {self.minutes} minutes{more}."
