"""RedisStreamProducer: XADD, one by one or pipelined."""

import logging
from collections.abc import Iterable
from itertools import islice
from typing import Any

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from redisflow_lab._internal.checks import check_name, check_positive
from redisflow_lab._internal.connection import stream_client
from redisflow_lab._internal.wire import round_trip
from redisflow_lab.capabilities import supports
from redisflow_lab.message import FIELD, Message

log = logging.getLogger(__name__)

REMEMBER_S = 24 * 3_600
"""How long an idempotency key is remembered, seconds."""

_MOST_KEYS = 10_000  # of each producer; the most that Redis 8.6 lets be set
_NOBODY = "redisflow-nobody"

# In one step: a producer that dies in between would leave an entry without its mark.
_ADD_ONCE = """
local before = redis.call('GET', KEYS[2])
if before then return before end
local id = redis.call('XADD', KEYS[1], unpack(ARGV, 2))
redis.call('SET', KEYS[2], id, 'EX', ARGV[1])
return id
"""


class RedisStreamProducer:
    """Writes messages to one stream.

    redis:  a client of the server; the producer connects by itself with the same address
            and credentials (`connection.stream_client`)
    stream: the key; XADD makes the stream with its first entry
    maxlen: trim to about this many entries (XADD MAXLEN ~), oldest first, read or not;
            None keeps all. `~` drops whole nodes, so more may stay:
            https://redis.io/docs/latest/commands/xadd/

    A write without a key is tried once. A connection that breaks raises
    redis.ConnectionError or redis.TimeoutError, and then the entry may have been written or
    not: only you know whether a second copy does less harm than none. A write with a key
    can be tried again, by `publish` itself and by you, and is written once.
    """

    def __init__(
        self, redis: Redis, stream: str = "messages", *, maxlen: int | None = None
    ) -> None:
        self.stream = check_name("stream", stream)
        self._redis = stream_client(redis)
        trim = () if maxlen is None else ("MAXLEN", "~", check_positive("maxlen", maxlen))
        self._trim = trim
        self._xadd = ("XADD", stream, *trim, "*", FIELD)
        self._remembers_keys: bool | None = None  # whether the server does; not asked yet

    def publish(self, message: Message, *, key: str | None = None) -> str:
        """Write one message. Returns its entry id, such as "1730671200000-0".

        key: what makes a second write of the same message recognisable, such as the number
             of the order. Then it is written once, however often it is published under this
             key and by the same `message.producer`, and each time the id of that one entry
             is returned. A connection that breaks is tried again, for about 3 s. Keys are
             remembered for a day; on Redis 8.6 and newer, which does it by itself, only the
             last 10,000 of each producer
        """
        data = _bytes(message)
        if key is None:
            reply = self._redis.execute_command(*self._xadd, data)
        else:
            check_name("key", key)
            reply = Retry(ExponentialWithJitterBackoff(cap=1.0, base=0.05), 6).call_with_retry(
                lambda: self._add_once(message.producer, key, data),
                lambda error: log.warning("%s, trying key %s again", error, key),
            )
        entry_id: str = reply.decode()
        log.info("wrote %s to %s", entry_id, self.stream)
        return entry_id

    def publish_many(self, messages: Iterable[Message], *, batch_size: int = 500) -> list[str]:
        """Write any number of messages, `batch_size` in one round trip. Returns their ids.

        Only one batch is held in memory, besides the ids. Not a transaction: the entries
        of other producers come between, and after an error the batches before it are
        written, the one it happened in perhaps. An item that is not a Message raises
        TypeError before any of its batch is written.
        """
        check_positive("batch_size", batch_size)
        rest = iter(messages)
        entry_ids: list[str] = []
        while batch := [_bytes(message) for message in islice(rest, batch_size)]:
            replies = round_trip(self._redis, [(*self._xadd, data) for data in batch])
            written = [entry_id.decode() for entry_id in replies]
            log.debug("wrote %d to %s: %s", len(written), self.stream, written)
            entry_ids += written
        return entry_ids

    def _add_once(self, producer: str, key: str, data: bytes) -> Any:
        if self._remembers_keys is None:
            self._remembers_keys = supports(self._redis, "XADD IDMP")
            if self._remembers_keys:
                self._remember_for_a_day()
        if self._remembers_keys:
            return self._redis.execute_command(
                "XADD", self.stream, "IDMP", producer, key, *self._trim, "*", FIELD, data
            )
        mark = f"{self.stream}:published:{producer}:{key}"
        return self._redis.eval(
            _ADD_ONCE, 2, self.stream, mark, REMEMBER_S, *self._trim, "*", FIELD, data
        )

    def _remember_for_a_day(self) -> None:
        """Raise what the server remembers: by default it is 100 keys, for 100 s.

        Setting other values forgets all keys, setting the same ones does not. The stream
        has to exist: https://redis.io/docs/latest/commands/xcfgset/
        """
        pipeline = self._redis.pipeline()
        if not self._redis.exists(self.stream):
            pipeline.xgroup_create(self.stream, _NOBODY, mkstream=True)
            pipeline.xgroup_destroy(self.stream, _NOBODY)
        pipeline.execute_command(
            "XCFGSET", self.stream, "IDMP-DURATION", REMEMBER_S, "IDMP-MAXSIZE", _MOST_KEYS
        )
        pipeline.execute()


def _bytes(message: Message) -> bytes:
    if not isinstance(message, Message):
        raise TypeError(f"expected a Message, not {type(message).__name__}: {message!r:.80}")
    return message.to_bytes()
