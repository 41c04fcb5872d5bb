"""Metrics of streams: what the server knows of them, asked at each scrape.

The names are those of redis_exporter where it has one: https://github.com/oliver006/redis_exporter
A value that is not known has no sample: a lag of 0 would say that all is well.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis, RedisCluster
from redis.exceptions import RedisError

from redisflow_lab._internal.checks import check_client, check_name
from redisflow_lab._internal.connection import slot_client, with_bytes
from redisflow_lab._internal.guarded_log import GuardedLog
from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.server_errors import address_of
from redisflow_lab._internal.slot import shard_of
from redisflow_lab.inspection.groups import GroupStatus, StreamStatus, status_of
from redisflow_lab.inspection.memory import Memory, memory_of, memory_of_node
from redisflow_lab.inspection.missing import NoSuchStreamError
from redisflow_lab.partitions.counting import PartitionCountError
from redisflow_lab.partitions.state import Partitions, PartitionStatus

log = GuardedLog(__name__)

_OF_STREAM = ["db", "stream"]
_OF_GROUP = [*_OF_STREAM, "group"]


class StreamCollector(Collector):
    """Asks a server for its streams at each scrape, and makes samples of what it says.

    redis:       a client of the server, or of the cluster. Give it a `socket_timeout` below the
                 scrape's
    streams:     their keys. One that does not exist has no samples
    partitioned: names of streams that have partitions, such as "orders" for "{orders:0}",
                 "{orders:1}", ... How many there are is asked at each scrape

    `redisflow_up` is 1 if all could be asked, else 0. A scrape costs two round trips a stream,
    three a partition, and one more for each server. It reads the content of at most one entry
    a group.
    """

    def __init__(
        self,
        redis: Redis | RedisCluster,
        streams: Sequence[str] = (),
        *,
        partitioned: Sequence[str] = (),
    ) -> None:
        self._redis = with_bytes(check_client(redis))
        self._clients = {
            stream: slot_client(self._redis, stream) for stream in _checked("streams", streams)
        }
        self._partitioned = [
            Partitions(self._redis, name) for name in _checked("partitioned", partitioned)
        ]
        self._db = "db0"  # a cluster has no other
        if isinstance(redis, Redis):
            self._db = f"db{redis.connection_pool.connection_kwargs.get('db') or 0}"

    def describe(self) -> Iterator[Metric]:
        """The metrics without samples: to register them, no server is asked."""
        return iter(_Families().all)

    def collect(self) -> Iterator[Metric]:
        """The metrics as of now."""
        families = _Families()
        asked = [
            *(self._add_stream(families, *each) for each in self._clients.items()),
            *(self._add_partitions(families, each) for each in self._partitioned),
            self._add_servers(families),
        ]
        families.up.add_metric([], int(all(asked)))
        return iter(families.all)

    def _add_stream(self, families: "_Families", stream: str, client: Redis) -> bool:
        """Whether it could be asked."""
        try:
            status = status_of(client, stream)
            families.add(self._db, printable(stream), status, shard_of(client))
        except NoSuchStreamError:
            pass
        except RedisError as error:
            return _failed(stream, error)
        return True

    def _add_partitions(self, families: "_Families", partitions: Partitions) -> bool:
        try:
            found = partitions.status()
        except (RedisError, PartitionCountError) as error:
            return _failed(partitions.stream, error)
        for each in found:
            families.add_partition(self._db, each)
        return all(each.problem is None or _failed(each.stream, each.problem) for each in found)

    def _add_servers(self, families: "_Families") -> bool:
        if isinstance(self._redis, Redis):
            families.server.add_metric([printable(address_of(self._redis))], 1)
            return families.add_memory("", partial(memory_of, self._redis))
        asked = []
        for node in self._redis.get_primaries():
            families.server.add_metric([printable(node.name)], 1)
            ask = partial(memory_of_node, self._redis, node)
            asked.append(families.add_memory(printable(node.name), ask))
        return all(asked)


def _checked(what: str, names: Sequence[str]) -> list[str]:
    if isinstance(names, str):  # a str is a sequence too, of one-letter names
        raise TypeError(f"{what} must be a list of keys: write [{names!r}]")
    return [check_name("stream", name) for name in names]


def _failed(stream: str, error: Exception) -> bool:
    log.warning("no metrics of %s: %s", printable(stream), printable(str(error)))
    return False


class _Families:
    """One scrape."""

    def __init__(self) -> None:
        self.up = GaugeMetricFamily(
            "redisflow_up", "Whether the server could be asked for all streams."
        )
        self.server = GaugeMetricFamily(
            "redisflow_server_info",
            "The server that is asked, or the primaries of the cluster: always 1.",
            labels=["address"],
        )
        self._used = GaugeMetricFamily(
            "redis_memory_used_bytes",
            "Memory that the server uses; of a cluster that of each primary.",
            labels=["node"],
        )
        self._limit = GaugeMetricFamily(
            "redis_memory_max_bytes",
            "Its maxmemory; no sample if there is no limit.",
            labels=["node"],
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
        self._shard = GaugeMetricFamily(
            "redis_stream_shard_info",
            "The node of a cluster that has the stream now: always 1.",
            labels=[*_OF_STREAM, "shard"],
        )
        self._members = _group_gauge(
            "active_member", "Whether a member reads this partition for the group: 1, else 0."
        )
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

    def add_memory(self, node: str, ask: Callable[[], Memory | None]) -> bool:
        """Whether the server could be asked. No samples if this user may not be told."""
        try:
            memory = ask()
        except RedisError:
            return False
        if memory is not None:
            self._used.add_metric([node], memory.used)
            if memory.limit:
                self._limit.add_metric([node], memory.limit)
        return True

    def add_partition(self, db: str, found: PartitionStatus) -> None:
        stream = printable(found.stream)
        if found.status is not None:
            self.add(db, stream, found.status, found.shard)
        for group, member in found.members.items():
            self._members.add_metric([db, stream, printable(group)], int(member is not None))

    def add(self, db: str, stream: str, status: StreamStatus, shard: str | None) -> None:
        of_stream = [db, stream]
        if shard is not None:
            self._shard.add_metric([*of_stream, printable(shard)], 1)
        self._length.add_metric(of_stream, status.length)
        self._added.add_metric(of_stream, status.added)
        self._groups.add_metric(of_stream, len(status.groups))
        if status.dead is not None:
            self._dead.add_metric(of_stream, status.dead)
        if status.oldest_s is not None:
            self._oldest_entry_s.add_metric(of_stream, status.oldest_s)
        for group in status.groups:
            self._add_group([*of_stream, printable(group.name)], group)

    def _add_group(self, labels: list[str], group: GroupStatus) -> None:
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
