"""All chapters, with their exercises and predictions: one file each."""

from importlib import import_module
from pkgutil import iter_modules

from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import Exercise

CHAPTERS: tuple[Chapter, ...] = tuple(
    import_module(f"{__name__}.{name}").CHAPTER
    for name in sorted(module.name for module in iter_modules(__path__))
)
"""In the order of the course: that of the files' names."""

EXERCISES: dict[str, type[Exercise]] = {
    exercise.id: exercise for chapter in CHAPTERS for exercise in chapter.exercises
}
PREDICTIONS: dict[str, str] = {
    name: why for chapter in CHAPTERS for name, why in chapter.predictions.items()
}
