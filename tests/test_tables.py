"""Tables show what Redis answers: columns, values, units, and unknown numbers as unknown."""

import pytest
from network import address_of
from redis import Redis

from redisflow_lab import Message
from redisflow_lab.lab import Lab
from redisflow_lab.lab.prefix import without_prefix
from redisflow_lab.lab.views.tables import Table, pending_table, stream_table


def fill(lab: Lab, stream: str, count: int = 6) -> None:
    """Entries 1-0, 2-0, ...; two of them delivered to alice."""
    for number in range(1, count + 1):
        lab.redis.xadd(stream, {"data": b""}, id=f"{number}-0")
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=2)


def test_each_table_has_its_documented_columns(lab: Lab, stream: str) -> None:
    fill(lab, stream)
    columns = {
        "stream": ["stream", "length", "first_id", "last_id", "groups"],
        "groups": ["group", "consumers", "pending", "last_delivered_id", "lag"],
        "consumers": ["consumer", "pending", "idle_ms"],
        "pending": ["entry_id", "consumer", "deliveries", "idle_ms"],
    }
    for name, expected in columns.items():
        table = getattr(lab, name)(stream)
        assert isinstance(table, Table)
        assert list(table.columns) == expected


def test_counts_are_integers_next_to_an_unknown_lag(lab: Lab, stream: str) -> None:
    fill(lab, stream)
    lab.redis.xgroup_create(stream, "middle", id="3-0")
    lab.redis.xdel(stream, "5-0")
    groups = lab.groups(stream)
    assert str(groups["lag"].dtype) == "Int64"
    assert str(groups["pending"].dtype) == "int64"


def test_an_empty_table_says_none(lab: Lab, stream: str) -> None:
    lab.redis.xgroup_create(stream, "billing", id="0", mkstream=True)
    assert lab.stream(stream).loc[0, ["length", "first_id", "last_id"]].tolist() == [
        0,
        "-",
        "-",
    ]
    for empty in (lab.pending(stream), lab.consumers(stream)):
        assert len(empty) == 0
        assert "(none)" in repr(empty)
        assert "<table" in empty._repr_html_()


def test_pending_entries_are_ordered_by_id_up_to_a_limit(lab: Lab, stream: str) -> None:
    fill(lab, stream)
    lab.redis.xreadgroup("billing", "bob", {stream: ">"}, count=2)
    table = lab.pending(stream)
    assert list(table["entry_id"]) == ["1-0", "2-0", "3-0", "4-0"]
    assert list(table["consumer"]) == ["alice", "alice", "bob", "bob"]
    assert len(pending_table(lab.redis, stream, "billing", most=3)) == 3


def test_deliveries_count_each_read_of_an_entry(lab: Lab, stream: str) -> None:
    fill(lab, stream)
    lab.redis.xreadgroup("billing", "alice", {stream: "0"}, count=1)
    assert list(lab.pending(stream)["deliveries"]) == [2, 1]


def test_a_client_that_decodes_gets_the_same_tables(lab: Lab, stream: str) -> None:
    fill(lab, stream)
    text = Redis(**address_of(lab), decode_responses=True)
    assert stream_table(text, stream).equals(lab.stream(stream))


def test_names_are_escaped_in_html(lab: Lab, stream: str) -> None:
    lab.redis.xgroup_create(stream, "<b>", id="0", mkstream=True)
    html = lab.groups(stream)._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_html_has_a_caption_and_scopes_for_a_screen_reader(lab: Lab, stream: str) -> None:
    fill(lab, stream)
    html = lab.consumers(stream)._repr_html_()
    assert ">consumers of billing</caption>" in html
    assert html.count('scope="col"') == 3
    assert " ms</td>" in html


def test_selected_columns_keep_titles_and_units(lab: Lab, stream: str) -> None:
    fill(lab, stream)
    part = lab.pending(stream)[["entry_id", "idle_ms"]]
    assert isinstance(part, Table)
    assert "entry id" in repr(part)
    assert " ms" in repr(part)


@pytest.mark.parametrize("table", ["stream", "groups", "consumers"])
def test_a_missing_stream_is_named(lab: Lab, stream: str, table: str) -> None:
    with pytest.raises(
        Exception, match=r"no stream '.*test_tables:test_a_missing_stream_is_named"
    ):
        getattr(lab, table)(stream)


def fill_acknowledged(lab: Lab, stream: str) -> None:
    """Five entries; two delivered to alice, one of those acknowledged."""
    for number in range(1, 6):
        lab.redis.xadd(stream, Message("web", str(number)).to_fields(), id=f"{number}-0")
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=2)
    lab.redis.xack(stream, "billing", "1-0")


def test_tables_show_what_redis_answers(lab: Lab, stream: str) -> None:
    fill_acknowledged(lab, stream)
    name = without_prefix(stream)
    assert lab.stream(stream).to_dict("records") == [
        {"stream": name, "length": 5, "first_id": "1-0", "last_id": "5-0", "groups": 1}
    ]
    assert lab.groups(stream).to_dict("records") == [
        {
            "group": "billing",
            "consumers": 1,
            "pending": 1,
            "last_delivered_id": "2-0",
            "lag": 3,
        }
    ]
    consumers = lab.consumers(stream)
    assert consumers[["consumer", "pending"]].values.tolist() == [["alice", 1]]
    pending = lab.pending(stream)
    assert pending[["entry_id", "consumer", "deliveries"]].values.tolist() == [
        ["2-0", "alice", 1]
    ]
    assert 0 <= pending["idle_ms"][0] < 60_000


def test_the_largest_delivery_counts_add_up(lab: Lab, stream: str) -> None:
    """XNACK FATAL sets such a count; two of them are more than 64 bits hold."""
    fill_acknowledged(lab, stream)
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=1)
    most = 2**63 - 1
    lab.redis.xclaim(
        stream, "billing", "alice", 0, ["2-0", "3-0"], retrycount=most, justid=True
    )
    with lab.change(stream) as change:
        pass
    assert change.iloc[-1].tolist() == [
        "deliveries of pending",
        f"{2 * most}",
        f"{2 * most}",
        "0",
    ]


def test_a_lag_that_cannot_be_true_is_unknown(lab: Lab, stream: str) -> None:
    fill_acknowledged(lab, stream)
    lab.redis.xgroup_create(stream, "middle", id="3-0")
    lab.redis.xdel(stream, "4-0")
    groups = lab.groups(stream).set_index("group")
    assert groups["lag"].isna()["middle"]
    assert "unknown" in repr(lab.groups(stream))
    assert "unknown" in lab.groups(stream)._repr_html_()


def test_times_have_a_unit_and_a_constant_width(lab: Lab, stream: str) -> None:
    fill_acknowledged(lab, stream)
    table = lab.pending(stream)
    widths = []
    for idle in (1, 12_345):
        table["idle_ms"] = idle
        assert f"{idle} ms" in repr(table)
        assert f"{idle} ms" in table._repr_html_()
        widths.append([len(line) for line in repr(table).splitlines()])
    assert widths[0] == widths[1]


def test_change_shows_was_now_and_the_difference(lab: Lab, stream: str) -> None:
    fill_acknowledged(lab, stream)
    with lab.change(stream, "billing") as change:
        lab.redis.xack(stream, "billing", "2-0")
        lab.redis.xadd(stream, Message("web", "6").to_fields(), id="6-0")
    assert change.to_numpy().tolist() == [
        ["length", "5", "6", "+1"],
        ["last delivered id", "2-0", "2-0", ""],
        ["lag", "3", "4", "+1"],
        ["pending", "1", "0", "-1"],
        ["deliveries of pending", "1", "0", "-1"],
    ]


def test_change_shows_a_lag_that_is_not_known_as_unknown(lab: Lab, stream: str) -> None:
    fill(lab, stream)
    lab.redis.xgroup_create(stream, "middle", id="3-0")
    lab.redis.xdel(stream, "5-0")
    with lab.change(stream, "middle") as change:
        pass
    assert change.iloc[2].tolist() == ["lag", "unknown", "unknown", ""]
