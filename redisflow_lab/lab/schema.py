"""Compile two versions of a protobuf message and find incompatible changes."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message as ProtobufMessage


class SchemaError(ValueError):
    """protoc does not accept a schema. The text is protoc's own error, with the line."""


def compile_proto(text: str) -> type[ProtobufMessage]:
    """Compile a .proto text, and return the class of its first message.

    Each call uses a new descriptor pool, so that two versions of a message can exist in one
    process: a pool holds only one definition of a name.

    Raises SchemaError if protoc does not accept the text, or if it declares no message.
    """
    with TemporaryDirectory() as folder:
        Path(folder, "schema.proto").write_text(text, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", "--include_imports",
             "--descriptor_set_out=compiled", "-I.", "schema.proto"],
            cwd=folder, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise SchemaError(done.stderr.strip())
        compiled = FileDescriptorSet.FromString(Path(folder, "compiled").read_bytes())
    pool = DescriptorPool()
    for file in compiled.file:
        pool.Add(file)
    file = compiled.file[-1]
    if not file.message_type:
        raise SchemaError("the text declares no message; add one: message Order { ... }")
    name = ".".join(filter(None, [file.package, file.message_type[0].name]))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def breaking_changes(old: Descriptor, new: Descriptor) -> list[str]:
    """Changes that make a reader of `new` misread bytes written with `old`; empty if none.

    A field number keeps its name and type forever, and the number of a removed field is
    reserved. The bytes contain no names, but a changed name is the only sign of a changed
    meaning that a program can see. Nested messages are not compared.

    Compare `new` with each released version, not only with the last one, which may no
    longer have the reserved numbers of an earlier version.
    https://protobuf.dev/programming-guides/proto3/#updating
    """
    found = []
    for number, was in sorted(old.fields_by_number.items()):
        now = new.fields_by_number.get(number)
        if now is None:
            if not _reserved(new, number):
                found.append(f"{_declaration(was)} is gone, and {number} is not reserved")
        elif _declaration(now) != _declaration(was):
            found.append(f"{_declaration(was)} became {_declaration(now)}")
    for number, now in sorted(new.fields_by_number.items()):
        if _reserved(old, number):
            found.append(f"{_declaration(now)} takes a number that was reserved")
    return found


def _declaration(field: FieldDescriptor) -> str:
    """The line of the schema that declares this field, such as "optional int32 cents = 2"."""
    if field.message_type and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[part] for part in ("key", "value"))
        return f"map<{_type(key)}, {_type(value)}> {field.name} = {field.number}"
    declared = f"{_type(field)} {field.name} = {field.number}"
    if field.containing_oneof and not _is_optional(field):
        return f"oneof {field.containing_oneof.name} {{ {declared} }}"
    optional = "optional " if field.has_presence and not field.message_type else ""
    return f"{'repeated ' if field.is_repeated else optional}{declared}"


def _is_optional(field: FieldDescriptor) -> bool:
    """Whether it is marked `optional`: to protobuf, that is a oneof of one field."""
    assert field.containing_type is not None  # only an extension has none
    proto = DescriptorProto()
    field.containing_type.CopyToProto(proto)
    return any(f.proto3_optional for f in proto.field if f.number == field.number)


def _type(field: FieldDescriptor) -> str:
    declared = field.message_type or field.enum_type
    scalar = FieldDescriptorProto.Type.DESCRIPTOR.values_by_number[field.type].name
    return str(declared.full_name) if declared else scalar.removeprefix("TYPE_").lower()


def _reserved(message: Descriptor, number: int) -> bool:
    proto = DescriptorProto()
    message.CopyToProto(proto)
    return any(span.start <= number < span.end for span in proto.reserved_range)
