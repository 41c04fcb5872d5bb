"""What `redisflow exporter` serves: streams of a server that may not be up yet."""

from collections.abc import Iterator, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from redis import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from redisflow_lab.cli.server import with_its_cluster
from redisflow_lab.metrics import StreamCollector


class Exported(Collector):
    """The metrics of streams, and of the partitions of those that have some.

    redis:   a client. Whether its server is a node of a cluster is found out when it answers
    streams: keys, or names of streams with partitions
    """

    def __init__(self, redis: Redis | RedisCluster, streams: Sequence[str]) -> None:
        self._redis, self._streams = redis, streams
        self._is_known = False
        self._collector = self._new_collector()

    def describe(self) -> Iterator[Metric]:
        """The metrics without samples."""
        return self._collector.describe()

    def collect(self) -> Iterator[Metric]:
        """The metrics as of now."""
        if not self._is_known:
            try:
                self._redis = with_its_cluster(self._redis)
            except (RedisError, RedisClusterException):
                pass  # the collector says that it is down
            else:
                self._is_known, self._collector = True, self._new_collector()
        return self._collector.collect()

    def _new_collector(self) -> StreamCollector:
        return StreamCollector(self._redis, self._streams, partitioned=self._streams)
