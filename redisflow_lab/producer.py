"""RedisStreamProducer: XADD, one by one or pipelined."""

import logging
from collections.abc import Iterable
from itertools import islice

from redis import Redis

from redisflow_lab.checks import check_name, check_positive
from redisflow_lab.connection import stream_client
from redisflow_lab.message import FIELD, Message

log = logging.getLogger(__name__)


class RedisStreamProducer:
    """Writes messages to one stream.

    redis:  a client of the server; the producer connects by itself with the same address
            and credentials (`connection.stream_client`)
    stream: the key; XADD makes the stream with its first entry
    maxlen: trim to about this many entries (XADD MAXLEN ~), oldest first, read or not;
            None keeps all. `~` drops whole nodes, so more may stay:
            https://redis.io/docs/latest/commands/xadd/

    A write is tried once. A connection that breaks raises redis.ConnectionError or
    redis.TimeoutError, and then the entry may have been written or not: only you know
    whether a second copy does less harm than none.
    """

    def __init__(
        self, redis: Redis, stream: str = "messages", *, maxlen: int | None = None
    ) -> None:
        self.stream = check_name("stream", stream)
        self._redis = stream_client(redis)
        trim = () if maxlen is None else ("MAXLEN", "~", check_positive("maxlen", maxlen))
        self._xadd = ("XADD", stream, *trim, "*", FIELD)

    def publish(self, message: Message) -> str:
        """Write one message. Returns its entry id, such as "1730671200000-0"."""
        entry_id: str = self._redis.execute_command(*self._xadd, _bytes(message)).decode()
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
            pipeline = self._redis.pipeline(transaction=False)
            for data in batch:
                pipeline.execute_command(*self._xadd, data)
            written = [entry_id.decode() for entry_id in pipeline.execute()]
            log.debug("wrote %d to %s: %s", len(written), self.stream, written)
            entry_ids += written
        return entry_ids


def _bytes(message: Message) -> bytes:
    if not isinstance(message, Message):
        raise TypeError(f"expected a Message, not {type(message).__name__}: {message!r:.80}")
    return message.to_bytes()
