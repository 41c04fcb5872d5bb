"""What a message or an enum declares of each of its numbers."""

from typing import NamedTuple

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
)


class Numbers(NamedTuple):
    """The numbers of a message or an enum.

    lines:    by number, its line in the schema, such as "optional int32 cents = 2"; several
              for an enum value with aliases
    required: the numbers of required fields
    reserved: spans of numbers that may not be used
    """

    lines: dict[int, set[str]]
    required: set[int]
    reserved: list[range]

    def reserves(self, span: range) -> bool:
        """Whether each number of the span is reserved."""
        start = span.start
        for other in sorted(self.reserved, key=lambda other: other.start):
            if other.start <= start < other.stop:
                start = other.stop
        return start >= span.stop


def numbers_of(declared: Descriptor | EnumDescriptor) -> Numbers:
    return _of_message(declared) if isinstance(declared, Descriptor) else _of_enum(declared)


def type_of(field: FieldDescriptor) -> Descriptor | EnumDescriptor | None:
    """The message or enum that a field holds; for a map, that of its values."""
    if entry := _map_entry(field):
        return type_of(entry.fields_by_name["value"])
    return field.message_type or field.enum_type


def _of_message(message: Descriptor) -> Numbers:
    proto = DescriptorProto()
    message.CopyToProto(proto)
    optional = {field.number for field in proto.field if field.proto3_optional}
    return Numbers(
        {
            number: {_line(field, is_optional=number in optional)}
            for number, field in message.fields_by_number.items()
        },
        {field.number for field in message.fields if field.is_required},
        [range(span.start, span.end) for span in proto.reserved_range],
    )


def _of_enum(enum: EnumDescriptor) -> Numbers:
    proto = EnumDescriptorProto()
    enum.CopyToProto(proto)
    lines: dict[int, set[str]] = {}
    for value in enum.values:
        lines.setdefault(value.number, set()).add(f"{value.name} = {value.number}")
    # The end of a span is part of it, other than in a message.
    reserved = [range(span.start, span.end + 1) for span in proto.reserved_range]
    return Numbers(lines, set(), reserved)


def _line(field: FieldDescriptor, *, is_optional: bool) -> str:
    """is_optional: marked so in proto3, where protobuf counts it as a oneof of one field."""
    if entry := _map_entry(field):
        key, value = (entry.fields_by_name[part] for part in ("key", "value"))
        return f"map<{_type(key)}, {_type(value)}> {field.name} = {field.number}"
    line = f"{_type(field)} {field.name} = {field.number}"
    implied = field.enum_type and not field.is_repeated and field.default_value  # proto2
    if field.has_default_value or implied:
        line += f" [default = {field.default_value!r}]"
    if field.containing_oneof and not is_optional:
        return f"oneof {field.containing_oneof.name} {{ {line} }}"
    if field.is_repeated:
        return f"repeated {line}"
    if field.is_required:
        return f"required {line}"
    # A message always knows whether it is there, marked or not.
    return f"optional {line}" if field.has_presence and not field.message_type else line


def _type(field: FieldDescriptor) -> str:
    scalar = FieldDescriptorProto.Type.DESCRIPTOR.values_by_number[field.type].name
    scalar = scalar.removeprefix("TYPE_").lower()
    if declared := field.message_type or field.enum_type:
        return f"group {declared.full_name}" if scalar == "group" else str(declared.full_name)
    return scalar


def _map_entry(field: FieldDescriptor) -> Descriptor | None:
    entry = field.message_type
    return entry if entry and entry.GetOptions().map_entry else None
