"""The base class of exercises, and the comparisons that their checks share."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from redisflow_lab._internal.printable import printable
from redisflow_lab.interfaces import Delivery
from redisflow_lab.lab.workshop.scene import Scene


class NotYetError(Exception):
    """The task is not solved. The text says what was expected, and what was found."""


@dataclass(frozen=True)
class Wrong:
    """A wrong answer that people give.

    what: what is wrong with it
    code: of the answer, with `task`
    says: a part of the check's message, which no other answer gets
    """

    what: str
    code: str
    says: str


class Exercise(ABC):
    """One exercise of a chapter, completely described by its class.

    id:       of the chapter and the exercise, such as "04-after-delivery"
    goal:     the state of the server to reach, in one sentence
    given:    what the learner starts with, in one sentence
    minutes:  for a learner who is wrong once or twice
    extra:    whether it belongs to a section that is called extra
    hints:    three, each closer to the solution
    solution: code that solves it, with `task`
    wrong:    at least three wrong answers that people give
    why:      what it teaches, in one or two sentences
    needs:    commands and options that the server must support, as for `Lab`
    has_orders: whether `task.orders` is a stream; False if only its partitions are
    """

    id: ClassVar[str]
    goal: ClassVar[str]
    given: ClassVar[str]
    minutes: ClassVar[int]
    extra: ClassVar[bool] = False
    hints: ClassVar[tuple[str, str, str]]
    solution: ClassVar[str]
    wrong: ClassVar[tuple[Wrong, ...]]
    why: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    has_orders: ClassVar[bool] = True

    def restore(self, scene: Scene) -> None:  # noqa: B027  # few exercises need it
        """Undo what an earlier answer has changed on the servers besides the scene's keys."""

    def bill(self, scene: Scene, delivery: Delivery) -> None:
        """What `task.bill` does."""
        scene.bill(delivery)

    @abstractmethod
    def set(self, scene: Scene) -> None:
        """Write what the learner starts with to the fresh keys of the scene."""

    @abstractmethod
    def is_attempted(self, scene: Scene) -> bool:
        """Whether the learner has changed anything in the scene."""

    @abstractmethod
    def check(self, scene: Scene) -> None:
        """Raise NotYetError unless the goal is reached. Looks only at the server."""


def expect(expected: object, found: object, what: str, command: str, meaning: str = "") -> None:
    """Raise NotYetError unless both are equal.

    what:    what is compared, such as "pending orders"
    command: the one that shows it
    meaning: what causes a difference
    """
    if found != expected:
        raise NotYetError(f"Expected {expected} {what}, found {found} ({command}).\n{meaning}")


def expect_kept(scene: Scene, entry_ids: Iterable[str]) -> None:
    """Raise NotYetError if one of these entries is no longer in the stream."""
    if deleted := scene.deleted(entry_ids):
        raise NotYetError(
            f"Expected {_listed(deleted)} in the stream, and "
            f"{'it is' if len(deleted) == 1 else 'they are'} deleted "
            f"(XRANGE {scene.orders} - +).\n"
            "A deleted entry cannot be brought back, and this task needs it. Run the cell with "
            "exercise(...) again."
        )


def expect_no_more(scene: Scene, count: int) -> None:
    """Raise NotYetError if the stream has more entries than these.

    In a notebook, `task` is the task that was set last: a cell of an earlier one that is run
    again may publish to the stream of this one.
    """
    if (found := scene.redis.xlen(scene.orders)) > count:
        raise NotYetError(
            f"Expected at most {count} orders in the stream, found {found} "
            f"(XLEN {scene.orders}).\n"
            "This task needs no new ones. Was a cell of another task run after this one was "
            "set? `task` is always the one that was set last. Run the cell with exercise(...) "
            "again."
        )


def expect_invoices(scene: Scene, contents: Iterable[str], meaning: str) -> None:
    """Raise NotYetError unless the invoices have exactly these contents, in any order.

    meaning: what causes a missing or an extra invoice
    """
    expected, found = Counter(contents), Counter(scene.billed())
    command = f"LRANGE {scene.invoices} 0 -1"
    if other := found - Counter({content: found[content] for content in expected}):
        raise NotYetError(
            f"Expected the contents of orders as invoices, found also "
            f"{printable(repr(min(other)), 60)} ({command}).\n"
            "No order that is to be billed has this content. An invoice is the content of its "
            "order, as text."
        )
    for content, count in expected.items():
        what = f"invoice{'s' if count != 1 else ''} {content!r}"
        expect(count, found[content], what, command, meaning)


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun: "1 order", "2 orders".

    many: the plural, if it is not `one` with an s
    """
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
