"""How a message becomes the bytes in a stream entry, and how they become a message again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message as ProtobufMessage

from redisflow_lab.message import Message, serialize

T = TypeVar("T")
P = TypeVar("P", bound=ProtobufMessage)


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """Both directions, for messages of one type. Producer and consumer need the same one.

    encode: makes the bytes of a message; raises TypeError for anything else
    decode: makes the message in these bytes. Whatever it raises means that there is none: the
            entry is dead-lettered as undecodable
    """

    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]


MESSAGE_CODEC = Codec(serialize, Message.from_bytes)
"""The default: a `Message` as a serialized StreamMessage."""


def protobuf_codec(message_type: type[P]) -> Codec[P]:
    """A codec for a protobuf message type of your own, such as `protobuf_codec(Order)`.

    Protobuf takes many other bytes for a message in which everything is empty: if that
    matters, check the fields in the handler, or in a codec of your own.
    """

    def encode(message: P) -> bytes:
        if not isinstance(message, message_type):
            raise TypeError(
                f"expected {message_type.__name__}, not {type(message).__name__}: "
                f"{message!r:.80}"
            )
        return message.SerializeToString()

    return Codec(encode, message_type.FromString)
