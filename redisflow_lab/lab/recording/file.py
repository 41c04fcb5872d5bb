"""Converts moments to JSON and back; each is stored as its changes since the one before."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from redisflow_lab.inspection.state import Consumer, Group, Owned, State, order
from redisflow_lab.lab.recording.moment import Moment

TOLERANCE_MS = 5
"""A time of last activity is written again only if it has moved by more than this."""

Plain = dict[str, Any]


def to_plain(moments: Sequence[Moment]) -> Iterator[Plain]:
    """Moments as values that JSON can store."""
    before: Plain = {}
    for moment in moments:
        changes = None
        if moment.state is not None:
            state = _plain(moment.state, moment.t_s, before)
            changes, before = _changes(before, state), state
        yield {"t_s": moment.t_s, "changes": changes, "trouble": moment.trouble}


def from_plain(stored: Sequence[Plain]) -> Iterator[Moment]:
    """The moments that `to_plain` converted; idle times are accurate to 5 ms."""
    before: Plain = {}
    for moment in stored:
        t_s, changes, trouble = moment["t_s"], moment["changes"], moment["trouble"]
        if changes is not None:
            before = _changed(before, changes)
        yield Moment(t_s, None if changes is None else _state(t_s, **before), trouble)


def _plain(state: State, t_s: float, before: Plain) -> Plain:
    """A state as plain values, with times of last activity in place of idle times."""
    plain = asdict(state)
    plain["entries"] = dict.fromkeys(state.entries, 1)  # so that changes name each entry
    plain["letters"] = [*state.letters]
    for name, group in plain["groups"].items():
        was = before.get("groups", {}).get(name, {})
        for what in ("owned", "consumers"):
            for key, one in group[what].items():
                since = round(1_000 * t_s) - one.pop("idle_ms")
                known = was.get(what, {}).get(key, {}).get("since_ms", since)
                one["since_ms"] = known if abs(known - since) <= TOLERANCE_MS else since
    return plain


def _changes(was: Plain, now: Plain) -> list[Any]:
    """[new and changed values, names of removed ones], recursively for each dict."""
    different = {
        name: _changes(was.get(name, {}), value) if isinstance(value, dict) else value
        for name, value in now.items()
        if name not in was or was[name] != value
    }
    return [different, [name for name in was if name not in now]]


def _changed(was: Plain, changes: list[Any]) -> Plain:
    different, gone = changes
    return {name: value for name, value in was.items() if name not in gone} | {
        name: _changed(was.get(name, {}), value) if _of_a_dict(value) else value
        for name, value in different.items()
    }


def _of_a_dict(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _state(
    t_s: float, *, entries: Plain, letters: list[str], groups: Plain, **rest: Any
) -> State:
    return State(
        entries=tuple(sorted(entries, key=order)),
        letters=tuple(letters),
        groups={name: _group(t_s, **groups[name]) for name in sorted(groups)},
        **rest,
    )


def _group(t_s: float, *, owned: Plain, consumers: Plain, **rest: Any) -> Group:
    now_ms = round(1_000 * t_s)

    def idle(one: Plain) -> Plain:
        others = {name: value for name, value in one.items() if name != "since_ms"}
        return {**others, "idle_ms": now_ms - one["since_ms"]}

    return Group(
        owned={
            entry_id: Owned(**idle(owned[entry_id])) for entry_id in sorted(owned, key=order)
        },
        consumers={name: Consumer(**idle(consumers[name])) for name in sorted(consumers)},
        **rest,
    )
