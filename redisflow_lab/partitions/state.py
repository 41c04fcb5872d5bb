"""What the partitions of a stream hold, and which have an active member."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from redis import Redis, RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from redisflow_lab._internal.checks import check_client, check_name
from redisflow_lab._internal.connection import slot_client, with_bytes
from redisflow_lab._internal.slot import on_another_node, shard_of
from redisflow_lab.inspection.groups import StreamStatus, status_of
from redisflow_lab.inspection.missing import NoSuchStreamError
from redisflow_lab.partitions.counting import count_key, read_count
from redisflow_lab.partitions.ownership import Member, owner_key
from redisflow_lab.partitions.placing import partition_streams

_NO_ANSWER = (RedisConnectionError, RedisTimeoutError)


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """A partition at one moment.

    number:  from 0
    stream:  its key
    shard:   host and port of its node; None if there is no cluster, or no node has it
    status:  its stream and groups; None if there is no stream yet, or `problem` says why
    members: the active member by group, for each group of any partition; None where no
             process reads it. One that is killed counts as active for five seconds more.
             Empty if the partition could not be asked
    problem: why the partition could not be asked
    """

    number: int
    stream: str
    shard: str | None = None
    status: StreamStatus | None = None
    members: Mapping[str, Member | None] = field(default_factory=dict)
    problem: RedisError | None = None


class Partitions:
    """Looks at the partitions of a stream, again and again. It keeps its connections.

    redis:  a client of the cluster, or of one server
    stream: the name without a number, such as "orders"
    """

    def __init__(self, redis: Redis | RedisCluster, stream: str) -> None:
        self._redis, self.stream = with_bytes(check_client(redis)), check_name("stream", stream)
        self._counter = slot_client(self._redis, count_key(stream))
        self._count: int | None = None
        self._clients: dict[str, Redis] = {}

    def status(self) -> list[PartitionStatus]:
        """The partitions as of now, in order; none if no program has used them yet.

        A partition whose node is down is among them, with its `problem`. One call costs three
        round trips a partition. It waits once for each node that does not answer.

        Raises PartitionCountError, and redis.RedisError if their number cannot be read. It is
        the last one that was read while its node is down.
        """
        down: dict[str, RedisError] = {}
        count = self._stored_count(down)
        if count is None:
            return []
        streams = partition_streams(self.stream, count)
        statuses = [self._status_of(number, each, down) for number, each in enumerate(streams)]
        groups = {
            group.name for each in statuses if each.status for group in each.status.groups
        }
        return [self._with_members(each, sorted(groups)) for each in statuses]

    def _stored_count(self, down: dict[str, RedisError]) -> int | None:
        try:
            self._count = read_count(self._counter, self.stream)
        except _NO_ANSWER as error:
            if self._count is None:
                raise
            down[shard_of(self._counter) or ""] = error
        except MovedError as error:  # a client of the cluster would have followed it
            raise on_another_node(error) from None
        return self._count

    def _status_of(
        self, number: int, stream: str, down: dict[str, RedisError]
    ) -> PartitionStatus:
        """The partition, or its problem. Nodes that do not answer are added to `down`."""
        client, found = self._client_of(stream), PartitionStatus(number, stream)
        try:
            found = replace(found, shard=shard_of(client))
            if problem := down.get(found.shard or ""):
                return replace(found, problem=problem)
            with suppress(NoSuchStreamError):  # no message and no consumer has come yet
                found = replace(found, status=status_of(client, stream))
            return replace(found, shard=shard_of(client))  # the slot may have moved
        except RedisError as error:
            if isinstance(error, _NO_ANSWER):
                down[found.shard or ""] = error
            return replace(found, problem=error)

    def _with_members(self, found: PartitionStatus, groups: list[str]) -> PartitionStatus:
        if found.problem or not groups:
            return found
        keys = [owner_key(found.stream, group) for group in groups]
        try:
            values = self._client_of(found.stream).mget(keys)
        except RedisError as error:
            return replace(found, problem=error)
        return replace(found, members=dict(zip(groups, map(_member, values), strict=True)))

    def _client_of(self, stream: str) -> Redis:
        if stream not in self._clients:
            self._clients[stream] = slot_client(self._redis, stream)
        return self._clients[stream]


def _member(value: Any) -> Member | None:
    try:
        return None if value is None else Member.parsed(value)
    except ValueError:  # another program has written it, and no member reads the partition
        return None
