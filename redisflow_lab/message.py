"""Message: an immutable value, with its protobuf bytes and the fields of its stream entry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NoReturn

from google.protobuf.message import DecodeError

from redisflow_lab._internal.printable import printable
from redisflow_lab.pb.redisflow.v1.stream_message import StreamMessage

FIELD = b"data"
"""The field of a stream entry that carries a message, as a serialized StreamMessage."""

TYPE = b"type"
"""The optional field that names the type of the message, as UTF-8 text, such as "order.placed".
Entries without it are of the one type that each reader of the stream expects."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND = -62_135_596_800  # 0001-01-01T00:00:00Z, where both datetime and Timestamp begin
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z, where both end


class MessageDecodeError(ValueError):
    """Raised for an entry that is no StreamMessage. Says what arrived, and what is wrong."""


class Message:
    """One message. Immutable, and compared by value.

    producer:   name of the producer; not blank
    content:    any text; may be empty
    created_at: a time with a time zone, converted to UTC (default: now). Python's datetime
                has microseconds only: if another service has written nanoseconds, they stay
                in the bytes, and are truncated here

    Raises TypeError for a value of the wrong type, and ValueError for a blank producer, a
    time without a zone, or text that cannot be encoded as UTF-8.
    """

    __slots__ = ("_pb",)
    _pb: StreamMessage

    def __init__(self, producer: str, content: str, created_at: datetime | None = None) -> None:
        pb = StreamMessage(
            producer=_text("producer", producer), content=_text("content", content)
        )
        if not producer.strip():
            raise ValueError(f"producer is blank: {producer!r}; name who writes the message")
        # Not Timestamp.FromDatetime, which silently treats a naive time as UTC.
        since = _utc(created_at) - _EPOCH
        pb.created_at.seconds = since.days * 86_400 + since.seconds
        pb.created_at.nanos = since.microseconds * 1_000
        self._pb = pb

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
        """Decode a serialized StreamMessage. Raises MessageDecodeError if it is not one.

        Many random byte strings are valid protobuf. So this also refuses a blank producer and
        a missing or impossible `created_at`, which no producer writes.
        """
        try:
            pb = StreamMessage.FromString(data)
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
        message = cls.__new__(cls)
        message._pb = pb
        return message

    def to_fields(self) -> dict[bytes, bytes]:
        """The fields of a stream entry that carries this message, for XADD."""
        return {FIELD: self.to_bytes()}

    @classmethod
    def from_fields(cls, fields: dict[bytes, bytes]) -> Message:
        """Decode the message in the fields of a stream entry.

        Raises MessageDecodeError if there is none. Redis returns an entry without any fields
        if it was deleted or trimmed while it was pending:
        https://redis.io/docs/latest/commands/xreadgroup/
        """
        return cls.from_bytes(take_data(dict(fields)))

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


def take_data(fields: dict[bytes, bytes]) -> bytes:
    """Remove the field `data` from the fields of an entry, and return its value.

    Raises MessageDecodeError if it is not there.
    """
    if not fields:
        raise MessageDecodeError(
            "the entry has no fields: it was trimmed or deleted while it was pending"
        )
    data = fields.pop(FIELD, None)
    if data is None:
        names = ", ".join(printable(repr(name), 100) for name in sorted(fields)[:20])
        raise MessageDecodeError(f"the entry has no field {FIELD!r}, only {names}")
    return data


def serialize(message: Message) -> bytes:
    """The bytes of a message. Raises TypeError for anything else, such as a coroutine."""
    if not isinstance(message, Message):
        raise TypeError(
            f"expected a Message, not {type(message).__name__}: {message!r:.80}; "
            "make one with Message(producer, content)"
        )
    return message.to_bytes()


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
