"""Compile a .proto text into the class of its message."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
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
    file = compiled.file[-1]
    if not file.message_type:
        raise SchemaError("the text declares no message; add one: message Order { ... }")
    name = ".".join(filter(None, [file.package, file.message_type[0].name]))
    return _message_class([each.SerializeToString() for each in compiled.file], name)


def take_apart(
    message_class: type[ProtobufMessage],
) -> tuple[Callable[[list[bytes], str], type[ProtobufMessage]], tuple[list[bytes], str]]:
    """A function and its arguments that make the class again, in another process."""
    files: dict[str, bytes] = {}

    def add(file: Any) -> None:
        for needed in file.dependencies:
            add(needed)
        files[file.name] = file.serialized_pb

    add(message_class.DESCRIPTOR.file)
    return _message_class, ([*files.values()], message_class.DESCRIPTOR.full_name)


def _message_class(files: list[bytes], name: str) -> type[ProtobufMessage]:
    """The class of a message, from serialized file descriptors in the order of imports."""
    pool = DescriptorPool()
    for file in files:
        pool.AddSerializedFile(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
