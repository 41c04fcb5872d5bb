"""What is in flight, and when its lease must be renewed. Needs no server."""

from redisflow_lab._internal.entry import Entry
from redisflow_lab._internal.in_flight import NEVER, InFlight

LEASE_S = 10.0


def entries(*numbers: int) -> list[Entry]:
    return [Entry(b"%d-0" % number, [b"data", b""], 1) for number in numbers]


def ids(*numbers: int) -> list[bytes]:
    return [b"%d-0" % number for number in numbers]


def test_an_entry_is_finished_when_the_next_one_is_asked_for() -> None:
    in_flight = InFlight(LEASE_S)
    in_flight.begin(entries(1, 2, 3), since=0)
    seen = []
    for entry in in_flight:
        seen.append((entry.id, in_flight.unfinished_ids()))
        assert in_flight.current is entry
    assert seen == [(b"1-0", ids(1, 2, 3)), (b"2-0", ids(2, 3)), (b"3-0", ids(3))]
    in_flight.finish()
    assert in_flight.current is None
    assert in_flight.unfinished_ids() == []


def test_a_loop_that_ends_early_leaves_the_entry_it_was_at_and_the_rest() -> None:
    in_flight = InFlight(LEASE_S)
    in_flight.begin(entries(1, 2, 3), since=0)
    for entry in in_flight:
        if entry.id == b"2-0":
            break
    assert in_flight.unfinished_ids() == ids(2, 3)


def test_queued_current_and_prefetched_entries_are_all_in_flight() -> None:
    in_flight = InFlight(LEASE_S)
    in_flight.queue([ids(1, 2), ids(3)], since=0)
    assert in_flight.next_queued() == ids(1, 2)
    in_flight.begin(entries(1, 2), since=0)
    in_flight.prefetch(entries(8, 9))
    assert sorted(in_flight.unfinished_ids()) == ids(1, 2, 3, 8, 9)
    assert in_flight.next_queued() == ids(3)
    assert in_flight.next_queued() == []


def test_the_lease_runs_from_the_oldest_of_them() -> None:
    in_flight = InFlight(LEASE_S)
    assert in_flight.renew_at == NEVER
    in_flight.begin(entries(1), since=100)
    in_flight.expect(now=103)
    assert in_flight.renew_at == 110
    in_flight.renewed({b"1-0"}, now=108)
    assert in_flight.renew_at == 118


def test_what_was_requested_keeps_the_lease_running_before_it_arrives() -> None:
    in_flight = InFlight(LEASE_S)
    in_flight.begin(entries(1), since=100)
    in_flight.expect(now=101)
    assert list(in_flight) == entries(1)
    in_flight.finish()
    assert in_flight.renew_at == 110
    in_flight.prefetch(entries(2))
    assert in_flight.begin_prefetched() == entries(2)
    assert list(in_flight) == entries(2)
    in_flight.finish()
    assert in_flight.renew_at == NEVER


def test_what_another_consumer_has_claimed_is_lost_until_it_comes_back() -> None:
    in_flight = InFlight(LEASE_S)
    in_flight.begin(entries(1, 2), since=0)
    in_flight.prefetch(entries(3, 4))
    in_flight.renewed({b"1-0", b"4-0"}, now=5)
    assert in_flight.lost == {b"2-0", b"3-0"}
    assert in_flight.begin_prefetched() == entries(4)
    in_flight.begin(entries(2), since=6)
    assert in_flight.lost == set()


def test_a_renewal_of_nothing_leaves_no_lease() -> None:
    in_flight = InFlight(LEASE_S)
    in_flight.expect(now=0)
    in_flight.prefetch([])
    in_flight.renewed(set(), now=1)
    assert in_flight.renew_at == NEVER


def test_clearing_it_forgets_everything() -> None:
    in_flight = InFlight(LEASE_S)
    in_flight.queue([ids(1)], since=0)
    in_flight.begin(entries(2), since=0)
    in_flight.prefetch(entries(3))
    in_flight.renewed(set(), now=0)
    in_flight.clear()
    assert (in_flight.unfinished_ids(), in_flight.lost, in_flight.renew_at) == (
        [],
        set(),
        NEVER,
    )
