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

NAMES = ["alice", "bob", "carol", "dave", "erin", "frank"]
BOOKS = ["Dune", "Emma", "Ulysses", "Beloved", "Persuasion"]
MIN_IDLE_MS = 60_000
"""Entries that have been idle for this long are claimed."""
_MOST_TOLD = 50


def handle_slowly(delivery: Delivery) -> None:
    """A handler that takes a second for each message, so that it can be seen pending."""
    Event().wait(1.0)


@dataclass(frozen=True)
class Button:
    """A button: its text, the call that it shows, and the function that makes the call."""

    id: str
    text: str
    call: str
    press: Callable[[], object]


class Steering:
    """The buttons for a stream and a group.

    told: the newest calls, each with its result
    """

    def __init__(self, lab: "Lab", stream: str, group: str, handler: Handler) -> None:
        self._lab = proxy(lab)  # a view that is shown must not keep a lab alive
        self._stream, self._group, self._handler = stream, group, handler
        self._key = lab.key(stream)
        self._published = 0
        self.told: list[str] = []

    def buttons(self) -> list[Button]:
        """The buttons that apply now."""
        running = [worker.name for worker in self._running()]
        free = next((name for name in NAMES if name not in running), None)
        claimer = running[0] if running else NAMES[2]
        group, shown = printable(self._group, 20), printable(claimer, 20)
        claim = f'r.xautoclaim(orders, "{group}", "{shown}", {MIN_IDLE_MS})'
        buttons = [
            Button("publish", "Publish an order", "producer.publish(order)", self._publish)
        ]
        if free:
            start = partial(self._start, free)
            buttons.append(
                Button("start", f"Start {free}", f'lab.worker("{free}", handle)', start)
            )
        for name in running:
            shown = printable(name, 20)
            kill = partial(self._kill, name)
            buttons.append(Button(f"kill {name}", f"Kill {shown}", f"{shown}.kill()", kill))
        buttons += [
            Button("age", "Let an hour pass", "lab.age()", self._age),
            Button(
                "claim",
                f"Let {printable(claimer, 20)} claim",
                claim,
                partial(self._claim, claimer),
            ),
        ]
        if not self._lab.server.prefix:  # a server of the lab's own
            server = self._lab.server
            buttons += [
                Button("kill server", "Kill the server", "lab.server.kill()", server.kill),
                Button("start server", "Start the server", "lab.server.start()", server.start),
            ]
        return buttons

    def press(self, button_id: str) -> None:
        """Make the call of a button. `told` shows an exception as a cell would show it."""
        button = next((found for found in self.buttons() if found.id == button_id), None)
        if button is None:  # no longer offered
            return
        try:
            came = button.press()
        except Exception as error:
            came = f"{type(error).__name__}: {error}"
        answer = "" if came is None else f"\n  {printable(str(came))}"
        self.told = [*self.told, f"> {button.call}{answer}"][-_MOST_TOLD:]

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

    def _claim(self, name: str) -> str:
        found: Any = self._lab.redis.xautoclaim(self._key, self._group, name, MIN_IDLE_MS)
        return ", ".join(entry_id.decode() for entry_id, _ in found[1]) or "nothing to claim"
