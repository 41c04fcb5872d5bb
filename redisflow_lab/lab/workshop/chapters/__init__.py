"""All exercises of the course, by id."""

from redisflow_lab.lab.workshop.chapters import ch04
from redisflow_lab.lab.workshop.exercise import Exercise

EXERCISES: dict[str, type[Exercise]] = {
    exercise.id: exercise for chapter in (ch04,) for exercise in chapter.EXERCISES
}
