"""Tables are complete, or say where they were cut; their row labels are shown."""

import pytest

from redisflow_lab.lab import Lab
from redisflow_lab.lab.views.tables import Table

MANY = 1_500


@pytest.fixture
def many_pending(lab: Lab, stream: str) -> str:
    """A stream whose group billing has 1,500 pending entries, each delivered twice."""
    pipeline = lab.redis.pipeline(transaction=False)
    for number in range(1, MANY + 1):
        pipeline.xadd(stream, {"data": b""}, id=f"{number}-0")
    pipeline.execute()
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"})
    lab.redis.xreadgroup("billing", "alice", {stream: "0"})
    return stream


def test_every_pending_entry_is_in_the_table(lab: Lab, many_pending: str) -> None:
    table = lab.pending(many_pending)
    assert list(table["entry_id"]) == [f"{number}-0" for number in range(1, MANY + 1)]
    assert table.caption == "pending in billing"


def test_a_table_of_the_oldest_pending_entries_says_how_many_there_are(
    lab: Lab, many_pending: str
) -> None:
    table = lab.pending(many_pending, most=2)
    assert list(table["entry_id"]) == ["1-0", "2-0"]
    assert table.caption == "pending in billing: the oldest 2 of 1,500 entries"
    assert table.caption in repr(table)
    assert lab.pending(many_pending, most=MANY).caption == "pending in billing"


@pytest.mark.parametrize("most", [0, -1])
def test_at_least_one_pending_entry_must_be_asked_for(
    lab: Lab, many_pending: str, most: int
) -> None:
    with pytest.raises(ValueError, match=f"most must be at least 1, not {most}"):
        lab.pending(many_pending, most=most)


def test_a_table_that_is_too_long_to_show_says_where_it_was_cut(
    lab: Lab, many_pending: str
) -> None:
    table = lab.pending(many_pending)
    said = "the first 1,000 of 1,500 rows"
    for shown in (repr(table), table._repr_html_()):
        assert said in shown
        assert "1000-0" in shown
        assert "1001-0" not in shown
    assert said not in repr(table.head(1_000))


def test_change_counts_the_deliveries_of_every_pending_entry(
    lab: Lab, many_pending: str
) -> None:
    with lab.change(many_pending) as change:
        lab.redis.xreadgroup("billing", "alice", {many_pending: "0"})
    assert change.iloc[-1].tolist() == ["deliveries of pending", "3000", "4500", "+1500"]


@pytest.fixture
def pending(lab: Lab, stream: str) -> Table:
    """Two pending entries of alice and one of bob."""
    for number in range(1, 4):
        lab.redis.xadd(stream, {"data": b""}, id=f"{number}-0")
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=2)
    lab.redis.xreadgroup("billing", "bob", {stream: ">"})
    return lab.pending(stream)


def test_the_index_is_shown_when_it_holds_names(pending: Table) -> None:
    grouped = pending.groupby("consumer").sum(numeric_only=True)
    by_entry = pending.set_index("entry_id")
    kept = pending.set_index("consumer", drop=False)
    both = pending.set_index(["consumer", "entry_id"])
    for table in (grouped, by_entry, kept, both, pending.T):
        for shown in (repr(table), table._repr_html_()):
            assert "alice" in shown
            assert "bob" in shown
    assert repr(grouped).splitlines()[1].split() == ["consumer", "deliveries", "idle"]
    assert '<th scope="row"' in grouped._repr_html_()


def test_units_stay_where_an_index_or_a_statistic_hides_the_column(pending: Table) -> None:
    assert " ms" in repr(pending.set_index("idle_ms"))
    assert " ms" in repr(Table(pending.groupby("consumer")[["idle_ms"]].agg(["min", "max"])))


def test_the_plain_numbering_is_not_shown(pending: Table) -> None:
    assert pending._repr_html_().count('scope="col"') == 4
    bobs = pending[pending["consumer"] == "bob"]
    assert bobs._repr_html_().count('scope="col"') == 4
    assert 'scope="row"' not in bobs._repr_html_()
    nothing = pending[pending["consumer"] == "carol"]
    assert nothing._repr_html_().count('scope="col"') == 4


def test_the_tables_of_a_server_that_is_full_are_shown(own_lab: Lab) -> None:
    """Redis takes no MULTI then, and that is when one wants to look."""
    own_lab.redis.xadd("orders", {"data": b""}, id="1-0")
    own_lab.redis.xgroup_create("orders", "billing", id="0")
    own_lab.redis.xreadgroup("billing", "alice", {"orders": ">"})
    own_lab.redis.config_set("maxmemory", "1")
    assert own_lab.pending()["entry_id"].tolist() == ["1-0"]
    assert own_lab.groups()["lag"].tolist() == [0]
    assert own_lab.stream()["length"].tolist() == [1]
    with own_lab.change() as change:
        pass
    assert change["now"].tolist() == ["1", "1-0", "0", "1", "1"]
