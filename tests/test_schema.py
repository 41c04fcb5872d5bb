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
        ("reserved 1;", "int32 a = 1;", "int32 a = 1 takes a number that was reserved"),
    ],
)
def test_a_breaking_change_is_named(old: str, new: str, said: str) -> None:
    assert breaks(old, new) == [said]
