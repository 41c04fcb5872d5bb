"""`exercise` sets a task, which the learner solves and checks."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from redis import Redis, RedisCluster, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from redisflow_lab._internal.printable import printable
from redisflow_lab.interfaces import Delivery, Handler
from redisflow_lab.lab.laboratory import Lab
from redisflow_lab.lab.server.node import Node
from redisflow_lab.lab.workers.worker import Worker
from redisflow_lab.lab.workshop.chapters import EXERCISES
from redisflow_lab.lab.workshop.exercise import Exercise, NotYetError
from redisflow_lab.lab.workshop.progress import Progress
from redisflow_lab.lab.workshop.scene import ONE_SERVER, Scene
from redisflow_lab.lab.workshop.verdict import Outcome, Verdict, wrapped
from redisflow_lab.message import MessageDecodeError

_ANSWER_S = 2
"""Timeout of one command, so that a check, which sends a few, ends within 10 s."""


class Task:
    """An exercise, set up on its own keys.

    redis:    a client of the lab's server
    key:      returns the full key of a name in this task
    orders:   key of the stream
    invoices: key of a list, with one element for each order that was billed
    bill:     a handler that bills an order
    nodes:    the servers of a lab that has several, by name
    """

    def __init__(self, exercise: Exercise, lab: Lab, progress: Progress) -> None:
        self._exercise, self._lab, self._progress = exercise, lab, progress
        servers: Mapping[str, Node] = getattr(lab.server, "nodes", ONE_SERVER)
        self.nodes = {name: node for name, node in servers.items() if name.startswith("node-")}
        scene = self._scene(lab.redis)
        self.redis: Redis = lab.redis
        self.key: Callable[[str], str] = scene.key
        self.orders, self.invoices = scene.orders, scene.invoices
        self.bill: Callable[[Delivery], None] = partial(exercise.bill, scene)
        self._hints = 0
        lab.kill_workers(self.orders)  # of an earlier run of the cell
        exercise.restore(scene)
        scene.clear()
        exercise.set(scene)

    def __repr__(self) -> str:
        return wrapped(
            f"Goal: {self._exercise.goal}\nYou have: {self._exercise.given}\n"
            "Help: task.hint(), three times, each a step nearer."
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the lab: in a worker, a handler's copy of `task` needs only the keys."""
        kept = self.__dict__.copy()
        del kept["_lab"], kept["_progress"], kept["nodes"]
        return kept

    def _scene(self, redis: Redis) -> Scene:
        return Scene(redis, self._lab.key, self._exercise.id, self.nodes)

    def worker(self, name: str | None, handler: Handler, **options: Any) -> Worker:
        """`Lab.worker` on the stream of this task."""
        return self._lab.worker(name, handler, **{"stream": self.orders, **options})

    def check(self) -> Verdict:
        """Compare the state of the server with the goal. May be called at any time."""
        verdict = self._ask_server()
        known = self._progress.read("exercises", self._exercise.id)
        self._note(
            checks=int(known.get("checks") or 0) + 1,
            outcome=verdict.outcome.name.lower(),
            passed=known.get("passed", False) or verdict.outcome is Outcome.PASSED,
        )
        return verdict

    def _ask_server(self) -> Verdict:
        redis = self._lab.server.connect()
        for settings in _settings_of(redis):
            settings["socket_timeout"] = _ANSWER_S
        redis.set_retry(Retry(NoBackoff(), 0))
        with redis:
            try:
                return self._judge(self._scene(redis))
            except (exceptions.ResponseError, UnicodeDecodeError, MessageDecodeError) as error:
                return self._unreadable(redis, error)
            except (exceptions.RedisError, OSError) as error:
                return Verdict(
                    Outcome.ERROR,
                    f"The check could not ask the server: {printable(str(error))}\n"
                    "If you killed it, start it again with lab.server.start(). If the lab is "
                    "closed, run the chapter from its first cell.",
                )

    def _unreadable(self, redis: Redis, error: Exception) -> Verdict:
        """The verdict on a key of the wrong type, or on content that is not text."""
        scene = self._scene(redis)
        types = ", ".join(f"{key} is a {kind}" for key, kind in scene.types())
        return Verdict(
            Outcome.FAILED,
            f"A key of this task does not hold what was expected: "
            f"{printable(str(error), 200)}.\n{types} (TYPE key). What is written must be text, "
            "such as the content of an order, or a message with the field data.",
        )

    def hint(self) -> Verdict:
        """The next of three hints. After the third, the third again."""
        self._hints = min(self._hints + 1, len(self._exercise.hints))
        self._note(hints=self._hints)
        text = self._exercise.hints[self._hints - 1]
        return Verdict(Outcome.NOTE, f"Hint {self._hints} of 3. {text}")

    def solution(self) -> Verdict:
        """Code that solves the task, and why it does."""
        self._note(solution_shown=True)
        return Verdict(Outcome.NOTE, self._exercise.why, self._exercise.solution)

    def _note(self, **values: Any) -> None:
        self._progress.write("exercises", self._exercise.id, **values)

    def _judge(self, scene: Scene) -> Verdict:
        if self._exercise.has_orders and not scene.redis.exists(self.orders):
            return Verdict(
                Outcome.ERROR,
                "The stream of this task is gone. Run the cell with exercise(...) again.",
            )
        try:
            self._exercise.check(scene)
        except NotYetError as error:
            if not self._exercise.is_attempted(scene):
                return Verdict(Outcome.NOT_ATTEMPTED, f"Goal: {self._exercise.goal}")
            said = str(error).strip()
            advice = f"task.hint() for a hint ({self._hints} of 3 used)"
            if "exercise(...)" not in said:
                advice += ". To begin anew, run the cell with exercise(...) again."
            return Verdict(Outcome.FAILED, f"{said}\n{advice}")
        return Verdict(Outcome.PASSED, self._exercise.why, self._exercise.solution)


def _settings_of(redis: Redis | RedisCluster) -> Iterator[dict[str, Any]]:
    """Those of the connections that a client will open: in a cluster, to any node."""
    if not isinstance(redis, RedisCluster):
        yield redis.connection_pool.connection_kwargs
        return
    yield redis.nodes_manager.connection_kwargs
    for node in redis.get_nodes():
        if node.redis_connection is not None:
            yield node.redis_connection.connection_pool.connection_kwargs


class Exercises:
    """The exercises of one learner.

    progress: returns where they are kept; called each time, as the current folder may change
    """

    def __init__(self, progress: Callable[[], Progress]) -> None:
        self._progress = progress

    def exercise(self, exercise_id: str, lab: Lab) -> Task:
        """Set up an exercise on fresh keys, and return its task.

        The learner works on it in the next cells, and calls `task.check()`. Running this again
        starts over. Raises KeyError for an unknown id, with the nearest one, and
        ConnectionError if the server is down.
        """
        if exercise_id not in EXERCISES:
            near = difflib.get_close_matches(str(exercise_id), EXERCISES, n=1, cutoff=0.0)
            raise KeyError(f"there is no exercise {exercise_id!r}; the nearest is {near[0]!r}")
        try:
            return Task(EXERCISES[exercise_id](), lab, self._progress())
        except exceptions.ConnectionError as error:
            raise ConnectionError(
                f"the task was not set, as the server is down: {printable(str(error))}. "
                "Start it with lab.server.start(), and run this cell again"
            ) from error
