"""RedisStreamProducer: writes messages to a stream, one at a time or pipelined in batches."""

import logging
from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from typing import Any

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from redisflow_lab._internal.backoff import transient_reason
from redisflow_lab._internal.checks import check_name, check_positive
from redisflow_lab._internal.connection import stream_client
from redisflow_lab._internal.wire import CommandPipe
from redisflow_lab.capabilities import supports
from redisflow_lab.message import FIELD, Message

log = logging.getLogger(__name__)

REMEMBER_S = 24 * 3_600
"""How long an idempotency key is remembered, in seconds."""

_MAX_KEYS = 10_000  # remembered for each producer; Redis 8.6 allows no more
_PLACEHOLDER_GROUP = "redisflow-placeholder"

# A script, because XADD and SET must both happen or neither: a producer that crashed between
# the two would leave an entry whose key is not remembered, and the retry would write it again.
_ADD_ONCE = """
local before = redis.call('GET', KEYS[2])
if before then return before end
local id = redis.call('XADD', KEYS[1], unpack(ARGV, 2))
redis.call('SET', KEYS[2], id, 'EX', ARGV[1])
return id
"""


class RedisStreamProducer:
    """Writes messages to one stream.

    redis:  a client of the server. The producer opens connections of its own with the same
            address and credentials
    stream: the key of the stream; the first message creates it
    maxlen: trim the stream to about this many entries with each write, oldest first, whether
            they have been consumed or not (default: None, keep all). Redis trims whole nodes
            of entries, so some more may remain: https://redis.io/docs/latest/commands/xadd/

    A write without a key is never retried. When the connection breaks, it raises
    redis.ConnectionError or redis.TimeoutError, and the message may or may not have been
    written: whether to publish it again and risk a duplicate is the caller's decision. A
    write with a key is retried, and the message is still written once.
    """

    def __init__(
        self, redis: Redis, stream: str = "messages", *, maxlen: int | None = None
    ) -> None:
        self.stream = check_name("stream", stream)
        self._redis = stream_client(redis)
        trim = () if maxlen is None else ("MAXLEN", "~", check_positive("maxlen", maxlen))
        self._trim = trim
        self._xadd = ("XADD", stream, *trim, "*", FIELD)
        self._server_remembers_keys: bool | None = None  # None: not asked yet

    def publish(self, message: Message, *, key: str | None = None) -> str:
        """Write one message and return its entry id, such as "1730671200000-0".

        key: an idempotency key that identifies this message, such as the order number
             (default: None). Publishing again with the same key and the same
             `message.producer` writes nothing and returns the id of the first entry.
             With a key, transient connection errors are retried for about 3 s.
             A key is remembered for one day; Redis 8.6 and newer remember the last 10,000
             keys of each producer
        """
        data = _serialize(message)
        if key is None:
            reply = self._redis.execute_command(*self._xadd, data)
        else:
            check_name("key", key)
            retry = Retry(ExponentialWithJitterBackoff(cap=1.0, base=0.05), 6, (RedisError,))
            reply = retry.call_with_retry(
                lambda: self._add_once(message.producer, key, data),
                lambda error: log.warning("retrying key %s after an error: %s", key, error),
                is_retryable=lambda error: transient_reason(error) is not None,
            )
        entry_id: str = reply.decode()
        log.debug("wrote %s to %s", entry_id, self.stream)
        return entry_id

    def publish_many(self, messages: Iterable[Message], *, batch_size: int = 500) -> list[str]:
        """Write messages in order, in pipelined batches, and return their entry ids in order.

        messages:   any iterable, also a generator; it is consumed as the writing proceeds
        batch_size: messages to send in one packet (default: 500)

        One batch is in flight while the next is packed, so at most two batches are in memory,
        besides the returned ids. One connection stays open for the whole call: an iterable
        that pauses for longer than the server's `timeout` setting loses it.

        This is not a transaction, and nothing is retried. Other producers' entries may come
        between. After an error, the stream holds the beginning of `messages`:

        - An item that is not a Message raises TypeError, and an iterable may raise an error of
          its own. All batches before that one are written, and nothing of that one.
        - When the server refuses a write or the connection breaks, redis.ResponseError,
          redis.ConnectionError or redis.TimeoutError is raised. The last two batches taken
          from `messages` may have been written in full, in part or not at all, and so may
          those of an interrupted call (KeyboardInterrupt). All batches before them are written.
        """
        check_positive("batch_size", batch_size)
        source = iter(messages)
        entry_ids: list[str] = []
        with closing(CommandPipe(self._redis)) as pipe:
            while True:
                try:
                    batch = [_serialize(message) for message in islice(source, batch_size)]
                except Exception:
                    self._receive_ids(pipe, leave=0)  # the batches before are still written
                    raise
                if not batch:
                    entry_ids += self._receive_ids(pipe, leave=0)
                    return entry_ids
                pipe.send_each(self._xadd, batch)
                entry_ids += self._receive_ids(pipe, leave=1)

    def _receive_ids(self, pipe: CommandPipe, *, leave: int) -> list[str]:
        """Return the ids of the oldest batches in flight, until `leave` batches remain."""
        entry_ids: list[str] = []
        while pipe.in_flight > leave:
            written = [entry_id.decode() for entry_id in pipe.receive()]
            log.debug("wrote %d to %s: %s", len(written), self.stream, written)
            entry_ids += written
        return entry_ids

    def _add_once(self, producer: str, key: str, data: bytes) -> Any:
        if self._server_remembers_keys is None:
            self._server_remembers_keys = supports(self._redis, "XADD IDMP")
            if self._server_remembers_keys:
                self._remember_keys_for_a_day()
        if self._server_remembers_keys:
            return self._redis.execute_command(
                "XADD", self.stream, "IDMP", producer, key, *self._trim, "*", FIELD, data
            )
        remembered = f"{self.stream}:published:{producer}:{key}"
        return self._redis.eval(
            _ADD_ONCE, 2, self.stream, remembered, REMEMBER_S, *self._trim, "*", FIELD, data
        )

    def _remember_keys_for_a_day(self) -> None:
        """Raise the server's limits, which are 100 keys and 100 s by default.

        Different values make the server forget all keys; the same values do not. The stream
        must exist: https://redis.io/docs/latest/commands/xcfgset/
        """
        pipeline = self._redis.pipeline()
        if not self._redis.exists(self.stream):
            pipeline.xgroup_create(self.stream, _PLACEHOLDER_GROUP, mkstream=True)
            pipeline.xgroup_destroy(self.stream, _PLACEHOLDER_GROUP)
        pipeline.execute_command(
            "XCFGSET", self.stream, "IDMP-DURATION", REMEMBER_S, "IDMP-MAXSIZE", _MAX_KEYS
        )
        pipeline.execute()


def _serialize(message: Message) -> bytes:
    if not isinstance(message, Message):
        raise TypeError(
            f"expected a Message, not {type(message).__name__}: {message!r:.80}; "
            "make one with Message(producer, content)"
        )
    return message.to_bytes()
