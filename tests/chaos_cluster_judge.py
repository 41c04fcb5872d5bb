"""What the chaos test of a cluster finds in the end, and which promises it breaks.

A failover loses what the former primary had not sent to its replica, and that may be anything:
entries, effects, deduplication keys, acknowledgements. The stream of a partition, its group
and the effects of its messages are in one slot, so they have one history, and a failover cuts
the end of it off. Within that history an effect follows its entry, and the acknowledgement
follows the effect. So where the history is cut, nothing contradicts the rest: a lost effect of
an entry that is left is applied again, because its acknowledgement is lost as well.

With one exception, because a member remembers what the servers have forgotten: it has read
entries at the former primary, and applies their effects at the new one, which has never had
them. Then an effect is left without its entry. These are counted, and not accepted because a
failover happened at about that time: what a former primary had and the new one had not is read
from the former one's append-only file, and the entry must be in there.

The reverse must not happen: a member that has applied an effect at the former primary does not
acknowledge its entry at the new one, and so applies it again.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


class Acked(NamedTuple):
    """A publish that was acknowledged. waited: a replica had confirmed it as well."""

    content: str
    key: str
    stream: str
    entry_id: str
    at: float
    waited: bool

    @property
    def place(self) -> tuple[str, str]:
        return self.stream, self.entry_id


class Dead(NamedTuple):
    """A dead letter."""

    stream: str
    entry_id: str
    reason: str
    error: str

    @property
    def place(self) -> tuple[str, str]:
        return self.stream, self.entry_id


class Effect(NamedTuple):
    """An effect, as it was applied.

    life, number: the process that applied it, and its how manyth effect this was: so no two
                  applications are equal
    at:           when, in Unix seconds
    owner:        what the key of the partition's owner held at that moment; "-" if nothing
    """

    stream: str
    content: str
    key: str
    entry_id: str
    deliveries: int
    life: str
    number: int
    at: float = 0.0
    owner: str = "-"

    @property
    def application(self) -> tuple[str, str, int]:
        return self.stream, self.life, self.number


@dataclass
class Failover:
    """A primary that was replaced, and what it had that its replica had not.

    kind:    "killed", "killed while its replica lagged" or "cut off"
    began:   when it was killed or cut off, and
    ended:   when its replica had taken its place, in Unix seconds
    entries: by stream and id
    effects: those that were applied there
    bytes:   how much longer its history was, as far as that is known
    """

    kind: str
    node: str
    began: float = 0.0
    ended: float = 0.0
    entries: set[tuple[str, str]] = field(default_factory=set)
    effects: list[Effect] = field(default_factory=list)
    bytes: int | None = None


@dataclass
class Found:
    """What is there in the end, from the servers and the files of the processes.

    entries: by stream the id and the content of each, in order
    effects: by stream, in order
    applied: those that a member knows to be applied
    delivered: how often each entry was delivered to which process, by stream and id. It is
             noted when its batch begins: so a process that had only prefetched it is missing
    killed:  the processes that were killed
    repeats: deliveries whose effect was there already: how often each message was delivered
    failed:  handlers that raised an error that is not transient
    """

    acked: list[Acked] = field(default_factory=list)
    entries: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    effects: dict[str, list[Effect]] = field(default_factory=dict)
    applied: list[Effect] = field(default_factory=list)
    repeats: list[int] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    failovers: list[Failover] = field(default_factory=list)
    pending: int = 0
    lag: int = 0
    dead_letters: list[Dead] = field(default_factory=list)
    delivered: defaultdict[tuple[str, str], Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    killed: set[str] = field(default_factory=set)
    max_deliveries: int = 5


@dataclass
class Verdict:
    """figures: what happened; broken: the promises that were not kept, with examples."""

    figures: dict[str, int]
    broken: list[str]

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {what}" for what, count in self.figures.items())


class _Judge:
    def __init__(self, found: Found) -> None:
        self.found = found
        self.figures: dict[str, int] = {}
        self.broken: list[str] = []
        self.places = {
            (stream, entry_id): content
            for stream, entries in found.entries.items()
            for entry_id, content in entries
        }
        self.effects = [each for effects in found.effects.values() for each in effects]
        self.lost_places = {place for each in found.failovers for place in each.entries}
        self.lost_effects = [effect for each in found.failovers for effect in each.effects]

    def expect_none(self, what: str, those: Iterable[object]) -> None:
        if some := list(those):
            examples = "; ".join(map(str, some[:3]))
            self.broken.append(f"{len(some)} {what}, such as {examples}")

    def handled(self) -> None:
        """Every entry that is left is handled, whether its publish was acknowledged or not.

        Or it is dead-lettered, after as many processes as the limit allows were killed before
        they had acknowledged it. This may happen to a slow message if the other partition of
        its process is fast.
        """
        had = {(each.stream, each.content) for each in self.effects}
        delivered = self.found.delivered
        unfinished = {
            each.place
            for each in self.found.dead_letters
            if each.reason == "unfinished"
            and len(delivered.get(each.place, Counter()).keys() & self.found.killed)
            >= self.found.max_deliveries
        }
        self.expect_none(
            "entries without an effect",
            (
                (stream, entry_id, content)
                for (stream, entry_id), content in self.places.items()
                if (stream, content) not in had and (stream, entry_id) not in unfinished
            ),
        )
        self.figures["entries"] = len(self.places)
        self.figures["effects"] = len(self.effects)
        self.figures["messages dead-lettered after as many kills as the limit"] = len(
            unfinished
        )
        self.expect_none(
            "dead letters that no kills explain",
            (
                (*each, f"delivered to {dict(delivered.get(each.place, {}))}")
                for each in self.found.dead_letters
                if each.place not in unfinished
            ),
        )
        self.expect_none("handlers that failed", self.found.failed)
        for what in ("pending", "lag"):
            if count := getattr(self.found, what):
                self.broken.append(f"{count} {what}")

    def lost(self) -> None:
        """What was acknowledged and is gone was lost by a failover, and all of that is gone."""
        acked = self.found.acked
        lost = [each for each in acked if each.place not in self.places]
        self.figures["acknowledged publishes"] = len(acked)
        self.figures["of them confirmed by a replica"] = sum(each.waited for each in acked)
        self.figures["acknowledged and lost by a failover"] = len(lost)
        self.figures["entries lost by failovers"] = len(self.lost_places)
        self.figures["effects lost by failovers"] = len(self.lost_effects)
        self.expect_none(
            "acknowledged publishes lost that no failover explains",
            (each for each in lost if each.place not in self.lost_places),
        )
        # With one replica in each shard, the one that has confirmed is the one that is
        # promoted: so this holds for a primary that is cut off as well. With more, another one
        # could be promoted, and a killed primary keeps the promise only if all confirm.
        self.expect_none(
            "publishes lost that a replica had confirmed",
            (each for each in lost if each.waited),
        )
        self.expect_none(
            "entries that a failover has lost, and that are there",
            self.lost_places & self.places.keys(),
        )
        self.expect_none(
            "acknowledged publishes whose entry is another message",
            (
                each
                for each in acked
                if self.places.get(each.place, each.content) != each.content
            ),
        )
        self.expect_none(
            "failovers that have lost entries although the replica had the whole history",
            (
                f"{each.kind} {each.node}"
                for each in self.found.failovers
                if each.entries and each.bytes == 0
            ),
        )

    def once(self) -> None:
        """One entry for each idempotency key, and one effect."""
        entries = Counter(self.places.values())
        self.expect_none("messages written twice", (c for c, n in entries.items() if n > 1))
        contents = Counter(each.content for each in self.effects)
        self.expect_none("effects applied twice", (c for c, n in contents.items() if n > 1))
        kept = {each.application for each in self.effects}
        lost = {each.application for each in self.lost_effects}
        self.expect_none(
            "effects gone that no failover explains",
            (
                each
                for each in self.found.applied
                if each.application not in kept and each.application not in lost
            ),
        )
        applications = Counter(each.content for each in self.found.applied)
        self.figures["effects applied again after a failover lost them"] = sum(
            count - 1 for count in applications.values()
        )
        self.expect_none(
            "effects of entries that never were",
            (
                each
                for each in self.effects
                if (place := (each.stream, each.entry_id)) not in self.places
                and place not in self.lost_places
            ),
        )
        self.figures["effects left of entries that are lost"] = sum(
            (each.stream, each.entry_id) in self.lost_places for each in self.effects
        )
        self.figures["redelivered messages"] = sum(each.deliveries > 1 for each in self.effects)
        deliveries = [*(each.deliveries for each in self.effects), *self.found.repeats]
        self.figures["deliveries of one message at most"] = max(deliveries, default=0)
        in_one = (max(each.values()) for each in self.found.delivered.values())
        self.figures["of them to one process"] = max(in_one, default=0)
        self.figures["deliveries whose effect was there"] = len(self.found.repeats)

    def in_order(self) -> None:
        """The effects of a key are in the order of its entries, and those of each producer's.

        Where none of them was redelivered: that is the promise. How many of the other keys are
        out of order is counted.
        """
        by_key: defaultdict[tuple[str, str], list[Effect]] = defaultdict(list)
        for each in self.effects:
            by_key[each.stream, each.key].append(each)
        at_once, out_of_order, others = 0, list[object](), 0
        for (_, key), effects in by_key.items():
            is_ordered = _is_in_order(effects)
            if any(each.deliveries > 1 for each in effects):
                others += not is_ordered
                continue
            at_once += len(effects) > 1
            if not is_ordered:
                out_of_order.append((key, [each.content for each in effects]))
        self.expect_none("keys out of order without a redelivery", out_of_order)
        self.figures["keys"] = len(by_key)
        self.figures["keys checked for order, without a redelivery"] = at_once
        self.figures["keys out of order, with a redelivery"] = others
        numbers: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
        for stream, entries in self.found.entries.items():
            for _, content in entries:
                producer, number, key = content.split()
                numbers[stream, key, producer].append(int(number))
        self.expect_none(
            "keys whose entries are not in the order of publishing",
            (which for which, found in numbers.items() if found != sorted(set(found))),
        )

    def owned(self) -> None:
        """The effects of a process in a partition are in one piece: it alone was reading.

        And the key of the owner names one process as long as that one applies effects.
        """
        between: list[object] = []
        tokens: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for stream, effects in self.found.effects.items():
            seen, last = set[str](), ""
            for each in effects:
                if each.life != last and each.life in seen:
                    between.append((stream, each.life, "again after", last))
                seen.add(last := each.life)
                if each.owner != "-":
                    tokens[each.life, "had the keys"][each.owner] += 1
                    tokens[each.owner, "was the key of"][each.life] += 1
        self.expect_none("changes of the reader while the former one goes on", between)
        self.expect_none(
            "processes that worked while the owner was another one",
            (f"{' '.join(of)} {dict(those)}" for of, those in tokens.items() if len(those) > 1),
        )
        self.figures["changes of the owner"] = sum(
            len({each.life for each in effects}) - 1 for effects in self.found.effects.values()
        )
        self.figures["effects without an owner's key"] = sum(
            each.owner == "-" for each in self.effects
        )


def judge(found: Found) -> Verdict:
    """Check every promise of what was found."""
    judging = _Judge(found)
    judging.handled()
    judging.lost()
    judging.once()
    judging.in_order()
    judging.owned()
    return Verdict(judging.figures, judging.broken)


def _is_in_order(effects: list[Effect]) -> bool:
    """Whether these effects of one key are in the order of the entries and of publishing."""
    ids = [tuple(map(int, each.entry_id.split("-"))) for each in effects]
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for each in effects:
        producer, number, _ = each.content.split()
        numbers[producer].append(int(number))
    return ids == sorted(ids) and all(each == sorted(each) for each in numbers.values())
