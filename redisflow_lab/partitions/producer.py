"""PartitionedProducer: writes each message to the partition of its key."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

from redis import Redis, RedisCluster

from redisflow_lab._internal.backoff import Backoff, retried
from redisflow_lab._internal.checks import check_positive
from redisflow_lab._internal.connection import stream_client
from redisflow_lab._internal.guarded_log import GuardedLog
from redisflow_lab._internal.printable import printable
from redisflow_lab.partitions.counting import agree_on_count, count_key
from redisflow_lab.partitions.placing import partition_of, partition_streams
from redisflow_lab.producer import RedisStreamProducer

log = GuardedLog(__name__)


class Placed(NamedTuple):
    """Where a message was written.

    stream:   of the partition, such as "{orders:3}"
    entry_id: its id there
    """

    stream: str
    entry_id: str


class PartitionedProducer:
    """Writes messages to the partitions of a stream, those with the same key to the same one.

    redis:      a client of the cluster, or of one server
    stream:     its name; the partitions are the streams "{name:0}", "{name:1}", ...
    partitions: how many. Stored beside the streams by the first program, and checked by all
                others. Choose more than you need now: changing it later ends the order of most
                keys
    options:    of the `RedisStreamProducer` for each partition, such as `codec`

    Raises PartitionCountError at the first message if there is another number of partitions.
    """

    def __init__(
        self, redis: Redis | RedisCluster, stream: str, *, partitions: int, **options: Any
    ) -> None:
        self.stream, self.partitions = stream, partitions
        self._count = stream_client(redis, count_key(stream))
        self._producers = [
            RedisStreamProducer(redis, each, **options)
            for each in partition_streams(stream, partitions)
        ]
        self._is_agreed = False

    def publish(
        self,
        message: Any,
        *,
        partition_key: str | bytes,
        key: str | None = None,
        retry_for_s: float = 5.0,
        **options: Any,
    ) -> Placed:
        """Write one message to the partition of its key.

        partition_key: messages with the same key are read in the order in which they were
                       written, such as those of one customer
        key:           the idempotency key, not to be confused with `partition_key`: it
                       identifies one message. A repeated publish needs the same of both
        retry_for_s, options: those of `RedisStreamProducer.publish`
        """
        producer = self._producer_of(partition_key)
        self._agree(0 if key is None else retry_for_s)
        entry_id = producer.publish(message, key=key, retry_for_s=retry_for_s, **options)
        return Placed(producer.stream, entry_id)

    def publish_many(
        self,
        messages: Iterable[tuple[str | bytes, Any]],
        *,
        type: str | None = None,  # noqa: A002  # the name of the field
        batch_size: int = 500,
    ) -> list[Placed]:
        """Write pairs of key and message, pipelined. Returns where, in the order of `messages`.

        type:       the type of all these messages, as for `RedisStreamProducer.publish`
        batch_size: messages to send to a partition in one packet. Up to twice as many for
                    each partition are in memory

        Messages of one partition are written in order. Nothing is retried. After an error, any
        part of the last `batch_size` times `partitions` messages may have been written.
        """
        check_positive("batch_size", batch_size)
        source = iter(messages)
        placed: list[Placed] = []
        while chunk := [*islice(source, batch_size * self.partitions)]:
            placed += self._publish_chunk(chunk, type_name=type, batch_size=batch_size)
        return placed

    def _publish_chunk(
        self, chunk: list[tuple[str | bytes, Any]], *, type_name: str | None, batch_size: int
    ) -> list[Placed]:
        places: defaultdict[RedisStreamProducer, list[int]] = defaultdict(list)
        for at, pair in enumerate(chunk):
            try:
                key, _ = pair
            except (TypeError, ValueError):
                raise TypeError(
                    "messages must be pairs of a key and a message, as in ('customer-42', "
                    f"message), not {type(pair).__name__}: {pair!r:.80}"
                ) from None
            places[self._producer_of(key)].append(at)
        self._agree(0)
        placed: dict[int, Placed] = {}
        for producer, ats in places.items():
            ids = producer.publish_many(
                (chunk[at][1] for at in ats), type=type_name, batch_size=batch_size
            )
            for at, entry_id in zip(ats, ids, strict=True):
                placed[at] = Placed(producer.stream, entry_id)
        return [placed[at] for at in range(len(chunk))]

    def _producer_of(self, partition_key: str | bytes) -> RedisStreamProducer:
        return self._producers[partition_of(partition_key, self.partitions)]

    def _agree(self, retry_for_s: float) -> None:
        if self._is_agreed:
            return
        retried(
            lambda: agree_on_count(self._count, self.stream, self.partitions),
            retry_for_s,
            Backoff(log, f"the number of partitions of {printable(self.stream)}"),
            self._count,
        )
        self._is_agreed = True
