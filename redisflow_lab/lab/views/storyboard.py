"""The key moments of a recording, one below the other: a replay in print."""

from collections.abc import Sequence
from dataclasses import dataclass

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.recording.moment import Happening
from redisflow_lab.lab.recording.recording import Recording
from redisflow_lab.lab.views.history import HEIGHT, History
from redisflow_lab.lab.views.layout import WIDTH, Layout
from redisflow_lab.lab.views.picture import Picture
from redisflow_lab.lab.views.still import Panel, draw_still
from redisflow_lab.lab.views.story import Story

MAX_PICTURES = 4
"""How many moments are shown; the last one always is."""


def storyboard(recording: Recording, group: str) -> Picture:
    """Draw the key moments of a recording of at least one moment."""
    layout = Layout(recording, group)
    panels, told = [], []
    earlier = None
    for key in _key_moments(layout.story):
        frame = layout.frame(key.number, since=earlier)
        panels.append(Panel(key.title, frame, layout.height))
        words = f": {layout.story.words(key.number)}" if key.settled else "."
        told.append(f"{key.title}{words}")
        earlier = key.number
    name = printable(recording.stream, 40)
    alt = f"{name}, as the group {printable(group, 40)} sees it. {' '.join(told)}"
    history = History(recording, group, 0.0)
    panels.append(Panel("", history.frame(len(recording.moments) - 1), HEIGHT))
    return draw_still(panels, WIDTH, alt)


@dataclass(frozen=True)
class _Key:
    """A key moment.

    settled: whether nothing was running, so that it looks the same after each run of the cell
    """

    number: int
    title: str
    settled: bool = True


def _key_moments(story: Story) -> list[_Key]:
    """Starts and ends of processes, claims, and the end of the recording, in order of time."""
    recording = story.recording
    last = len(recording.moments) - 1
    keys: dict[int, _Key] = {}
    begins: dict[int, _Key] = {}  # shown if there is room
    told = 0  # the moment of the happening before
    for happening in recording.happenings:
        number = story.moment_after(happening.t_s)
        # The recorder may have looked between a command and its reply: one moment earlier.
        moved = any(story.moved(seen) for seen in range(told + 1, number + 1))
        claimed = happening.kind == "command" and moved
        told = number
        if happening.kind in ("died", "ended") or claimed:
            keys[number] = _Key(number, story.labelled(happening.text))
        if happening.kind == "started":
            begins[number] = _Key(number, story.labelled(happening.text), settled=False)
    for claims in _claims(recording.happenings):
        first, end = (story.moment_after(of.t_s) for of in (claims[0], claims[-1]))
        seen = next((n for n in range(first, end + 1) if n and story.moved(n)), first)
        labels = dict.fromkeys(story.label(happening.entry_id) for happening in claims)
        title = f"{printable(claims[0].consumer)} claims {', '.join(labels)}"
        keys.setdefault(seen, _Key(seen, title, settled=False))
    room = MAX_PICTURES - len(keys.keys() | {last})
    for number in [number for number in begins if number not in keys][: max(room, 0)]:
        keys[number] = begins[number]
    chosen = [keys[number] for number in sorted(keys) if number != last][: MAX_PICTURES - 1]
    return [*chosen, keys.get(last, _Key(last, "in the end"))]


def _claims(happenings: Sequence[Happening]) -> list[list[Happening]]:
    """The claims of each worker, grouped by the starts and ends of processes in between."""
    found: dict[tuple[int, str], list[Happening]] = {}
    act = 0
    for happening in happenings:
        act += happening.kind in ("started", "ended", "died")
        if happening.kind == "claimed":
            found.setdefault((act, happening.consumer), []).append(happening)
    return [*found.values()]
