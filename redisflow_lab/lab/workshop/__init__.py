"""What a learner does in a chapter: exercises, which are checked by the state of the server.

- `tasks`     `exercise`, and the `Task` that it returns
- `exercise`  what an exercise consists of
- `scene`     the keys of a task, and what a check may look at
- `verdict`   how an answer is shown
- `chapters`  the exercises, one file a chapter: the one source for notebooks and tests
"""

from redisflow_lab.lab.workshop.tasks import Task, exercise

__all__ = ["Task", "exercise"]
