"""Handlers that most tests need."""

from threading import Event as StopEvent
from time import monotonic

from redisflow_lab import Delivery
from redisflow_lab.interfaces import Handler
from redisflow_lab.lab.waiting import wait_until


def collect_into(contents: list[str]) -> Handler:
    """A handler that appends the content."""
    return lambda delivery: contents.append(delivery.message.content)


def collect_until(last: str, contents: list[str], stop: StopEvent) -> Handler:
    """A handler that appends the content, and sets `stop` after this last one."""

    def handle(delivery: Delivery) -> None:
        contents.append(delivery.message.content)
        if delivery.message.content == last:
            stop.set()

    return handle


def decline(_: Delivery) -> None:
    """A handler that always fails."""
    raise ValueError("the card was declined")


def decline_only(declined: str, contents: list[str]) -> Handler:
    """A handler that fails for this content, and appends every other one."""

    def handle(delivery: Delivery) -> None:
        if delivery.message.content == declined:
            decline(delivery)
        contents.append(delivery.message.content)

    return handle


def interrupt_at(content: str, contents: list[str]) -> Handler:
    """A handler that raises KeyboardInterrupt for this content, and appends every other."""

    def handle(delivery: Delivery) -> None:
        if delivery.message.content == content:
            raise KeyboardInterrupt
        contents.append(delivery.message.content)

    return handle


def take_s(seconds: float) -> None:
    """Take this long, as a slow handler does."""
    until = monotonic() + seconds
    wait_until(lambda: monotonic() > until, f"{seconds} s have passed")
