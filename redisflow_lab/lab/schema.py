"""Two versions of one schema, side by side: compile them, and find what would break."""

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
    """protoc refused a schema. The text is what it said."""


def compile_proto(text: str) -> type[ProtobufMessage]:
    """The class of the first message in this .proto text, made by protoc.

    Each text gets a descriptor pool of its own, because one pool holds only one version
    of a name. Raises SchemaError if protoc refuses the text.
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
        raise SchemaError("the text declares no message")
    name = ".".join(filter(None, [file.package, file.message_type[0].name]))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def breaking_changes(old: Descriptor, new: Descriptor) -> list[str]:
    """What a reader of `new` would get wrong in bytes written under `old`; empty if nothing.

    A number keeps its type and its name for ever, and one that goes is reserved. Names are
    not in the bytes, but a new name is the one sign of a new meaning that a program sees.
    Compares these two messages, not those inside them. Compare with every version that
    was ever released: the last one may have forgotten a reserved number.
    """
    found = []
    for number, was in sorted(old.fields_by_number.items()):
        now = new.fields_by_number.get(number)
        if now is None:
            if not _reserved(new, number):
                found.append(f"{_told(was)} is gone, and {number} is not reserved")
        elif _told(now) != _told(was):
            found.append(f"{_told(was)} became {_told(now)}")
    for number, now in sorted(new.fields_by_number.items()):
        if _reserved(old, number):
            found.append(f"{_told(now)} takes a number that was reserved")
    return found


def _told(field: FieldDescriptor) -> str:
    """A field as its line in the schema."""
    declared = field.message_type or field.enum_type
    scalar = FieldDescriptorProto.Type.DESCRIPTOR.values_by_number[field.type].name
    kind = declared.full_name if declared else scalar.removeprefix("TYPE_").lower()
    optional = "optional " if field.has_presence and not field.message_type else ""
    label = "repeated " if field.is_repeated else optional
    return f"{label}{kind} {field.name} = {field.number}"


def _reserved(message: Descriptor, number: int) -> bool:
    proto = DescriptorProto()
    message.CopyToProto(proto)
    return any(span.start <= number < span.end for span in proto.reserved_range)
