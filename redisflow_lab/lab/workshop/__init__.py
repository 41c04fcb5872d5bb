"""What a learner does in a chapter: predictions, and exercises that the server grades.

- `tasks`        `exercise`, and the `Task` that it returns
- `predictions`  `predict` and `reveal`
- `exercise`     what an exercise consists of
- `scene`        the keys of a task, and what a check may look at
- `verdict`      how an answer is shown
- `progress`     what is kept of a learner
- `chapters`     the one source for notebooks and tests: one file a chapter
"""

from redisflow_lab.lab.workshop.predictions import Predictions
from redisflow_lab.lab.workshop.progress import Progress
from redisflow_lab.lab.workshop.tasks import Task, exercise

_of_the_kernel = Progress.here()
_predictions = Predictions(lambda: _of_the_kernel)
predict, reveal = _predictions.predict, _predictions.reveal

__all__ = ["Task", "exercise", "predict", "reveal"]
