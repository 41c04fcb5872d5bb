"""Lab: the one object that a notebook needs."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pandas as pd
from redis import Redis, RedisCluster

from redisflow_lab._internal.checks import check_name
from redisflow_lab._internal.connection import slot_client
from redisflow_lab._internal.printable import printable
from redisflow_lab.capabilities import unsupported
from redisflow_lab.events import Event
from redisflow_lab.interfaces import Handler
from redisflow_lab.lab.interrupts import EndsWithInterruptedCell
from redisflow_lab.lab.prefix import without_prefix
from redisflow_lab.lab.process import PrivateFolder
from redisflow_lab.lab.recording.recorders import Recorders
from redisflow_lab.lab.recording.recording import Recording
from redisflow_lab.lab.recording.telling import tell_of
from redisflow_lab.lab.server import Server, ServerError, open_server
from redisflow_lab.lab.server.layout import Layout
from redisflow_lab.lab.views.drawing import draw_stream
from redisflow_lab.lab.views.live_view import LiveView
from redisflow_lab.lab.views.measures import measure
from redisflow_lab.lab.views.partitions import (
    Part,
    draw_partitions,
    part_of,
    partitions_table,
)
from redisflow_lab.lab.views.picture import Picture
from redisflow_lab.lab.views.replay_output import ReplayOutput
from redisflow_lab.lab.views.steering import Steering, handle_slowly
from redisflow_lab.lab.views.tables import (
    Table,
    consumers_table,
    dead_letters_table,
    groups_table,
    pending_table,
    stream_table,
)
from redisflow_lab.lab.views.timeline import draw_timeline
from redisflow_lab.lab.waiting import WHAT_TO_TRY, wait_until
from redisflow_lab.lab.workers.pickling import pack_call
from redisflow_lab.lab.workers.process import Process, name_of
from redisflow_lab.lab.workers.starters import new_starter
from redisflow_lab.lab.workers.worker import Worker, events_table
from redisflow_lab.partitions import Partitions

if TYPE_CHECKING:  # most labs have one server, and do not import this
    from redisflow_lab.lab.server.nodes import Nodes
    from redisflow_lab.lab.server.topology import Topology

_HOW_TO_GET_IT = (
    "Stop JupyterLab, and start it on Redis 8.10: REDISFLOW_SERVER=docker make lab. Without "
    "Docker, run make redis8, which prints the next command"
)


class MissingCapabilityError(ServerError):
    """The server does not support what is needed. The text says how to get one that does."""


class Lab:
    """A Redis server for experiments, with tools to break it and to look inside.

    server:     "path" (redis-server on PATH), "bundled", "docker" or "docker:IMAGE"; "own"
                for the first of these that is available. None (default) uses the server that
                REDISFLOW_SERVER or REDISFLOW_URL names, and "own" if neither is set
    needs:      commands and options that the server must support, such as "XACKDEL" or
                "XREADGROUP CLAIM"
    appendonly: keep an append-only file (default); False leaves only RDB snapshots
    port:       port on 127.0.0.1; None (default) picks a free one. Choose one to connect with
                redis-cli
    data_dir:   folder for the server's data, which is kept, and which other users may not enter
                (mode 0700). None (default) uses a private
                folder, which is removed on `close`
    replicas:   how many replicas each primary has; with any, the lab has several servers
    sentinels:  how many Sentinels to start, which put a replica in the place of a primary
                that is down
    cluster:    how many primaries a Redis Cluster has; 0 (default) is no cluster

    `appendonly`, `port` and `data_dir` configure a server that the lab starts; with a server
    that REDISFLOW_URL names they raise ServerError. Several servers are always started by the
    lab.

    `redis` is a client of the server, `server` the server to `kill` and `start`. With several
    servers, `redis` is a client of the primary or of the cluster, and `nodes` has the servers.

    Prints one line that says which server it uses. Everything that it starts ends with
    `close` or with the kernel, even if the kernel is killed. Raises ServerError if no server
    is available, and MissingCapabilityError if the server lacks one of `needs`.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        needs: Sequence[str] = (),
        appendonly: bool = True,
        port: int | None = None,
        data_dir: str | Path | None = None,
        replicas: int = 0,
        sentinels: int = 0,
        cluster: int = 0,
    ) -> None:
        if isinstance(needs, str):  # a str is a sequence too, of one-letter names
            raise TypeError(f"needs must be a list of names, not {needs!r}: write [{needs!r}]")
        self._layout = layout = Layout(replicas, sentinels, cluster)
        try:
            self._folder = PrivateFolder()
        except OSError as error:
            raise ServerError(
                f"cannot create a temporary folder for the lab: {error}. "
                "Set TMPDIR to a folder that you can write to"
            ) from None
        self._recorders = Recorders()
        self._views: dict[str, LiveView] = {}  # by stream
        self._clients: dict[str, Redis] = {}  # by stream
        self._workers: list[Worker] = []
        self._processes: list[Process] = []
        self._starter = new_starter(self._folder.path)
        self._interrupts = EndsWithInterruptedCell(self._starter)
        try:
            self.server: Server = open_server(
                server,
                self._folder.path / "server",
                appendonly=appendonly,
                port=port,
                data_dir=None if data_dir is None else Path(data_dir).expanduser(),
                layout=layout,
            )
        except BaseException:
            self._interrupts.close()
            self._folder.remove()
            raise
        self.redis: Redis = self.server.connect()
        if not layout.cluster:
            self.redis = tell_of(self.redis, self._recorders.commanded)
        if missing := unsupported(self._client_of_one_server(), needs):
            self.close()
            raise MissingCapabilityError(
                f"This chapter needs Redis 8.10: {self.server.label} does not support "
                f"{', '.join(missing)}. {_HOW_TO_GET_IT}."
            )
        print(f"The lab runs on {self.server.label}.")

    def __repr__(self) -> str:
        return f"<Lab on {self.server!r}>"

    @property
    def url(self) -> str:
        """The address of the server for redis-cli, a web UI or a client in another language.

        It contains the password, and nothing else shows it: do not store it in a notebook.
        """
        return self.server.url

    @property
    def nodes(self) -> "Nodes":
        """The servers of a lab that has several, by name: node-1, ... and sentinel-1, ...

        Each can be killed and started, paused and resumed, and connected to; see `node.Node`.
        Raises ServerError if the lab has one server.
        """
        return self._several().nodes

    def partition(self, name: str) -> None:
        """Cut a node off from all other nodes and Sentinels, in both directions.

        Clients still reach it. More nodes can be cut off, each from all others, until `heal`.
        Only on Linux; raises ServerError elsewhere.
        """
        self._several().partition(name)

    def heal(self) -> None:
        """Let all nodes reach each other again."""
        self._several().heal()

    def repair(self) -> None:
        """Heal, resume and start everything, and wait until the replicas have all data.

        In a cluster, the nodes that were the primaries at first are so again. Slots stay where
        they were moved to.
        """
        several = self._several()
        several.heal()
        for node in several.nodes.values():
            if node.status == "paused":
                node.resume()
            node.start()
        self._wait_until_replicated()
        if self._is_cluster:
            for state in several.states()[: self._layout.cluster]:
                if state.role == "replica":
                    several.failover(state.name)
            self._wait_until_replicated()

    def _wait_until_replicated(self) -> None:
        replicas = self._layout.replicas * max(1, self._layout.cluster)

        def is_replicated() -> bool:
            # Without the link, a former primary may have as much, and not the same.
            table = self.replication()[["link", "behind"]].fillna(-1)
            return bool(table.to_numpy().tolist() == [["up", 0]] * replicas)

        self.wait_until(is_replicated, "each replica has what its primary has", timeout_s=20.0)

    def failover(self, name: str | None = None) -> str:
        """Make a replica the primary while the primary is running, as for an upgrade.

        Returns the name of the new primary, when it serves. Sentinels tell the former primary
        a moment later that it is a replica, and what it accepts until then is lost. A cluster,
        and a lab without Sentinels, lose nothing.

        name: the replica; None for any one
        """
        return self._several().failover(name)

    def migrate_slot(self, key_or_slot: str | int, *, to: str) -> None:
        """Move a slot of a cluster, with its keys, to another primary.

        key_or_slot: its number, or a key in it
        """
        with self.migrating_slot(key_or_slot, to=to):
            pass

    def migrating_slot(
        self, key_or_slot: str | int, *, to: str
    ) -> AbstractContextManager[None]:
        """As `migrate_slot`, but within the block the slot is still on its way.

        Its keys are on the new primary, and the old one answers ASK for them. The end of the
        block completes the migration.
        """
        return self._several().migrating_slot(key_or_slot, to)

    def slot_owner(self, key_or_slot: str | int) -> str:
        """The node of a cluster that serves the slot of a key, or the slot of this number."""
        return self._several().slot_owner(key_or_slot)

    def servers(self) -> Table:
        """The servers of a lab that has several; see `servers.servers_table`."""
        from redisflow_lab.lab.views.servers import servers_table

        return servers_table(self._several().states())

    def replication(self) -> Table:
        """How far the replicas are behind; see `servers.replication_table`."""
        from redisflow_lab.lab.views.servers import replication_table

        several = self._several()
        return replication_table(several.states(), several.state)

    def partitions(self, stream: str = "orders", group: str = "billing") -> Table:
        """The partitions of a stream as a table; see `partitions.partitions_table`.

        stream: the name without a number. Raises RuntimeError if no program has used
                partitions under that name
        """
        return partitions_table(self._parts(stream, group), stream, group)

    def draw_partitions(self, stream: str = "orders", group: str = "billing") -> Picture:
        """Draw the partitions of a stream on the nodes that have them.

        A bar for each: filled is what the group has read, empty what it has not. A partition
        that no process reads is marked.
        """
        parts = self._parts(stream, group)
        nodes = [""]
        if self._is_cluster:
            holders = {part.node for part in parts}
            primaries = {state.name for state in self._several().states() if state.slots}
            nodes = sorted(holders | primaries)
        return draw_partitions(parts, nodes, stream, group)

    def _parts(self, stream: str, group: str) -> list[Part]:
        partitions = Partitions(self.redis, check_name("stream", stream))
        statuses = partitions.status()
        if any(each.problem for each in statuses):
            # The second call asks where the slots are now.
            statuses = partitions.status()
        if not statuses:
            raise RuntimeError(
                f"{printable(stream)} has no partitions. Publish with a PartitionedProducer, "
                "and give the name without a number here"
            )
        return [
            part_of(each, group, self.slot_owner(each.stream) if self._is_cluster else "")
            for each in statuses
        ]

    @property
    def _is_cluster(self) -> bool:
        return isinstance(self.redis, RedisCluster)

    def _several(self) -> "Topology":
        """The servers. Raises ServerError if there is one."""
        if not hasattr(self.server, "nodes"):
            raise ServerError(
                "this lab has one server. Lab(replicas=1, sentinels=3) or "
                "Lab(cluster=3, replicas=1) starts several"
            )
        return cast("Topology", self.server)

    def _client_of(self, stream: str) -> Redis:
        """The client of a stream: in a cluster, of the node that has it."""
        key = self.key(stream)
        if key not in self._clients:
            self._clients[key] = slot_client(self.redis, key)
        return self._clients[key]

    def _client_of_one_server(self) -> Redis:
        if not hasattr(self.server, "nodes"):
            return self.redis
        return next(iter(self.nodes.values())).connect()

    def key(self, name: str) -> str:
        """The key to use for `name`: with the lab's prefix on a shared server, else `name`.

        A name that has the prefix already is left as it is. All methods of the lab take a
        stream by either name; the commands of `redis` need the key.
        """
        prefix = self.server.prefix
        return name if name.startswith(prefix) else prefix + name

    def worker(
        self,
        name: str | None,
        handler: Handler,
        *,
        stream: str = "orders",
        group: str = "billing",
        crash: str | None = None,
        after: int = 1,
        batch: int = 10,
        ack_every: int = 1,
        min_idle_ms: int = 60_000,
        max_deliveries: int = 5,
    ) -> Worker:
        """Start a consumer in its own process; see `worker.Worker`.

        It works in the current folder of the notebook, and finds the same modules. If a worker
        of the same name, group and stream is still running, for example because a cell is run
        twice, that one is killed first, and a line says so.

        name:    consumer name; None for a random one
        handler: called with each `Delivery`. It may use functions, plain values,
                 protobuf messages and Redis clients of the notebook; they are copied into the
                 process
        crash:   where the process kills itself: "after-claim", "after-delivery",
                 "before-ack", "after-ack", "after-failure" or "after-dead-letter". None
                 (default): it does not
        after:   crash when that point is reached for the `after`th time
        batch, ack_every, min_idle_ms, max_deliveries: see `RedisStreamConsumer`
        """
        stream = self.key(check_name("stream", stream))
        earlier = [
            worker
            for worker in self._workers
            if worker.consumer == (stream, group, name) and name and not worker.ended
        ]
        worker = Worker(
            self.redis,
            name,
            handler,
            stream=stream,
            group=group,
            crash=crash,
            after=after,
            options={
                "batch": batch,
                "ack_every": ack_every,
                "min_idle_ms": min_idle_ms,
                "max_deliveries": max_deliveries,
            },
            folder=self._folder.path,
            starter=self._starter,
            recorders=self._recorders,
            replaces=earlier,
        )
        for replaced in earlier:
            print(
                f"An earlier worker {printable(replaced.name)} of the group {printable(group)} "
                "was still running. It was killed, and the new one takes its place."
            )
        self._workers.append(worker)
        return worker

    def process(self, function: Callable[..., object], *arguments: object) -> Process:
        """Call a function of the notebook in a process of its own; see `process.Process`.

        For a consumer that you wrote yourself: the process can be killed, or kill itself with
        SIGKILL, at any instruction. What the function uses is copied, as for `worker`, and
        what it returns is not. If the first argument is a string, a recording takes it for
        the name of the consumer that the process is.
        """
        name = name_of(function)
        consumer = next((first for first in arguments[:1] if isinstance(first, str)), name)
        process = Process(
            name,
            pack_call(function, *arguments, culprit=f"the function {name}"),
            starter=self._starter,
            log=self._folder.path / f"process-{len(self._processes)}.log",
            on_end=lambda ended: self._recorders.process_ended(
                consumer, ended.state, died=ended.died
            ),
        )
        self._recorders.process_started(consumer)
        self._processes.append(process)
        return process

    def running_workers(self, stream: str = "orders", group: str = "billing") -> list[Worker]:
        """The workers of a group that are still running, in the order of their start."""
        key = self.key(stream)
        return [
            worker
            for worker in self._workers
            if worker.consumer[:2] == (key, group) and not worker.ended
        ]

    def kill_workers(self, stream: str = "orders") -> None:
        """Kill the workers that are still running on this stream."""
        key = self.key(stream)
        for worker in self._workers:
            if worker.consumer[0] == key:
                worker.kill()

    def wait_until(
        self, state: Callable[[], object], what: str = "the state", *, timeout_s: float = 10.0
    ) -> None:
        """Return as soon as `state()` is true. Raises TimeoutError after `timeout_s` seconds.

        what: the state in words, for the error message: "not within 10 s: the state"
        """
        wait_until(state, what, timeout_s=timeout_s, details=lambda: WHAT_TO_TRY)

    def stream(self, stream: str = "orders") -> Table:
        """XINFO STREAM as a table; see `tables.stream_table` for its columns."""
        return stream_table(self._client_of(stream), self.key(stream))

    def groups(self, stream: str = "orders") -> Table:
        """XINFO GROUPS as a table; see `tables.groups_table` for its columns."""
        return groups_table(self._client_of(stream), self.key(stream))

    def consumers(self, stream: str = "orders", group: str = "billing") -> Table:
        """XINFO CONSUMERS as a table; see `tables.consumers_table` for its columns."""
        return consumers_table(self._client_of(stream), self.key(stream), group)

    def pending(
        self, stream: str = "orders", group: str = "billing", *, most: int | None = None
    ) -> Table:
        """XPENDING as a table, or the `most` oldest entries; see `tables.pending_table`."""
        return pending_table(self._client_of(stream), self.key(stream), group, most=most)

    def dead_letters(self, stream: str = "orders") -> Table:
        """The dead letters of a stream; see `tables.dead_letters_table` for the columns."""
        return dead_letters_table(self._client_of(stream), self.key(stream))

    def record(self, stream: str = "orders") -> None:
        """Record what happens to a stream from here on, for `replay`.

        It records what the server says of the stream, its groups and its pending entries,
        every 20 ms and after each command of `redis`, and what workers report. An earlier
        recording of the stream ends.
        """
        key = self.key(check_name("stream", stream))
        self._recorders.start(self.server.connect(), key)

    def recording(self, stream: str = "orders") -> Recording:
        """What was recorded of a stream since `record`, until now.

        `recording.samples` and `recording.events` are tables of it, `recording.save` writes
        it to a file. Raises RuntimeError if the stream is not recorded.
        """
        recorder = self._recorders.find(self.key(stream))
        if recorder is None:
            raise RuntimeError(
                f"{printable(stream)} is not recorded. Call lab.record({stream!r}) before what "
                "you want to see again"
            )
        return recorder.recording

    def replay(self, stream: str = "orders", group: str = "billing") -> ReplayOutput:
        """Show what happened to a stream since `record`, step by step, as a group sees it.

        As a page that plays it, with the commands that prove each step, and as a picture of
        its key moments. `replay(...).save(path)` writes the page to a file.
        """
        return ReplayOutput(self.recording(stream), group)

    def live(
        self,
        handler: Handler = handle_slowly,
        *,
        stream: str = "orders",
        group: str = "billing",
    ) -> LiveView:
        """Show a stream as it changes, with buttons that publish, start, kill and claim.

        Each button makes a call that a cell could make, and shows it. The view goes on while
        other cells run, until `close` or the next `live` of the stream, which is recorded for
        `replay` if it is not yet.

        handler: of the workers that the button starts; the default needs a second a message
        """
        key = self.key(check_name("stream", stream))
        if key in self._views:
            self._views[key].close()
        recorder = self._recorders.find(key)
        if recorder is None:
            recorder = self._recorders.start(self.server.connect(), key)
        steering = Steering(self, stream, check_name("group", group), handler)
        self._views[key] = LiveView(recorder, group, steering)
        return self._views[key]

    @contextmanager
    def change(self, stream: str = "orders", group: str = "billing") -> Iterator[Table]:
        """A table of what the block changed, filled when the block ends.

        One row per measure: length, last delivered id, lag, pending, and deliveries of
        pending (the delivery counts of all pending entries, added up). Columns: measure, was,
        now, change (empty if the values are not numbers). lag is "unknown" where it is not
        known. Raises NoSuchStreamError and NoSuchGroupError.
        """
        stream = self.key(stream)
        table = Table(columns=["measure", "was", "now", "change"])
        table.attrs["caption"] = (
            f"what changed for {printable(group)} on {printable(without_prefix(stream))}"
        )
        was = measure(self._client_of(stream), stream, group)
        yield table
        now = measure(self._client_of(stream), stream, group)
        for name, before in was.items():
            after = now[name]
            delta = (
                f"{after - before:+d}"
                if isinstance(after, int) and isinstance(before, int)
                else ""
            )
            table.loc[len(table)] = [
                name,
                *("unknown" if value is None else str(value) for value in (before, after)),
                delta.replace("+0", "0"),
            ]

    def draw(self, stream: str = "orders", group: str = "billing") -> Picture:
        """Draw a stream as one group sees it.

        One cell an entry: filled is acknowledged, hatched is pending, empty is not delivered
        yet, dotted is no longer in the stream. The mark above says how far the group has read.
        Below, one row for each consumer, with what is pending with it, how often that was
        delivered, and how long it has been idle. The newest 16 entries; if there are more, some
        places are for the oldest that are pending.
        Raises NoSuchStreamError and NoSuchGroupError.
        """
        return draw_stream(self._client_of(stream), self.key(stream), group)

    def timeline(self, *sources: Worker | Sequence[Event]) -> Picture:
        """The delivery timeline of workers, or of the events that an `on_event` collected.

        A cross where a signal killed a worker. Raises ValueError without any source.
        """
        if not sources:
            raise ValueError("timeline() draws workers, or lists of events: give at least one")
        events = pd.concat([events_table(source) for source in sources], ignore_index=True)
        # Drawn just after the last event that the process reported.
        deaths = [
            (str(last["consumer"]), float(last["at"]) + 1e-9)
            for worker in sources
            if isinstance(worker, Worker) and worker.died and len(worker.events)
            for last in [worker.events.iloc[-1]]
        ]
        return draw_timeline(events.sort_values("at", kind="stable"), deaths)

    def age(
        self,
        *entry_ids: str,
        idle_ms: int = 3_600_000,
        stream: str = "orders",
        group: str = "billing",
    ) -> None:
        """Let time pass for pending entries: an hour, as far as Redis can tell.

        It sends XCLAIM with IDLE and JUSTID for each, to its owner: owner and deliveries stay
        as they are. Does nothing for an entry that is not pending, or has no owner (XNACK).

        entry_ids: none for all pending entries
        idle_ms:   how long they have been idle afterwards, in ms

        https://redis.io/docs/latest/commands/xclaim/
        """
        key = self.key(stream)
        redis = self._client_of(stream)
        table = pending_table(redis, key, group)
        for entry_id, consumer in zip(table["entry_id"], table["consumer"], strict=True):
            # XCLAIM would make a consumer with an empty name the owner of what has none.
            if consumer and (not entry_ids or entry_id in entry_ids):
                redis.xclaim(key, group, consumer, 0, [entry_id], idle=idle_ms, justid=True)

    def quiet(self) -> None:
        """Hide the log of the consumers in this notebook, where failures are on purpose."""
        logging.getLogger("redisflow_lab").setLevel(logging.CRITICAL)

    def close(self) -> None:
        """Kill the workers, stop the server, and remove the lab's keys and temporary files."""
        self._interrupts.close()
        for view in self._views.values():
            view.close()
        for worker in self._workers:
            worker.kill()
        for process in self._processes:
            process.kill()
        self._starter.close()
        self._recorders.close()
        try:
            self.server.close()
        finally:
            self._folder.remove()
