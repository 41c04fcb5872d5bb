"""The partitions of a stream, as a table and as a picture: where each is, and who reads it.

Nodes are shown by their name, so that a notebook shows the same at each run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.views.picture import Picture
from redisflow_lab.lab.views.shapes import Frame, Rect, Text
from redisflow_lab.lab.views.still import Panel, draw_still
from redisflow_lab.lab.views.tables import Table
from redisflow_lab.partitions import PartitionStatus

_WIDTH, _MARGIN, _GAP = 900.0, 8.0, 12.0
_BOX_TOP, _HEAD, _ROW, _BAR = 8.0, 34.0, 46.0, 14.0
_LEGEND = "filled: read by the group; empty: not read yet"
_NONE = "none"


@dataclass(frozen=True)
class Part:
    """A partition, as one group sees it.

    node:   that serves its slot; empty if there is one server
    lag:    entries that the group has not read; None if it is not known
    member: "member 0 of 2"; None if no process reads it
    """

    number: int
    stream: str
    node: str
    length: int
    lag: int | None
    pending: int
    member: str | None

    @property
    def in_words(self) -> str:
        lag = "an unknown lag" if self.lag is None else f"{self.lag} not read"
        return f"{printable(self.stream)} with {lag}, {self.member or 'no member'}"


def part_of(found: PartitionStatus, group: str, node: str) -> Part:
    """The partition as a group sees it. Raises the error of one that cannot be asked."""
    if found.problem is not None:
        raise found.problem
    length = found.status.length if found.status else 0
    groups = {each.name: each for each in found.status.groups} if found.status else {}
    seen, member = groups.get(group), found.members.get(group)
    return Part(
        found.number,
        found.stream,
        node,
        length,
        lag=seen.lag if seen else length,
        pending=seen.pending if seen else 0,
        member=str(member) if member else None,
    )


def partitions_table(parts: Sequence[Part], stream: str, group: str) -> Table:
    """One row per partition.

    Columns: partition (its stream), node (that serves it, if there are several), length, lag
    and pending of the group, member (that reads it, such as "member 0 of 2", or "none").
    """
    columns = ["partition", "node", "length", "lag", "pending", "member"]
    if not any(part.node for part in parts):
        columns.remove("node")
    rows = [
        {**vars(part), "partition": part.stream, "member": part.member or _NONE}
        for part in parts
    ]
    table = Table(rows, columns=columns)
    table["lag"] = table["lag"].astype("Int64")
    table.attrs["caption"] = f"partitions of {printable(stream)}, for {printable(group)}"
    return table


def draw_partitions(
    parts: Sequence[Part], nodes: Sequence[str], stream: str, group: str
) -> Picture:
    """Draw a box for each node, and in it a bar for each of its partitions.

    nodes: in the order of the boxes; one without partitions is drawn too
    """
    on_node = {node: [part for part in parts if part.node == node] for node in nodes}
    rows = max(len(found) for found in on_node.values())
    height = _BOX_TOP + _HEAD + rows * _ROW + 2 * _GAP
    width = (_WIDTH - 2 * _MARGIN - _GAP * (len(nodes) - 1)) / len(nodes)
    longest = max(1, *(part.length for part in parts))
    frame: Frame = {}
    for number, (node, found) in enumerate(on_node.items()):
        left = _MARGIN + number * (width + _GAP)
        box = Rect("rule", left, _BOX_TOP, width, _HEAD + rows * _ROW)
        frame[f"box {number}"] = box
        name = node or "the server"
        frame[f"name {number}"] = Text("title", left + 10, _BOX_TOP + 16, name)
        for row, part in enumerate(found):
            top = _BOX_TOP + _HEAD + row * _ROW
            inner = left + 10, top, width - 20
            for shape, drawn in enumerate(_bar(part, *inner, longest)):
                frame[f"{part.number}.{shape}"] = drawn
    frame["legend"] = Text("small", _MARGIN, height - 6, _LEGEND)
    title = f"{printable(stream, 40)} for {printable(group, 40)}"
    words = (
        f"{node or 'the server'}: {'; '.join(part.in_words for part in found) or 'none'}"
        for node, found in on_node.items()
    )
    alt = f"Partitions of {printable(stream, 40)}, as {printable(group, 40)} sees them. "
    return draw_still([Panel(title, frame, height)], _WIDTH, f"{alt}{'. '.join(words)}.")


def _bar(
    part: Part, left: float, top: float, width: float, longest: int
) -> Iterator[Rect | Text]:
    """The name of a partition with its member, and below it the bar of its entries."""
    yield Text("name", left, top, printable(part.stream, 24))
    who = Text("dead", left + width, top, "no member", "end")
    if part.member:
        who = Text("plain", left + width, top, part.member, "end")
    yield who
    at_most = width - 76
    unread = part.length if part.lag is None else min(part.lag, part.length)
    read = at_most * (part.length - unread) / longest
    if read:
        yield Rect("acked", left, top + 11, read, _BAR)
    if unread:
        yield Rect("waiting", left + read, top + 11, at_most * unread / longest, _BAR)
    lag = "unknown" if part.lag is None else f"{part.lag} unread"
    yield Text("plain", left + width, top + 11 + _BAR / 2, lag, "end")
