"""One message: a frozen value, its protobuf bytes, and the fields of its stream entry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NoReturn

from google.protobuf.message import DecodeError

from redisflow_lab.pb.redisflow.v1.stream_message_pb2 import StreamMessage

FIELD = b"data"
"""The only field of a stream entry; its value is the serialized StreamMessage."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND = -62_135_596_800  # 0001-01-01T00:00:00Z, where both datetime and Timestamp begin
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z, where both end


class MessageDecodeError(ValueError):
    """What arrived is not a StreamMessage. The text says what did: length and first bytes."""


class Message:
    """What a producer says, at a moment. Immutable, and equal to another by value.

    producer:   who wrote it; never blank
    content:    what it says; any text, also none
    created_at: when, in UTC, to the microsecond; another zone is converted, a naive
                time is refused; now, if left out

    Raises TypeError for a value of the wrong type and ValueError for a blank producer,
    a naive time or text that has no UTF-8 form. The text names the value.

    A message read from a stream keeps its parsed protobuf and converts `created_at`
    when somebody asks: most handlers never do. Nanoseconds below the microsecond,
    which Python's datetime cannot hold, are cut off there, not in the bytes.
    """

    __slots__ = ("_pb",)
    _pb: StreamMessage

    def __init__(self, producer: str, content: str, created_at: datetime | None = None) -> None:
        pb = StreamMessage(
            producer=_text("producer", producer), content=_text("content", content)
        )
        if not producer.strip():
            raise ValueError(f"producer is blank: {producer!r}; name who writes the message")
        # Not Timestamp.FromDatetime: it takes a naive time for UTC without a word.
        since = _utc(created_at) - _EPOCH
        pb.created_at.seconds = since.days * 86_400 + since.seconds
        pb.created_at.nanos = since.microseconds * 1_000
        _set_pb(self, pb)

    @property
    def producer(self) -> str:
        return self._pb.producer

    @property
    def content(self) -> str:
        return self._pb.content

    @property
    def created_at(self) -> datetime:
        at = self._pb.created_at
        return _EPOCH + timedelta(seconds=at.seconds, microseconds=at.nanos // 1_000)

    def to_bytes(self) -> bytes:
        """The serialized StreamMessage (proto/redisflow/v1/stream_message.proto)."""
        return self._pb.SerializeToString()

    @classmethod
    def from_bytes(cls, data: bytes) -> Message:
        """The message these bytes hold. Raises MessageDecodeError if they hold none.

        Protobuf finds sense in many random bytes, so a blank producer and a missing or
        impossible time are refused as well: no producer writes such a message.
        """
        try:
            pb = _parse(data)
        except (DecodeError, TypeError):
            _refuse(data, "they are not a serialized StreamMessage")
        if not pb.producer.strip():
            _refuse(data, "their producer is blank")
        at = pb.created_at
        seconds = at.seconds
        if not seconds and not pb.HasField("created_at"):
            _refuse(data, "they have no created_at")
        if not (_FIRST_SECOND <= seconds <= _LAST_SECOND and 0 <= at.nanos <= 999_999_999):
            _refuse(data, f"their created_at is no time: {at.seconds} s and {at.nanos} ns")
        message = _new(cls)
        _set_pb(message, pb)
        return message

    def to_fields(self) -> dict[bytes, bytes]:
        """The fields of the stream entry that carries this message, as XADD wants them."""
        return {FIELD: self.to_bytes()}

    @classmethod
    def from_fields(cls, fields: dict[bytes, bytes]) -> Message:
        """The message in the fields of a stream entry. Raises MessageDecodeError.

        No fields at all is how Redis answers for an entry that was deleted or trimmed
        while it was pending: https://redis.io/docs/latest/commands/xreadgroup/
        """
        if not fields:
            raise MessageDecodeError(
                "the entry has no fields: it was trimmed or deleted while it was pending"
            )
        data = fields.get(FIELD)
        if data is None:
            names = ", ".join(repr(name) for name in sorted(fields))
            raise MessageDecodeError(f"the entry has no field {FIELD!r}, only {names}")
        return cls.from_bytes(data)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Message cannot be changed: make a new one with another {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Message cannot be changed: {name} stays")

    def __eq__(self, other: object) -> bool:
        return (
            self._values() == other._values() if isinstance(other, Message) else NotImplemented
        )

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        at = self.created_at.isoformat().replace("+00:00", "Z")
        return f"Message(producer={self.producer!r}, content={self.content!r}, created_at={at})"

    def __reduce__(self) -> tuple[object, ...]:
        return Message.from_bytes, (self.to_bytes(),)

    def _values(self) -> tuple[str, str, datetime]:
        return self.producer, self.content, self.created_at


# What a million messages a minute pass through, looked up once. `_set_pb` is the one way
# around the refusal to be changed.
_parse = StreamMessage.FromString
_new = object.__new__
_set_pb = Message.__dict__["_pb"].__set__


def _text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}: {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} has no UTF-8 form at character {error.start}") from None
    return value


def _utc(value: datetime | None) -> datetime:
    if value is None:
        return datetime.now(UTC)
    if not isinstance(value, datetime):
        raise TypeError(f"created_at must be a datetime, not {type(value).__name__}: {value!r}")
    if value.utcoffset() is None:
        raise ValueError(
            f"created_at has no time zone: {value.isoformat()}; add one, as in "
            "datetime.now(UTC) or value.replace(tzinfo=UTC)"
        )
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"created_at is outside the years 1 to 9999 in UTC: {value}") from None


def _refuse(data: bytes, why: str) -> NoReturn:
    if not isinstance(data, bytes):
        raise MessageDecodeError(f"expected bytes, not {type(data).__name__}: {data!r:.80}")
    shown = data[:16].hex(" ") + (" ..." if len(data) > 16 else "")
    raise MessageDecodeError(f"cannot decode {len(data)} bytes ({shown}): {why}")
