"""Schema evolution: which changes break old bytes; this project's schema reads its own."""

import pytest

from redisflow_lab.lab.schema import SchemaError, breaking_changes, compile_proto
from redisflow_lab.pb.redisflow.v1.stream_message import StreamMessage

RELEASED = """
string producer = 1;
string content = 2;
google.protobuf.Timestamp created_at = 3;
"""
"""The fields that are in streams already (proto/CHANGELOG.md). Add, and never change one."""


def schema(fields: str) -> str:
    return (
        'syntax = "proto3"; package bookshop; import "google/protobuf/timestamp.proto";'
        f"message Order {{ {fields} }} message Parcel {{}} enum Colour {{ NONE = 0; }}"
    )


def below(types: str) -> str:
    """Fields of the types `Line` and `Status`; a test adds versions of them."""
    return f"map<string, Line> lines = 1; Status status = 2; {types}"


def breaks(old: str, new: str) -> list[str]:
    before, after = (compile_proto(schema(fields)) for fields in (old, new))
    return breaking_changes(before.DESCRIPTOR, after.DESCRIPTOR)


def test_the_schema_reads_every_released_version() -> None:
    released = compile_proto(schema(RELEASED))
    assert breaking_changes(released.DESCRIPTOR, StreamMessage.DESCRIPTOR) == []


def test_two_versions_of_a_message_can_be_loaded_side_by_side() -> None:
    old, new = (compile_proto(schema(fields)) for fields in ("", "int32 cents = 1;"))
    assert old.DESCRIPTOR.full_name == new.DESCRIPTOR.full_name == "bookshop.Order"
    assert old.FromString(new(cents=5).SerializeToString()).SerializeToString() == b"\x08\x05"


def test_an_error_of_protoc_names_the_line() -> None:
    with pytest.raises(SchemaError, match=r'schema\.proto:1:.*"nosuch" is not defined'):
        compile_proto(schema("nosuch type = 1;"))


def test_a_text_without_a_message_is_refused() -> None:
    with pytest.raises(SchemaError, match="declares no message"):
        compile_proto('syntax = "proto3";')


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("string book = 1;", "string book = 1; int32 cents = 2;"),
        ("string book = 1;", "reserved 1; string title = 2;"),
        ("string book = 5;", "reserved 1 to max;"),
        ("reserved 1;", "reserved 1; string book = 2;"),
        ("map<string, Parcel> a = 1;", "map<string, Parcel> a = 1;"),
        ("oneof a { int32 b = 1; }", "oneof a { int32 b = 1; int32 c = 2; }"),
        ("Parcel parcel = 1; Colour colour = 2;", "Colour colour = 2; Parcel parcel = 1;"),
        ("Order order = 1; int32 a = 2;", "Order order = 1; int32 a = 2; int32 b = 3;"),
        ("reserved 1 to 5;", "reserved 3 to 9, 1 to 2;"),
        (
            below("message Line { string book = 1; } enum Status { OPEN = 0; PAID = 1; }"),
            below(
                "message Line { reserved 1; string isbn = 2; }"
                "enum Status { OPEN = 0; reserved 1; SENT = 2; }"
            ),
        ),
        (
            below("message Line {} enum Status { OPEN = 0; }"),
            below(
                "message Line {}"
                "enum Status { option allow_alias = true; OPEN = 0; WAITING = 0; }"
            ),
        ),
    ],
)
def test_a_compatible_change_breaks_nothing(old: str, new: str) -> None:
    assert breaks(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("int32 a = 1;", "sint32 a = 1;", "int32 a = 1 became sint32 a = 1"),
        ("int32 a = 1;", "int32 b = 1;", "int32 a = 1 became int32 b = 1"),
        ("int32 a = 1;", "repeated int32 a = 1;", "int32 a = 1 became repeated int32 a = 1"),
        (
            "Parcel a = 1;",
            "Colour a = 1;",
            "bookshop.Parcel a = 1 became bookshop.Colour a = 1",
        ),
        ("optional int32 a = 1;", "int32 a = 1;", "optional int32 a = 1 became int32 a = 1"),
        ("int32 a = 1;", "", "int32 a = 1 is gone, and 1 is not reserved"),
        ("int32 a = 1;", "reserved 2;", "int32 a = 1 is gone, and 1 is not reserved"),
        (
            "map<string, int32> a = 1;",
            "map<string, string> a = 1;",
            "map<string, int32> a = 1 became map<string, string> a = 1",
        ),
        (
            "map<string, Parcel> a = 1;",
            "map<int32, Parcel> a = 1;",
            "map<string, bookshop.Parcel> a = 1 became map<int32, bookshop.Parcel> a = 1",
        ),
        (
            "optional int32 a = 1;",
            "oneof choice { int32 a = 1; }",
            "optional int32 a = 1 became oneof choice { int32 a = 1 }",
        ),
        (
            "oneof choice { Parcel a = 1; }",
            "oneof other { Parcel a = 1; }",
            "oneof choice { bookshop.Parcel a = 1 } became "
            "oneof other { bookshop.Parcel a = 1 }",
        ),
        (
            "oneof choice { Parcel a = 1; }",
            "Parcel a = 1;",
            "oneof choice { bookshop.Parcel a = 1 } became bookshop.Parcel a = 1",
        ),
        ("reserved 1;", "int32 a = 1;", "reserved 1 is gone"),
        ("reserved 1 to 5;", "reserved 1 to 2, 4 to 9;", "reserved 1 to 5 is gone"),
        (
            below("message Line { int32 a = 1; } enum Status { OPEN = 0; }"),
            below("message Line { int64 a = 1; } enum Status { OPEN = 0; }"),
            "bookshop.Order.Line: int32 a = 1 became int64 a = 1",
        ),
        (
            below("message Line {} enum Status { OPEN = 0; PAID = 1; }"),
            below("message Line {} enum Status { OPEN = 0; }"),
            "bookshop.Order.Status: PAID = 1 is gone, and 1 is not reserved",
        ),
        (
            below("message Line {} enum Status { OPEN = 0; reserved -3 to -1, 5; }"),
            below("message Line {} enum Status { OPEN = 0; reserved -3 to -1; }"),
            "bookshop.Order.Status: reserved 5 is gone",
        ),
        (
            "message A { B b = 1; } message B { A a = 1; int32 c = 2; } A a = 1;",
            "message A { B b = 1; } message B { A a = 1; int32 d = 2; } A a = 1;",
            "bookshop.Order.B: int32 c = 2 became int32 d = 2",
        ),
    ],
)
def test_a_breaking_change_is_named(old: str, new: str, said: str) -> None:
    assert breaks(old, new) == [said]


def test_swapped_enum_values_are_named() -> None:
    old, new = (
        below(f"message Line {{}} enum Status {{ NONE = 0; {values} }}")
        for values in ("OPEN = 1; PAID = 2;", "PAID = 1; OPEN = 2;")
    )
    assert breaks(old, new) == [
        "bookshop.Order.Status: OPEN = 1 became PAID = 1",
        "bookshop.Order.Status: PAID = 2 became OPEN = 2",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "",
            "required int32 a = 1;",
            "required int32 a = 1 is new, and is missing in old bytes",
        ),
        (
            "required int32 a = 1;",
            "reserved 1;",
            "required int32 a = 1 is gone, and a reader of the old schema requires it",
        ),
        (
            "optional int32 a = 1 [default = 5];",
            "optional int32 a = 1;",
            "optional int32 a = 1 [default = 5] became optional int32 a = 1",
        ),
        (
            "optional group A = 1 {}",
            "optional A a = 1; message A {}",
            "group bookshop.Order.A a = 1 became bookshop.Order.A a = 1",
        ),
        (
            "enum A { B = 1; C = 2; } optional A a = 1;",
            "enum A { C = 2; B = 1; } optional A a = 1;",
            "optional bookshop.Order.A a = 1 [default = 1] became "
            "optional bookshop.Order.A a = 1 [default = 2]",
        ),
    ],
)
def test_a_breaking_change_of_proto2_is_named(old: str, new: str, said: str) -> None:
    before, after = (
        compile_proto(schema(fields).replace("proto3", "proto2").replace("= 0", "= 1"))
        for fields in (old, new)
    )
    assert breaking_changes(before.DESCRIPTOR, after.DESCRIPTOR) == [said]
