"""Metrics of streams: what the server knows of them, asked at each scrape.

The names are those of redis_exporter where it has one: https://github.com/oliver006/redis_exporter
A value that is not known has no sample: a lag of 0 would say that all is well.
"""

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError

from redisflow_lab._internal.checks import check_client, check_name
from redisflow_lab._internal.guarded_log import GuardedLog
from redisflow_lab._internal.printable import printable
from redisflow_lab.inspection.groups import GroupLook, StreamLook, look_at
from redisflow_lab.inspection.memory import Memory, memory_of
from redisflow_lab.inspection.missing import NoSuchStreamError

log = GuardedLog(__name__)

_OF_STREAM = ["db", "stream"]
_OF_GROUP = [*_OF_STREAM, "group"]


class StreamCollector(Collector):
    """Asks a server for its streams at each scrape, and makes samples of what it says.

    redis:   a client. Give it a `socket_timeout` below the scrape's
    streams: their keys. One that does not exist has no samples

    `redisflow_up` is 1 if all could be asked, else 0. A scrape costs two round trips a stream,
    and one more, and reads the content of at most one entry a group.
    """

    def __init__(self, redis: Redis, streams: Sequence[str]) -> None:
        self._redis = check_client(redis)
        if isinstance(streams, str):  # a str is a sequence too, of one-letter names
            raise TypeError(f"streams must be a list of keys: write [{streams!r}]")
        self._streams = [check_name("stream", stream) for stream in streams]
        at = redis.connection_pool.connection_kwargs
        self._db = f"db{at.get('db') or 0}"
        self._address = printable(str(at.get("path") or f"{at.get('host')}:{at.get('port')}"))

    def describe(self) -> Iterator[Metric]:
        """The metrics without samples: to register them, no server is asked."""
        return iter(_Families().all)

    def collect(self) -> Iterator[Metric]:
        """The metrics as of now."""
        families = _Families()
        families.server.add_metric([self._address], 1)
        is_up = 1
        for stream in self._streams:
            try:
                look = look_at(self._redis, stream)
            except NoSuchStreamError:
                continue
            except RedisError as error:
                log.warning("no metrics of %s: %s", printable(stream), printable(str(error)))
                is_up = 0
                continue
            families.add(self._db, printable(stream), look)
        try:
            families.add_memory(memory_of(self._redis))
        except RedisError:
            is_up = 0
        families.up.add_metric([], is_up)
        return iter(families.all)


class _Families:
    """One scrape."""

    def __init__(self) -> None:
        self.up = GaugeMetricFamily(
            "redisflow_up", "Whether the server could be asked for all streams."
        )
        self.server = GaugeMetricFamily(
            "redisflow_server_info", "The server that is asked: always 1.", labels=["address"]
        )
        self._used = GaugeMetricFamily(
            "redis_memory_used_bytes", "Memory that the server uses."
        )
        self._limit = GaugeMetricFamily(
            "redis_memory_max_bytes", "Its maxmemory; no sample if there is no limit."
        )
        self._length = _gauge("length", "Entries in the stream.")
        self._added = CounterMetricFamily(
            "redis_stream_entries_added",
            "Entries that were ever added to the stream.",
            labels=_OF_STREAM,
        )
        self._groups = _gauge("groups", "Consumer groups of the stream.")
        self._oldest_entry_s = _gauge(
            "oldest_entry_seconds", "How long the oldest entry is in the stream."
        )
        self._dead = _gauge("dead_letters", "Entries in the dead-letter stream.")
        self._consumers = _group_gauge("consumers", "Names of consumers in the group.")
        self._pending = _group_gauge(
            "messages_pending", "Entries that were delivered and are not acknowledged."
        )
        self._read = _group_gauge("entries_read", "Entries that were delivered to the group.")
        self._lag = _group_gauge("lag", "Entries that were not delivered to the group yet.")
        self._lag_s = _group_gauge(
            "lag_seconds", "How long the oldest entry that was not delivered is in the stream."
        )
        self._oldest_s = _group_gauge(
            "oldest_pending_seconds", "How long the oldest pending entry is in the stream."
        )
        self._idle_s = _group_gauge(
            "oldest_pending_idle_seconds", "Since the oldest pending entry was last delivered."
        )

    @property
    def all(self) -> list[Metric]:
        return [*vars(self).values()]

    def add_memory(self, memory: Memory | None) -> None:
        if memory is not None:
            self._used.add_metric([], memory.used)
            if memory.limit:
                self._limit.add_metric([], memory.limit)

    def add(self, db: str, stream: str, look: StreamLook) -> None:
        of_stream = [db, stream]
        self._length.add_metric(of_stream, look.length)
        self._added.add_metric(of_stream, look.added)
        self._groups.add_metric(of_stream, len(look.groups))
        if look.dead is not None:
            self._dead.add_metric(of_stream, look.dead)
        if look.oldest_s is not None:
            self._oldest_entry_s.add_metric(of_stream, look.oldest_s)
        for group in look.groups:
            self._add_group([*of_stream, printable(group.name)], group)

    def _add_group(self, labels: list[str], group: GroupLook) -> None:
        idle_s = group.oldest_idle_ms / 1_000
        for family, value in (
            (self._consumers, group.consumers), (self._pending, group.pending),
            (self._read, group.read), (self._lag, group.lag), (self._lag_s, group.lag_s),
            (self._oldest_s, group.oldest_pending_s), (self._idle_s, idle_s),
        ):  # fmt: skip
            if value is not None:
                family.add_metric(labels, value)


def _gauge(name: str, says: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"redis_stream_{name}", says, labels=_OF_STREAM)


def _group_gauge(name: str, says: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"redis_stream_group_{name}", says, labels=_OF_GROUP)
