"""What a learner does in a chapter: predictions, and exercises that the server grades.

- `tasks`        `exercise`, and the `Task` that it returns
- `predictions`  `predict` and `reveal`
- `scorecard`    what is done and what is next
- `grading`      the stages of the learner's own consumer
- `exercise`     the base class of exercises
- `scene`        the keys of a task, and queries for its check
- `verdict`      how an answer is shown
- `progress`     what a learner has done, kept in a file
- `learner`      the learner's copies of the chapters
- `chapter`, `chapters`  the definitions of the chapters, one file each
"""

from pathlib import Path

from redisflow_lab.lab.views.tables import Table
from redisflow_lab.lab.workshop import scorecard as _scorecard
from redisflow_lab.lab.workshop.grading import grader as _grader
from redisflow_lab.lab.workshop.grading.stages import STAGES
from redisflow_lab.lab.workshop.predictions import Predictions
from redisflow_lab.lab.workshop.progress import Progress
from redisflow_lab.lab.workshop.tasks import Exercises, Task

_of_the_kernel = Progress.here()
_predictions = Predictions(lambda: _of_the_kernel)
predict, reveal = _predictions.predict, _predictions.reveal
exercise = Exercises(lambda: _of_the_kernel).exercise


def scorecard() -> Table:
    """What you have done, what is next, and which predictions were wrong."""
    return _scorecard.scorecard(_of_the_kernel)


def grade(*command: str, stage: int | None = None) -> None:
    """Grade your consumer with real crashes, up to the first stage that it does not pass.

    command: of a program in any language, such as "node", "consumer.js"; without one,
             consumer.py of this folder
    stage:   only this one, 1 to 9; None for all, in order

    The program is started as `COMMAND --url URL --stream S --group G --name N --effects KEY`.
    It must create the group at 0 if it is missing, and handle a message by pushing its content
    to the list KEY.
    """
    stages = [one for one in STAGES if stage in (None, one.number)]
    if not stages:
        raise ValueError(f"stage must be 1 to {len(STAGES)}, not {stage!r}")
    _grader.grade(command or None, Path.cwd(), _of_the_kernel, stages=stages)


__all__ = ["Task", "exercise", "grade", "predict", "reveal", "scorecard"]
