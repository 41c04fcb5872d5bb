"""Compile a .proto text into the class of its message."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

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
    pool = DescriptorPool()
    for file in compiled.file:
        pool.Add(file)
    file = compiled.file[-1]
    if not file.message_type:
        raise SchemaError("the text declares no message; add one: message Order { ... }")
    name = ".".join(filter(None, [file.package, file.message_type[0].name]))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
