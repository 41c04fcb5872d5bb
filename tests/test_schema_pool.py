"""Our message type collides with no other registration of its schema in the same process."""

import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from redisflow_lab import Message

REGISTER = """
from google.protobuf import descriptor_pb2, descriptor_pool, timestamp_pb2

def register(path, package, field="number", default=descriptor_pool.Default()):
    file = descriptor_pb2.FileDescriptorProto(name=path, package=package, syntax="proto3")
    message = file.message_type.add(name="StreamMessage")
    message.field.add(name=field, number=1, type=5, label=1)
    default.Add(file)
"""
SAME_PATH = "register('redisflow/v1/stream_message.proto', 'redisflow.v1')"
SAME_NAME = "register('other/stream_message.proto', 'redisflow.v1')"
# A dialect of the well-known file, as some vendored copies are.
OTHER_TIMESTAMP = """
file = descriptor_pb2.FileDescriptorProto(
    name="google/protobuf/timestamp.proto", package="vendored", syntax="proto3"
)
file.message_type.add(name="Timestamp")
descriptor_pool.Default().Add(file)
"""
USE = """
from redisflow_lab import Message
message = Message("web", "a")
assert Message.from_bytes(message.to_bytes()) == message
"""


@pytest.mark.parametrize("implementation", ["upb", "python"])
@pytest.mark.parametrize(
    "code",
    [
        REGISTER + SAME_PATH + USE,
        USE + REGISTER + SAME_PATH,
        REGISTER + SAME_NAME + USE,
        USE + REGISTER + SAME_NAME,
        REGISTER.replace(", timestamp_pb2", "") + OTHER_TIMESTAMP + USE,
        USE + REGISTER.replace(", timestamp_pb2", "") + OTHER_TIMESTAMP,
    ],
    ids=[
        "same path before",
        "same path after",
        "same message before",
        "same message after",
        "another timestamp before",
        "another timestamp after",
    ],
)
def test_another_registration_is_no_trouble_in_either_order(
    code: str, implementation: str
) -> None:
    environment = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("implementation", ["upb", "python"])
def test_a_message_is_pickled_to_a_process_with_another_implementation(
    implementation: str,
) -> None:
    message = Message("web", "ß", datetime(2025, 11, 3, 22, 0, tzinfo=UTC))
    code = (
        "import pickle, sys\n"
        "message = pickle.load(sys.stdin.buffer)\n"
        "sys.stdout.buffer.write(pickle.dumps(message))\n"
    )
    environment = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        input=pickle.dumps(message),
        capture_output=True,
        check=True,
    )
    assert pickle.loads(done.stdout) == message
