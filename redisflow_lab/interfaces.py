"""What a handler receives, and what a producer and a consumer must do to be replaceable."""

from collections.abc import Callable, Iterable
from threading import Event as ThreadEvent
from typing import NamedTuple, Protocol

from redisflow_lab.message import Message


class Delivery(NamedTuple):
    """A message on its way through a handler.

    entry_id:   of the stream entry that carries it, such as "1730671200000-0"
    deliveries: how often it was delivered in this group, this time included; above 1
                it may have been handled before
    heartbeat:  call it from a handler that takes long: it sets the idle time back to 0, so
                that nobody takes the message over. False says that somebody already has:
                stop working on it. Return or raise, it stays pending with its new owner
    """

    entry_id: str
    message: Message
    deliveries: int
    heartbeat: Callable[[], bool]


Handler = Callable[[Delivery], object]
"""Does the work. Returning means done; raising leaves the entry pending."""


class Producer(Protocol):
    """Writes messages to a stream."""

    def publish(self, message: Message) -> str:
        """Write one message and return its entry id."""

    def publish_many(self, messages: Iterable[Message]) -> list[str]:
        """Write all messages in order and return their entry ids in the same order."""


class Consumer(Protocol):
    """Reads messages of a stream on behalf of a group."""

    def run(self, handler: Handler, *, stop: ThreadEvent) -> None:
        """Handle and acknowledge messages until `stop` is set."""
