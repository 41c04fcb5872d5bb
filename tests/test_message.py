"""A message: its values, its bytes on the wire, and what is refused."""

import pickle
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redisflow_lab import Message, MessageDecodeError
from redisflow_lab.pb.redisflow.v1.stream_message import StreamMessage

GOLDEN = bytes.fromhex("0a0950726f647563657231120d48656c6c6f2c205265646973211a0608e0cba4c806")
HELLO = Message("Producer1", "Hello, Redis!", datetime(2025, 11, 3, 22, 0, tzinfo=UTC))

TICK = timedelta(microseconds=1)
EAST, WEST = timezone(timedelta(hours=5)), timezone(timedelta(hours=-5))
FIRST, LAST = datetime.min.replace(tzinfo=EAST), datetime.max.replace(tzinfo=WEST)

encodable = st.text(st.characters(exclude_categories=["Cs"]))
messages = st.builds(
    Message,
    encodable.filter(lambda text: text.strip() != ""),
    encodable,
    st.datetimes(
        min_value=datetime(1, 1, 2),
        max_value=datetime(9999, 12, 30),
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]),
    ),
)


def test_bytes_of_other_services_decode_and_encode_back_to_themselves() -> None:
    assert Message.from_bytes(GOLDEN) == HELLO
    assert HELLO.to_bytes() == GOLDEN
    assert Message.from_fields({b"data": GOLDEN}).to_fields() == {b"data": GOLDEN}


@given(messages)
def test_any_message_survives_the_round_trip(message: Message) -> None:
    assert Message.from_bytes(message.to_bytes()) == message


@given(encodable, st.datetimes(timezones=st.just(UTC)), st.integers(1, 50_000))
def test_each_value_survives_the_round_trip(content: str, at: datetime, times: int) -> None:
    message = Message.from_bytes(Message("web", content * times, at).to_bytes())
    assert (message.producer, message.content) == ("web", content * times)
    assert (message.created_at, message.created_at.tzinfo) == (at, UTC)


@given(st.binary())
def test_any_bytes_decode_to_a_message_or_raise_a_decode_error(data: bytes) -> None:
    check_decoding(data)


@given(messages, st.binary(max_size=4), st.data())
def test_damaged_bytes_decode_to_a_message_or_raise_a_decode_error(
    message: Message, damage: bytes, data: st.DataObject
) -> None:
    whole = message.to_bytes()
    at = data.draw(st.integers(0, len(whole)))
    check_decoding(whole[:at] + damage + whole[at + len(damage) :])
    check_decoding(whole[:at])


def check_decoding(data: bytes) -> None:
    try:
        message = Message.from_bytes(data)
    except MessageDecodeError:
        return
    assert Message.from_bytes(message.to_bytes()) == message
    assert message.created_at.tzinfo is UTC
    assert repr(message)


def test_large_content_survives() -> None:
    message = Message("web", "ß" * 5_000_000)
    assert Message.from_bytes(message.to_bytes()).content == message.content


def test_messages_of_equal_values_are_equal_and_have_equal_hashes() -> None:
    same = Message("Producer1", "Hello, Redis!", datetime(2025, 11, 3, 22, 0, tzinfo=UTC))
    assert same == HELLO
    assert hash(same) == hash(HELLO)
    assert Message("Producer1", "Hello!", HELLO.created_at) != HELLO
    assert pickle.loads(pickle.dumps(HELLO)) == HELLO


@pytest.mark.parametrize("name", ["producer", "content", "created_at", "other"])
def test_a_message_cannot_be_changed(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(HELLO, name, "x")


def test_a_time_in_another_zone_is_converted_to_utc() -> None:
    nepal = timezone(timedelta(hours=5, minutes=45))
    at = datetime(2025, 11, 4, 3, 45, tzinfo=nepal)
    assert Message("Producer1", "Hello, Redis!", at) == HELLO


def test_the_default_time_is_now() -> None:
    before = datetime.now(UTC)
    assert before <= Message("web", "").created_at <= datetime.now(UTC)


def test_nanoseconds_are_truncated_in_the_value_and_kept_in_the_bytes() -> None:
    pb = StreamMessage(producer="web")
    pb.created_at.seconds, pb.created_at.nanos = 1, 999
    message = Message.from_bytes(pb.SerializeToString())
    assert message.created_at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert message.to_bytes() == pb.SerializeToString()


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((" \t", "x"), ValueError, r"blank: ' \\t'"),
        (("", "x"), ValueError, "blank"),
        ((b"web", "x"), TypeError, "producer must be a str, not bytes: b'web'"),
        (("web", None), TypeError, "content must be a str, not NoneType"),
        (("web", "\ud800"), ValueError, "UTF-8"),
        (("web", "x", datetime(2025, 1, 1)), ValueError, "no time zone: 2025-01-01"),
        (("\udfff", "x"), ValueError, "producer has no UTF-8 form at character 0"),
        ((None, "x"), TypeError, "producer must be a str, not NoneType"),
        (("web", "x", date(2025, 1, 1)), TypeError, "created_at must be a datetime, not date"),
        (("web", "x", FIRST), ValueError, "outside the years 1 to 9999 in UTC: 0001-01-01"),
        (("web", "x", LAST), ValueError, "outside the years 1 to 9999 in UTC: 9999-12-31"),
        (("web", "x", "today"), TypeError, "created_at must be a datetime, not str: 'today'"),
    ],
)
def test_bad_values_are_refused_by_name(
    arguments: tuple[object, ...], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        Message(*arguments)  # type: ignore[arg-type]


def test_bytes_without_a_producer_or_a_valid_time_do_not_decode() -> None:
    timeless = StreamMessage(producer="web", content="x")
    nameless = StreamMessage(content="x")
    nameless.created_at.seconds = 1
    timed = StreamMessage(producer="web")
    timed.created_at.seconds = 10**15
    for pb, says in ((timeless, "no created_at"), (nameless, "blank"), (timed, "no time")):
        with pytest.raises(MessageDecodeError, match=says):
            Message.from_bytes(pb.SerializeToString())


def test_a_decode_error_names_what_arrived() -> None:
    with pytest.raises(MessageDecodeError, match=r"20 bytes \(ff ff .* \.\.\.\)"):
        Message.from_bytes(b"\xff" * 20)
    with pytest.raises(MessageDecodeError, match="expected bytes, not str"):
        Message.from_bytes("text")  # type: ignore[arg-type]
    with pytest.raises(MessageDecodeError, match="no field b'data', only b'body'"):
        Message.from_fields({b"body": GOLDEN})
    with pytest.raises(MessageDecodeError, match="trimmed or deleted"):
        Message.from_fields({})


@pytest.mark.parametrize("name", ["producer", "content", "created_at"])
def test_no_value_of_a_message_can_be_deleted(name: str) -> None:
    with pytest.raises(AttributeError):
        delattr(HELLO, name)


def test_a_message_is_unequal_to_any_other_type() -> None:
    assert HELLO != GOLDEN
    assert ("Producer1", "Hello, Redis!", HELLO.created_at) != HELLO


@pytest.mark.parametrize("other", [("web", "Hello, Redis!"), ("Producer1", "Hi")])
def test_messages_that_differ_in_one_value_are_unequal(other: tuple[str, str]) -> None:
    assert Message(*other, HELLO.created_at) != HELLO
    assert Message("Producer1", "Hello, Redis!", HELLO.created_at + TICK) != HELLO


def test_microseconds_before_the_epoch_survive_the_round_trip() -> None:
    at = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert Message.from_bytes(Message("web", "", at).to_bytes()).created_at == at


@pytest.mark.parametrize("at", [datetime.min, datetime.max])
def test_the_first_and_the_last_time_survive_the_round_trip(at: datetime) -> None:
    message = Message("web", "", at.replace(tzinfo=UTC))
    assert Message.from_bytes(message.to_bytes()) == message


def test_the_epoch_survives_the_round_trip() -> None:
    message = Message("web", "", datetime(1970, 1, 1, tzinfo=UTC))
    assert Message.from_bytes(message.to_bytes()) == message


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(-62_135_596_801, 0), (253_402_300_800, 0), (0, -1), (0, 1_000_000_000)],
)
def test_a_time_outside_the_range_of_a_timestamp_does_not_decode(
    seconds: int, nanos: int
) -> None:
    pb = StreamMessage(producer="web")
    pb.created_at.seconds, pb.created_at.nanos = seconds, nanos
    with pytest.raises(MessageDecodeError, match=f"no time: {seconds} s and {nanos} ns"):
        Message.from_bytes(pb.SerializeToString())


def test_empty_bytes_do_not_decode() -> None:
    with pytest.raises(MessageDecodeError, match=r"0 bytes \(\): their producer is blank"):
        Message.from_bytes(b"")
