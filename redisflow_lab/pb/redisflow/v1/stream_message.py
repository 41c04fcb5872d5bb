"""The class of a StreamMessage, in a descriptor pool of its own.

The default pool of a process holds one definition of each name. A service that brings its own
copy of this schema, or another version of a well-known one, could not import both.

`make proto` writes the two files beside this one: the serialized descriptor of the schema with
everything it imports, and the stub with the types.
"""

from importlib.resources import files

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_pool = DescriptorPool()
for _file in FileDescriptorSet.FromString(
    files(__package__).joinpath("stream_message.binpb").read_bytes()
).file:
    _pool.Add(_file)

DESCRIPTOR = _pool.FindFileByName("redisflow/v1/stream_message.proto")
StreamMessage = GetMessageClass(DESCRIPTOR.message_types_by_name["StreamMessage"])
