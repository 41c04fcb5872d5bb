"""The buttons of the live view: each makes a call that a cell could also make."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any
from weakref import proxy

from redisflow_lab._internal.printable import printable
from redisflow_lab.interfaces import Delivery, Handler
from redisflow_lab.message import Message
from redisflow_lab.producer import RedisStreamProducer

if TYPE_CHECKING:
    from redisflow_lab.lab.laboratory import Lab
    from redisflow_lab.lab.workers.worker import Worker

NAMES = ["alice", "bob", "carol"]
"""The consumers that can be started."""
CLAIMER = NAMES[-1]
BOOKS = ["Dune", "Emma", "Ulysses", "Beloved", "Persuasion"]
MIN_IDLE_MS = 60_000
"""Entries that have been idle for this long are claimed."""
_MAX_TOLD = 50


def handle_slowly(delivery: Delivery) -> None:
    """A handler that takes a second for each message, so that it can be seen pending."""
    Event().wait(1.0)


@dataclass(frozen=True)
class Button:
    """A button.

    row:     in which it is: 0 or 1
    call:    what it shows of the call that it makes
    press:   makes the call
    applies: whether it can be pressed now
    """

    id: str
    row: int
    text: str
    call: str
    press: Callable[[], object]
    applies: bool = True


class Steering:
    """The buttons for a stream and a group.

    told: the newest calls, each with its result
    """

    def __init__(self, lab: "Lab", stream: str, group: str, handler: Handler) -> None:
        self._lab = proxy(lab)  # a view that is shown must not keep a lab alive
        self._stream, self._group, self._handler = stream, group, handler
        self._key = lab.key(stream)
        self._published = 0
        self._names = [*NAMES]
        self.told: list[str] = []

    def buttons(self) -> list[Button]:
        """The buttons, always in the same order: what does not apply now keeps its place."""
        group = printable(self._group, 20)
        claim = f'r.xautoclaim(orders, "{group}", "{CLAIMER}", {MIN_IDLE_MS})'
        return [
            Button("publish", 0, "Publish an order", "producer.publish(order)", self._publish),
            Button("age", 0, "Let an hour pass", "lab.age()", self._age),
            Button("claim", 0, f"Let {CLAIMER} claim", claim, self._claim),
            *self._of_the_server(),
            *self._of_consumers(),
        ]

    def _of_the_server(self) -> list[Button]:
        """None on a shared server, and none if there are several."""
        server = self._lab.server
        if server.prefix or hasattr(server, "nodes"):
            return []
        up = server.running
        return [
            Button("kill server", 0, "Kill the server", "lab.server.kill()", server.kill, up),
            Button(
                "start server", 0, "Start the server", "lab.server.start()", server.start,
                not up,
            ),
        ]  # fmt: skip

    def _of_consumers(self) -> list[Button]:
        """For each consumer to start and to kill it; for those of cells to kill it."""
        running = [worker.name for worker in self._running()]
        self._names = [*dict.fromkeys([*self._names, *running])]
        buttons = []
        for name in self._names:
            runs, shown = name in running, printable(name, 20)
            if name in NAMES:
                start, call = partial(self._start, name), f'lab.worker("{name}", handle)'
                buttons.append(
                    Button(f"start {name}", 1, f"Start {name}", call, start, not runs)
                )
            kill = partial(self._kill, name)
            buttons.append(
                Button(f"kill {name}", 1, f"Kill {shown}", f"{shown}.kill()", kill, runs)
            )
        return buttons

    def press(self, button_id: str) -> None:
        """Make the call of a button. `told` shows an exception as a cell would show it."""
        button = next((found for found in self.buttons() if found.id == button_id), None)
        if button is None or not button.applies:  # it no longer does
            return
        try:
            came = button.press()
        except Exception as error:
            came = f"{type(error).__name__}: {error}"
        answer = "" if came is None else f"\n  {printable(str(came))}"
        self.told = [*self.told, f"> {button.call}{answer}"][-_MAX_TOLD:]

    def _running(self) -> "list[Worker]":
        workers: list[Worker] = self._lab.running_workers(self._stream, self._group)
        return workers

    def _publish(self) -> str:
        producer = RedisStreamProducer(self._lab.redis, self._key)
        book = BOOKS[self._published % len(BOOKS)]
        self._published += 1
        return producer.publish(Message("web", f"1 x {book}"))

    def _start(self, name: str) -> object:
        return self._lab.worker(
            name, self._handler, stream=self._stream, group=self._group, batch=3,
            min_idle_ms=MIN_IDLE_MS,
        )  # fmt: skip

    def _kill(self, name: str) -> object:
        worker = next(worker for worker in self._running() if worker.name == name)
        return worker.kill()

    def _age(self) -> None:
        self._lab.age(stream=self._stream, group=self._group)

    def _claim(self) -> str:
        found: Any = self._lab.redis.xautoclaim(self._key, self._group, CLAIMER, MIN_IDLE_MS)
        claimed = ", ".join(entry_id.decode() for entry_id, _ in found[1])
        return claimed or "nothing to claim: no pending entry has been idle for a minute"
