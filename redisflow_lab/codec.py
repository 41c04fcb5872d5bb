"""How a message is encoded as the bytes in a stream entry, and decoded again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message as ProtobufMessage

from redisflow_lab._internal.user_code import check_finished
from redisflow_lab.message import Message, serialize

T = TypeVar("T")
P = TypeVar("P", bound=ProtobufMessage)


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """Encodes and decodes messages of one type. Producer and consumer need the same codec.

    encode: returns the bytes of a message; raises TypeError for anything else
    decode: returns the message in these bytes. If it raises, the entry is dead-lettered as
            undecodable. Like a handler, it may raise TransientError, for example while a
            schema registry is down: then the entry waits and is decoded again
    """

    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]


MESSAGE_CODEC = Codec(serialize, Message.from_bytes)
"""The default: a `Message` as a serialized StreamMessage."""


def check_codec(codec: object) -> None:
    """Raise TypeError if `codec` is not a `Codec`."""
    if not isinstance(codec, Codec):
        raise TypeError(
            f"codec must be a Codec, not {codec!r:.80}: use Codec(encode, decode), or "
            "protobuf_codec for a protobuf message type"
        )


def encoder_of(codec: Codec[T]) -> Callable[[T], bytes]:
    """The codec's `encode`, made to raise TypeError if the result is not bytes."""
    if codec is MESSAGE_CODEC:
        return codec.encode

    def encode(message: T) -> bytes:
        data = codec.encode(message)
        if not isinstance(data, bytes):
            check_finished("encode", data)
            raise TypeError(
                f"encode of the codec must return bytes, not {type(data).__name__}: "
                f"{data!r:.80}"
            )
        return data

    return encode


def decoder_of(codec: Codec[T]) -> Callable[[bytes], T]:
    """The codec's `decode`, made to raise TypeError if it returns unfinished work."""
    if codec is MESSAGE_CODEC:
        return codec.decode

    def decode(data: bytes) -> T:
        message = codec.decode(data)
        check_finished("decode", message)
        return message

    return decode


def protobuf_codec(message_type: type[P]) -> Codec[P]:
    """A codec for a protobuf message type of your own, such as `protobuf_codec(Order)`.

    Protobuf decodes many unrelated byte strings as a message whose fields are all empty. If
    that matters, check the fields in the handler, or in a codec of your own.
    """

    def encode(message: P) -> bytes:
        if not isinstance(message, message_type):
            raise TypeError(
                f"expected {message_type.__name__}, not {type(message).__name__}: "
                f"{message!r:.80}"
            )
        return message.SerializeToString()

    return Codec(encode, message_type.FromString)
