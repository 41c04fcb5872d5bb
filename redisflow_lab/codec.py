"""How a message becomes the bytes in a stream entry, and how they become a message again."""

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
    """Both directions, for messages of one type. Producer and consumer need the same one.

    encode: makes the bytes of a message; raises TypeError for anything else
    decode: makes the message in these bytes. Whatever it raises means that there is none, and
            the entry is dead-lettered as undecodable; except for TransientError, with which it
            says, as a handler does, that it has to wait, such as for a registry of schemas
    """

    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]


MESSAGE_CODEC = Codec(serialize, Message.from_bytes)
"""The default: a `Message` as a serialized StreamMessage."""


def check_codec(codec: object) -> None:
    """Raise TypeError if it is no `Codec`."""
    if not isinstance(codec, Codec):
        raise TypeError(
            f"codec must be a Codec, not {codec!r:.80}: use Codec(encode, decode), or "
            "protobuf_codec for a protobuf message type"
        )


def encoder_of(codec: Codec[T]) -> Callable[[T], bytes]:
    """Its `encode`, which then raises TypeError for a result that is not bytes."""
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
    """Its `decode`, which then raises TypeError for a result that is not made yet."""
    if codec is MESSAGE_CODEC:
        return codec.decode

    def decode(data: bytes) -> T:
        message = codec.decode(data)
        check_finished("decode", message)
        return message

    return decode


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
