"""`exercise` sets a task, which the learner works on and has checked."""

import difflib
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from redisflow_lab._internal.printable import printable
from redisflow_lab.interfaces import Delivery, Handler
from redisflow_lab.lab.laboratory import Lab
from redisflow_lab.lab.workers.worker import Worker
from redisflow_lab.lab.workshop.chapters import EXERCISES
from redisflow_lab.lab.workshop.exercise import Exercise, NotYetError
from redisflow_lab.lab.workshop.scene import Scene
from redisflow_lab.lab.workshop.verdict import Outcome, Verdict, wrapped

_ANSWER_S = 2
"""A check asks a few commands: it ends within 10 s, whatever the server does."""


class Task:
    """An exercise, set on keys of its own.

    redis:    a client of the lab's server
    orders:   key of the stream
    invoices: key of a list, with one element for each order that was billed
    bill:     a handler that bills an order
    """

    def __init__(self, exercise: Exercise, lab: Lab) -> None:
        self._exercise, self._lab = exercise, lab
        scene = Scene(lab.redis, lab.key, exercise.id)
        self.redis: Redis = lab.redis
        self.orders, self.invoices = scene.orders, scene.invoices
        self.bill: Callable[[Delivery], None] = scene.bill
        self._hints = 0
        lab.kill_workers(self.orders)  # of an earlier run of the cell
        scene.clear()
        exercise.set(scene)

    def __repr__(self) -> str:
        return wrapped(f"Goal: {self._exercise.goal}\nYou have: {self._exercise.given}")

    def worker(self, name: str | None, handler: Handler, **options: Any) -> Worker:
        """`Lab.worker` on the stream of this task."""
        return self._lab.worker(name, handler, stream=self.orders, **options)

    def check(self) -> Verdict:
        """Compare the state of the server with the goal. May be asked at any time."""
        redis = self._lab.server.connect()
        redis.connection_pool.connection_kwargs["socket_timeout"] = _ANSWER_S
        redis.set_retry(Retry(NoBackoff(), 0))
        with redis:
            try:
                return self._judge(Scene(redis, self._lab.key, self._exercise.id))
            except (RedisError, OSError) as error:
                return Verdict(
                    Outcome.ERROR,
                    f"The check could not ask the server: {printable(str(error))}\n"
                    "If you killed it, start it again with lab.server.start(). If the lab is "
                    "closed, run the chapter from its first cell.",
                )

    def hint(self) -> Verdict:
        """The next of three hints. After the third, the third again."""
        self._hints = min(self._hints + 1, len(self._exercise.hints))
        text = self._exercise.hints[self._hints - 1]
        return Verdict(Outcome.NOTE, f"Hint {self._hints} of 3. {text}")

    def solution(self) -> Verdict:
        """Code that solves the task, and why it is so."""
        return Verdict(Outcome.NOTE, self._exercise.why, self._exercise.solution)

    def _judge(self, scene: Scene) -> Verdict:
        if not scene.redis.exists(self.orders):
            return Verdict(
                Outcome.ERROR,
                "The stream of this task is gone. Run the cell with exercise(...) again.",
            )
        try:
            self._exercise.check(scene)
        except NotYetError as error:
            if not self._exercise.is_attempted(scene):
                return Verdict(Outcome.NOT_ATTEMPTED, f"Goal: {self._exercise.goal}")
            hint = f"task.hint() for a hint ({self._hints} of 3 used)"
            return Verdict(Outcome.FAILED, f"{str(error).strip()}\n{hint}")
        return Verdict(Outcome.PASSED, self._exercise.why, self._exercise.solution)


def exercise(exercise_id: str, lab: Lab) -> Task:
    """Set the scene of an exercise on fresh keys, and return the task.

    The learner works on it in the next cells, and asks `task.check()`. Running this again
    begins anew. Raises KeyError for an id that does not exist; it names the nearest.
    """
    if exercise_id not in EXERCISES:
        near = difflib.get_close_matches(str(exercise_id), EXERCISES, n=1, cutoff=0.0)
        raise KeyError(f"there is no exercise {exercise_id!r}; the nearest is {near[0]!r}")
    return Task(EXERCISES[exercise_id](), lab)
