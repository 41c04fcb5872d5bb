"""A recording as one group sees it: which entries to show, and what became of each."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from redisflow_lab._internal.printable import printable
from redisflow_lab.inspection.state import NO_GROUP, Group, State, order
from redisflow_lab.lab.recording.moment import NO_STREAM, Happening, deleted_since
from redisflow_lab.lab.recording.recording import Recording
from redisflow_lab.lab.views.differences import differences

CELLS = 16
"""How many entries are shown: the newest."""
OLDEST = 5
"""If there are more, this many cells are for the oldest pending entries."""
_REMEMBERED = 3 * CELLS
"""How many of the newest ids are remembered, so that deleted entries can be shown."""
_MAX_TOLD = 4
_ID = re.compile(r"(?<![\w-])\d+-\d+(?![\w-])")


@dataclass(frozen=True)
class Seen:
    """A moment as the group sees it.

    state:   of the stream
    group:   the group's part of `state`
    gone:    ids of entries that are no longer in the stream
    killed:  consumers whose process was killed, and not started again
    shown:   ids of the entries that are shown, oldest first
    """

    state: State
    group: Group
    gone: frozenset[str]
    killed: frozenset[str]
    shown: tuple[str, ...]

    @property
    def others(self) -> int:
        """How many entries of the stream are not shown."""
        return max(0, self.state.length - len({*self.shown} - self.gone))

    def in_words(self, entry_id: str) -> str:
        """The state of an entry, in words."""
        gone = " (no longer in the stream)" if entry_id in self.gone else ""
        if owned := self.group.owned.get(entry_id):
            times = "once" if owned.deliveries == 1 else f"{owned.deliveries} times"
            # XNACK (Redis 8.8) leaves an entry pending without an owner.
            name = printable(owned.consumer)
            owner = f"with {name}" if name else "without an owner"
            return f"pending {owner}, delivered {times}{gone}"
        done = order(entry_id) <= order(self.group.read)
        return ("acknowledged" if done else "not delivered") + gone


class Story:
    """What happened in a recording of at least one moment, as a group sees it.

    seen:      each moment as the group sees it; None where the state could not be read
    consumers: names, in the order in which they appeared
    """

    def __init__(self, recording: Recording, group: str) -> None:
        self.recording, self.group = recording, group
        self.seen = list(_seen(recording, group))
        known = [seen for seen in self.seen if seen is not None]
        self.consumers = list(
            dict.fromkeys(name for seen in known for name in seen.group.consumers)
        )
        self.has_letters = any(seen.state.dead for seen in known)
        self._numbers: dict[str, int] = {}
        for seen in known:
            for back, entry_id in enumerate(reversed(seen.state.entries)):
                self._numbers.setdefault(entry_id, seen.state.added - back)
        self._labelled = self._numbers.keys() | {of for seen in known for of in seen.shown}
        self._times = [moment.t_s for moment in recording.moments]
        self._told = [happening.t_s for happening in recording.happenings]

    def label(self, entry_id: str) -> str:
        """The id of an entry if it fits into a cell; else its number, or the end of its id."""
        if len(entry_id) <= 6:
            return printable(entry_id)
        number = self._numbers.get(entry_id)
        return f"…{printable(entry_id[-5:])}" if number is None else f"#{number}"

    def labelled(self, text: str) -> str:
        """A text in which each entry of the stream is named as its cell names it."""
        return _ID.sub(
            lambda found: self.label(found[0]) if found[0] in self._labelled else found[0], text
        )

    def trouble(self, number: int) -> str:
        """Why nothing is shown of a moment, in words."""
        trouble = self.recording.moments[number].trouble
        return "the stream has no entry" if trouble == NO_STREAM else trouble

    def words(self, number: int) -> str:
        """A moment in words: the state of each entry, the consumers and the dead letters."""
        seen = self.seen[number]
        if seen is None:
            return self.trouble(number)
        before = f"{seen.others:,} other entries, and " if seen.others else ""
        told = "; ".join(f"{self.label(of)} {seen.in_words(of)}" for of in seen.shown)
        names = [
            printable(name) + (" (killed)" if name in seen.killed else "")
            for name in sorted(seen.group.consumers)
        ]
        letters = (
            f" Dead letters: {', '.join(map(self.label, seen.state.letters))}."
            if seen.state.dead
            else ""
        )
        return f"{before}{told or 'empty'}. Consumers: {', '.join(names) or 'none'}.{letters}"

    def caption(self, number: int, *, since: int | None = None) -> str:
        """What happened since a moment, by default the one before, in words."""
        first = number - 1 if since is None else since
        begins = bisect_right(self._told, self._times[first]) if first >= 0 else 0
        ends = bisect_right(self._told, self._times[number])
        happened = self.recording.happenings[begins:ends]
        if not happened:
            return self._difference(first, number)
        return self.labelled("; ".join(_told(happened)))

    def moment_after(self, t_s: float) -> int:
        """The first moment at or after a time; the last one if there is none."""
        return min(bisect_left(self._times, t_s), len(self._times) - 1)

    def moved(self, number: int) -> list[str]:
        """Ids of the entries that changed owner since the moment before."""
        before, seen = self.seen[number - 1] if number else None, self.seen[number]
        if before is None or seen is None:
            return []
        was = before.group.owned
        return [
            entry_id
            for entry_id, owned in seen.group.owned.items()
            if entry_id in was and was[entry_id].consumer != owned.consumer
        ]

    def _difference(self, first: int, number: int) -> str:
        """How two moments differ, for a change that no happening explains."""
        now = self.recording.moments[number]
        was = self.recording.moments[first] if first >= 0 else None
        if now.state is None:
            if was is None:
                return f"the recording begins: {self.trouble(number)}"
            deleted = was.state is not None and now.trouble == NO_STREAM
            return "the stream is deleted" if deleted else self.trouble(number)
        if was is None or was.state == now.state:
            return "the recording begins"
        if was.state is None:
            created = was.trouble == NO_STREAM
            return "the stream is created" if created else "the server answers again"
        changed = differences(was.state, now.state, self.group, self.label)
        return ", ".join(changed) or "other pending entries change"


def _told(happened: Sequence[Happening]) -> Iterator[str]:
    """Texts in the order of time. If there are too many, the earliest are only counted."""
    # What happens to a process or the server is told before commands, and those before
    # events of single entries.
    ranks = [(not of.entry_id, of.kind != "command") for of in happened]
    kept = {
        *sorted(range(len(happened)), key=lambda number: (ranks[number], number))[-_MAX_TOLD:]
    }
    for told, numbers in groupby(range(len(happened)), key=kept.__contains__):
        if told:
            yield from (happened[number].text for number in numbers)
        else:
            yield f"({len([*numbers])} more)"


def _seen(recording: Recording, name: str) -> Iterator[Seen | None]:
    known: list[str] = []  # ids that were in the stream, the newest last
    killed = _Killed(recording.happenings, name)
    deleted = deleted_since(recording.moments)
    for moment, began_anew in zip(recording.moments, deleted, strict=True):
        state = moment.state
        known = [] if began_anew else known
        if state is None:
            yield None
            continue
        group = state.groups.get(name, NO_GROUP)
        there = {*state.entries}
        since = order(state.entries[0]) if state.entries else (0, 0)
        complete = len(state.entries) == state.length
        first = order(state.first) if state.first else (0, 0)
        gone = frozenset(
            entry_id
            for entry_id in {*known, *group.owned} - there
            if complete or order(entry_id) >= since or order(entry_id) < first
        )
        known = sorted({*known, *there}, key=order)[-_REMEMBERED:]
        yield Seen(state, group, gone, killed.at(moment.t_s), _shown(there | gone, group))


def _shown(known: set[str] | frozenset[str], group: Group) -> tuple[str, ...]:
    """The newest entries; if there are too many, a few of the oldest pending come first."""
    ids = sorted({*known, *group.owned}, key=order)
    if len(ids) <= CELLS:
        return tuple(ids)
    begins = order(ids[-CELLS])
    older = [entry_id for entry_id in group.owned if order(entry_id) < begins][:OLDEST]
    return (*older, *ids[len(older) - CELLS :])


class _Killed:
    """Which consumers' processes were killed, at each moment."""

    def __init__(self, happenings: Sequence[Happening], group: str) -> None:
        self._changes = [
            happening
            for happening in happenings
            # A process that the notebook started has no group.
            if happening.group in (group, "") and happening.kind in ("died", "started", "ended")
        ]
        self._times = [happening.t_s for happening in self._changes]

    def at(self, t_s: float) -> frozenset[str]:
        changes = self._changes[: bisect_right(self._times, t_s)]
        last = {happening.consumer: happening.kind for happening in changes}
        return frozenset(name for name, kind in last.items() if kind == "died")
