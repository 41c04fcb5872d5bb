"""All exercises and predictions of the course, by id."""

from redisflow_lab.lab.workshop.chapters import ch04
from redisflow_lab.lab.workshop.exercise import Exercise

_CHAPTERS = (ch04,)

EXERCISES: dict[str, type[Exercise]] = {
    exercise.id: exercise for chapter in _CHAPTERS for exercise in chapter.EXERCISES
}
PREDICTIONS: dict[str, str] = {
    name: why for chapter in _CHAPTERS for name, why in chapter.PREDICTIONS.items()
}
"""What is said to those who predicted something else: why many people do."""
