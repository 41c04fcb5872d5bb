"""A client for one slot of a Redis Cluster: it follows the slot to the node that owns it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event as ThreadEvent
from typing import Any, TypeVar, cast

from redis import Connection, ConnectionPool, Redis, RedisCluster
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MovedError,
    RedisClusterException,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from redisflow_lab._internal.printable import printable

_MAX_REDIRECTIONS = 10
_AT_ONCE = 2  # a slot that has moved twice meanwhile needs two

Address = tuple[str, int]
T = TypeVar("T")


class DifferentSlotsError(ValueError):
    """Raised if keys that must change together are in different slots of a cluster."""


def check_one_slot(redis: Redis | RedisCluster, *keys: str) -> None:
    """Raise DifferentSlotsError unless a cluster keeps all these keys in one slot.

    One command or script must reach them all, and it reaches one slot only:
    https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
    """
    if not isinstance(redis, RedisCluster):
        return
    slots = {key: key_slot(key.encode()) for key in keys}
    if len({*slots.values()}) > 1:
        where = " and ".join(f"{printable(key)!r} is in {slot}" for key, slot in slots.items())
        raise DifferentSlotsError(
            f"these keys must be in one slot of the cluster, but {where}. Give them one hash "
            f"tag, as in '{{orders}}' and '{{orders}}:dead'"
        )


def is_one_slot(redis: Redis, stream: str, other: str) -> bool:
    """Whether one command, or one transaction, can reach both keys; always on one server."""
    if not isinstance(redis.connection_pool, SlotPool):
        return True
    return bool(key_slot(stream.encode()) == key_slot(other.encode()))


def shard_of(redis: Redis) -> str | None:
    """Host and port of the node that owns the slot of a client; None if there is no cluster."""
    pool = redis.connection_pool
    return "{}:{}".format(*pool.owner.address()) if isinstance(pool, SlotPool) else None


def redirections() -> Iterator[None]:
    """One item for each time that a command is sent again, a second at most.

    While a slot is given to its new owner, the two nodes may name each other for a moment.
    """
    for number in range(_MAX_REDIRECTIONS):
        if number >= _AT_ONCE:
            ThreadEvent().wait(0.001 * 2**number)
        yield


def following(redis: Redis, transaction: Callable[[], T]) -> T:
    """Run a transaction where its slot is now, and return what it returns.

    transaction: called again if a node has said MOVED, because then nothing was executed

    Raises MovedError if it has keys of another slot, and AskError while a slot is being moved
    to another node: no node executes a transaction in it then.
    """
    pool = redis.connection_pool
    for _ in redirections():
        try:
            return transaction()
        except MovedError as error:
            if not isinstance(pool, SlotPool) or error.slot_id != pool.owner.slot:
                raise
            pool.moved(error)
    return transaction()


class SlotOwner:
    """Which node owns the slot of a key, as far as the client of the cluster knows.

    `RedisCluster` asks the cluster and remembers the answer. This object says when to ask
    again, and which node to ask last: the one that has just failed would still name itself.
    """

    def __init__(self, cluster: RedisCluster, key: str) -> None:
        self._nodes = cluster.nodes_manager
        self.slot: int = key_slot(key.encode())
        self._is_stale = False
        self._last: Address | None = None

    def address(self) -> Address:
        """Host and port of the owner.

        Raises redis.ConnectionError if no node of the cluster answers, and ClusterDownError if
        no node owns the slot.
        """
        if self._is_stale:
            failed = None if self._last is None else "{}:{}".format(*self._last)
            try:
                self._nodes.initialize(last_failed_node_name=failed)
            except RedisClusterException as error:
                if isinstance(error.__cause__, AuthenticationError):
                    raise error.__cause__ from None
                raise RedisConnectionError(printable(str(error))) from error
            self._is_stale = False
        owners = self._nodes.slots_cache.get(self.slot)
        if not owners:
            self._is_stale = True
            raise ClusterDownError(f"no node of the cluster owns slot {self.slot}")
        self._last = (owners[0].host, int(owners[0].port))
        return self._last

    def primaries(self, connection: Any) -> set[Address]:
        """Hosts and ports of all primaries, as the node of this connection knows them now."""
        connection.send_command("CLUSTER", "SLOTS")
        rows = connection.read_response()
        return {
            self._nodes.remap_host_port(host.decode() if host else connection.host, int(port))
            for _, _, (host, port, *_), *_ in rows
        }

    def ask_again(self) -> None:
        """Ask the cluster before the next connection is opened."""
        self._is_stale = True

    def moved(self, error: MovedError) -> None:
        """Note where a node has said that the slot is now."""
        error.host, error.port = self.target_of(error)
        self._nodes.move_slot(error)
        self._is_stale = False

    def target_of(self, error: AskError) -> Address:
        """Host and port that a redirection names; without a host, that of the node itself."""
        assert self._last is not None
        return self._nodes.remap_host_port(error.host or self._last[0], error.port)


class SlotConnection(Connection):
    """A mixin for redis-py's connections: connects to the owner of a slot."""

    def __init__(self, *, owner: SlotOwner, **settings: Any) -> None:
        super().__init__(**settings)  # type: ignore[no-untyped-call]
        self._owner = owner

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        if not self.is_connected:
            self.host, self.port = self._owner.address()
        try:
            super().connect_check_health(*args, **kwargs)
        except AuthenticationError as error:
            raise type(error)(f"the node {self.host}:{self.port} refuses: {error}") from None
        except (RedisConnectionError, RedisTimeoutError):
            self._owner.ask_again()
            raise


class SlotPool(ConnectionPool):
    """Connections to the owner of a slot.

    settings: as for redis-py's connections, without an address
    """

    def __init__(self, owner: SlotOwner, connection_class: type[Any], **settings: Any) -> None:
        self.owner = owner
        self._class, self._settings = connection_class, settings
        following = type(connection_class.__name__, (SlotConnection, connection_class), {})
        super().__init__(following, owner=owner, **settings)

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close connections after an error. The next one asks which node owns the slot."""
        super().disconnect(inuse_connections)
        self.owner.ask_again()

    def moved(self, error: MovedError) -> None:
        """Go on where the slot is now. Connections that are not in use are closed."""
        super().disconnect(inuse_connections=False)
        self.owner.moved(error)

    @contextmanager
    def asking(self, error: AskError) -> Iterator[Any]:
        """A connection to the node to which the slot is moving, for commands after ASKING."""
        host, port = self.owner.target_of(error)
        connection = self._class(**self._settings, host=host, port=port)
        try:
            connection.connect()
            yield connection
        finally:
            connection.disconnect()


class ServerClient(Redis):
    """A client of one server, which says so when it turns out to be a node of a cluster."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except AskError as error:
            raise on_another_node(error) from None


def on_another_node(error: AskError) -> ResponseError:
    """What MOVED or ASK means to a client of one server."""
    return ResponseError(
        f"the stream is on another node of a Redis Cluster, {error.host}:{error.port}. Give a "
        "client of the whole cluster, a redis.RedisCluster, which finds it"
    )


class SlotClient(Redis):
    """A client of the node that owns a slot. It follows MOVED, ASK and failovers.

    A command that was redirected has not been executed: so it is sent again, also a write.
    """

    def execute_command(self, *args: Any, **options: Any) -> Any:
        pool = cast(SlotPool, self.connection_pool)
        execute = super().execute_command
        for _ in redirections():
            try:
                return execute(*args, **options)  # type: ignore[no-untyped-call]
            except MovedError as error:
                pool.moved(error)
            except AskError as error:
                with pool.asking(error) as connection:
                    connection.send_command("ASKING")
                    connection.read_response()
                    connection.send_command(*args)
                    return self.parse_response(connection, args[0], **options)  # type: ignore[no-untyped-call]
        return execute(*args, **options)  # type: ignore[no-untyped-call]
