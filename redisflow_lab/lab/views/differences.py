"""How two states of a stream differ, in words: for changes that no happening explains."""

from collections.abc import Callable, Iterable

from redisflow_lab._internal.printable import printable
from redisflow_lab.inspection.state import NO_GROUP, Group, State, order

Label = Callable[[str], str]
_MAX_NAMED = 4


def differences(was: State, now: State, group: str, label: Label) -> list[str]:
    """What has changed, as a group sees it; empty if nothing has.

    label: the name of an entry, from its id
    """
    before, after = was.groups.get(group, NO_GROUP), now.groups.get(group, NO_GROUP)
    return [
        *_numbers(was, now, before, after),
        *_entries(was, now),
        *_groups(was, now, group),
        *_consumers(before, after),
        *_pending(before, after, label),
        *_read(before, after, label),
    ]


def _numbers(was: State, now: State, before: Group, after: Group) -> list[str]:
    numbers = {
        "length": (was.length, now.length),
        "lag": (before.lag, after.lag),
        "pending": (before.pending, after.pending),
        "dead letters": (was.dead, now.dead),
    }
    return [
        f"{name} {'unknown' if new is None else new}"
        for name, (old, new) in numbers.items()
        if old != new
    ]


def _entries(was: State, now: State) -> list[str]:
    changed = []
    if was.length == now.length and (was.added, was.entries) != (now.added, now.entries):
        changed.append("as many entries added as removed")
    if was.dead == now.dead and was.letters != now.letters:
        changed.append("as many dead letters added as removed")
    return changed


def _groups(was: State, now: State, own: str) -> list[str]:
    both = was.groups.keys() & now.groups.keys()
    others = [name for name in both - {own} if was.groups[name] != now.groups[name]]
    return [
        *(f"the group {_name(name)} is created" for name in sorted(now.groups.keys() - both)),
        *(f"the group {_name(name)} is destroyed" for name in sorted(was.groups.keys() - both)),
        *(f"the group {_name(name)} reads or acknowledges" for name in sorted(others)),
    ]


def _consumers(before: Group, after: Group) -> list[str]:
    both = before.consumers.keys() & after.consumers.keys()
    return [
        *(f"{_name(name)} joins the group" for name in sorted(after.consumers.keys() - both)),
        *(
            f"{_name(name)}'s name is removed"
            for name in sorted(before.consumers.keys() - both)
        ),
    ]


def _pending(before: Group, after: Group, label: Label) -> list[str]:
    """Which entries began and ceased to be pending, changed owner, or were delivered again."""
    was, now = before.owned, after.owned
    both = [entry_id for entry_id in now if entry_id in was]
    owners: dict[str, list[str]] = {}
    for entry_id in both:
        if was[entry_id].consumer != now[entry_id].consumer:
            owners.setdefault(now[entry_id].consumer, []).append(entry_id)
    again = [
        entry_id
        for entry_id in both
        if was[entry_id].consumer == now[entry_id].consumer and was[entry_id] != now[entry_id]
    ]
    changed = []
    if before.pending == after.pending:  # otherwise the number tells
        done, new = was.keys() - now.keys(), now.keys() - was.keys()
        changed += [f"{_named(done, label)} no longer pending"] if done else []
        changed += [f"{_named(new, label)} pending"] if new else []
    for owner, ids in owners.items():
        held = f"with {_name(owner)}" if owner else "without an owner"
        changed.append(f"{_named(ids, label)} now pending {held}")
    changed += [f"{_named(again, label)} delivered again"] if again else []
    return changed


def _read(before: Group, after: Group, label: Label) -> list[str]:
    if before.read == after.read or (before.lag, before.pending) != (after.lag, after.pending):
        return []
    return [f"the group has read up to {label(after.read)}"]


def _named(ids: Iterable[str], label: Label) -> str:
    labels = [label(entry_id) for entry_id in sorted(ids, key=order)]
    more = len(labels) - _MAX_NAMED
    return ", ".join(labels[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _name(name: str) -> str:
    return printable(name, 40)
