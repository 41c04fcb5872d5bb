"""Which pending entries are redelivered together. Needs no server."""

from hypothesis import given
from hypothesis import strategies as st

from redisflow_lab._internal.group import Pending
from redisflow_lab._internal.redelivery import redelivery_batches


def rows(*deliveries: int) -> list[Pending]:
    return [Pending(b"%d-0" % number, count) for number, count in enumerate(deliveries)]


def numbers(batches: list[list[bytes]]) -> list[list[int]]:
    return [[int(entry_id.split(b"-")[0]) for entry_id in batch] for batch in batches]


def test_entries_delivered_once_go_together_and_all_others_alone() -> None:
    batches = redelivery_batches(rows(1, 1, 2, 1, 5, 3, 1, 1), max_deliveries=5)
    assert numbers(list(batches)) == [[0, 1], [2], [3], [4], [5], [6, 7]]


def test_below_four_deliveries_nothing_is_shared() -> None:
    assert numbers(list(redelivery_batches(rows(1, 1), max_deliveries=3))) == [[0], [1]]
    assert numbers(list(redelivery_batches(rows(1, 1), max_deliveries=4))) == [[0, 1]]


@given(st.lists(st.integers(1, 6)), st.integers(1, 10))
def test_each_entry_is_there_once_and_in_order(deliveries: list[int], most: int) -> None:
    pending = rows(*deliveries)
    batches = list(redelivery_batches(pending, most))
    assert [entry_id for batch in batches for entry_id in batch] == [row.id for row in pending]
    assert all(batches)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 1)), min_size=1, max_size=12),
    st.integers(2, 8),
)
def test_no_neighbour_of_a_killer_is_dead_lettered(
    messages: list[tuple[bool, int]], most: int
) -> None:
    """A model of one consumer that is started again until nothing is pending.

    messages: whether each kills its process, and how often its handler fails otherwise. All
    were delivered together once, and a process died before it handled any.
    """
    deliveries = dict.fromkeys(range(len(messages)), 1)
    failures = {number: fails for number, (_, fails) in enumerate(messages)}
    dead: set[int] = set()

    def start() -> bool:
        """Replay everything once. False if the process died of it."""
        pending = [Pending(b"%d" % number, count) for number, count in deliveries.items()]
        for batch in redelivery_batches(pending, most):
            for entry_id in batch:
                deliveries[int(entry_id)] += 1
            for number in map(int, batch):
                kills, _ = messages[number]
                if deliveries[number] > most:
                    dead.add(number)
                elif kills:
                    return False
                elif failures[number]:
                    failures[number] -= 1
                    if deliveries[number] < most:
                        continue
                    dead.add(number)
                del deliveries[number]
        return True

    while deliveries:
        start()
    killers = {number for number, (kills, _) in enumerate(messages) if kills}
    innocent = {number for number, (kills, fails) in enumerate(messages) if not kills}
    assert killers <= dead
    if most >= 3:
        assert not dead & innocent
    else:  # the crash that they shared at first, and the failure of their own, are all
        assert all(messages[number][1] for number in dead & innocent)
