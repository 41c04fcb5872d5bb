"""Each table: its columns, its values, and what it says when there is nothing to say."""

import pandas as pd
import pytest
from network import address_of
from redis import Redis

from redisflow_lab.lab import Lab
from redisflow_lab.lab.views.tables import Table, known_lag, pending_table, stream_table


def fill(lab: Lab, stream: str, count: int = 6) -> None:
    """Entries 1-0, 2-0, ...; two of them delivered to alice."""
    for number in range(1, count + 1):
        lab.redis.xadd(stream, {"data": b""}, id=f"{number}-0")
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=2)


def test_the_columns_are_those_that_are_documented(lab: Lab, stream: str) -> None:
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


def test_a_lag_after_trimming_past_the_cursor_is_unknown(lab: Lab, stream: str) -> None:
    """Five are gone unread and one is left, but servers answer with more than one."""
    fill(lab, stream, 12)
    assert lab.groups(stream)["lag"].tolist() == [10]
    lab.redis.xtrim(stream, maxlen=3, approximate=False)
    answered = lab.redis.xinfo_groups(stream)[0]["lag"]
    shown = lab.groups(stream)["lag"][0]
    assert pd.isna(shown) if answered is None or answered > 3 else shown == answered == 3


@pytest.mark.parametrize(
    ("answered", "length", "known"), [(None, 3, None), (4, 3, None), (3, 3, 3), (0, 3, 0)]
)
def test_a_lag_is_known_up_to_the_length_of_the_stream(
    answered: int | None, length: int, known: int | None
) -> None:
    assert known_lag(answered, length) == known


def test_counts_are_integers_even_beside_an_unknown_lag(lab: Lab, stream: str) -> None:
    fill(lab, stream)
    lab.redis.xgroup_create(stream, "middle", id="3-0")
    lab.redis.xdel(stream, "5-0")
    groups = lab.groups(stream)
    assert str(groups["lag"].dtype) == "Int64"
    assert str(groups["pending"].dtype) == "int64"


def test_an_empty_stream_has_no_first_id(lab: Lab, stream: str) -> None:
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


def test_pending_is_ordered_by_entry_and_may_be_cut(lab: Lab, stream: str) -> None:
    fill(lab, stream)
    lab.redis.xreadgroup("billing", "bob", {stream: ">"}, count=2)
    table = lab.pending(stream)
    assert list(table["entry_id"]) == ["1-0", "2-0", "3-0", "4-0"]
    assert list(table["consumer"]) == ["alice", "alice", "bob", "bob"]
    assert len(pending_table(lab.redis, stream, "billing", most=3)) == 3


def test_deliveries_count_every_reading(lab: Lab, stream: str) -> None:
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


def test_html_says_what_it_shows_to_a_screen_reader(lab: Lab, stream: str) -> None:
    fill(lab, stream)
    html = lab.consumers(stream)._repr_html_()
    assert ">consumers of billing</caption>" in html
    assert html.count('scope="col"') == 3
    assert " ms</td>" in html


def test_a_part_of_a_table_still_shows_itself_plainly(lab: Lab, stream: str) -> None:
    fill(lab, stream)
    part = lab.pending(stream)[["entry_id", "idle_ms"]]
    assert isinstance(part, Table)
    assert "entry id" in repr(part)
    assert " ms" in repr(part)


@pytest.mark.parametrize("table", ["stream", "groups", "consumers"])
def test_a_missing_stream_is_named(lab: Lab, stream: str, table: str) -> None:
    with pytest.raises(Exception, match=f"(?i)no .*{stream.split('[')[0]}"):
        getattr(lab, table)(stream)
