"""PartitionedConsumer: reads this process' share of the partitions of a stream."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from threading import Event as ThreadEvent
from threading import Thread
from typing import Any

from redis import Redis, RedisCluster
from redis.exceptions import RedisError

from redisflow_lab._internal.backoff import Backoff, transient_reason
from redisflow_lab._internal.checks import check_int, check_name, check_positive
from redisflow_lab._internal.connection import stream_client
from redisflow_lab._internal.guarded_log import GuardedLog
from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.turn import Line
from redisflow_lab.consumer import RedisStreamConsumer
from redisflow_lab.health import Health
from redisflow_lab.interfaces import Handler
from redisflow_lab.partitions.counting import agree_on_count, count_key
from redisflow_lab.partitions.ownership import RENEW_S, Member, OwnedElsewhereError, Ownership
from redisflow_lab.partitions.placing import partition_streams

log = GuardedLog(__name__)

CONSUMER = "owner"
"""The consumer's name in each partition. It does not change with the process, so that the next
owner replays at its start what the last one had in flight."""

_LOOKS_S = 0.1


class PartitionedConsumer:
    """One of several processes that share the partitions of a stream.

    Member 2 of 4 reads the partitions 2, 6, 10, ..., each with a `RedisStreamConsumer` in a
    thread of its own. So **your handler is called from several threads at the same time**, but
    for one partition it is called for one message after the other. Messages with the same key
    are handled in the order in which they were published, as long as none of them is
    redelivered: a message that failed is handled again later, after those behind it.

    A crash uses up a delivery of each message that is being handled, in any thread. So
    messages that were already delivered twice are handled one at a time: while one partition
    handles such a message, another partition that comes to one waits. It does not wait for a
    message that is paused by a `TransientError`. So a handler that hangs may stop several
    partitions.

    The deployment assigns the numbers, for example the ordinals of a StatefulSet. Nothing is
    rebalanced: a partition without its member is not read until that member is started again.
    `redisflow partitions` and the metrics show it. Two processes with the same number do not
    read the same partition: the second one waits, and gives up after ten seconds.

    To change `of`, stop all processes and start them with the new number. Those that start
    first wait until the last owner of a partition has finished or is gone. What was pending
    goes to the next owner.

    redis:      a client of the cluster, or of one server
    stream:     its name; the partitions are the streams "{name:0}", "{name:1}", ...
    group:      the consumer group, in each of them
    partitions: how many there are. Stored beside the streams by the first program, and checked
                by all others
    member:     the number of this process, from 0
    of:         how many processes there are
    options:    of the `RedisStreamConsumer` for each partition, such as `ack_every`. Hooks are
                called from several threads
    """

    def __init__(
        self,
        redis: Redis | RedisCluster,
        stream: str,
        group: str = "default-group",
        *,
        partitions: int,
        member: int,
        of: int,
        **options: Any,
    ) -> None:
        streams = partition_streams(stream, partitions)
        check_positive("of", of)
        if not 0 <= check_int("member", member) < of:
            raise ValueError(
                f"member must be one of 0 to {of - 1}, not {member!r}: of={of} processes share "
                "the partitions, and are counted from 0"
            )
        if of > partitions:
            raise ValueError(
                f"{of} processes cannot share {partitions} partitions: {of - partitions} of "
                "them would have nothing to read. Start fewer"
            )
        if "name" in options:
            raise TypeError(f"name is not given here: the name in each partition is {CONSUMER}")
        self.stream, self.group = stream, check_name("group", group)
        self.partitions, self.member, self.of = partitions, member, of
        self._count = stream_client(redis, count_key(stream))
        me = Member.new(member, of)
        self._parts = [
            _Part(
                RedisStreamConsumer(redis, streams[number], group, CONSUMER, **options),
                Ownership(stream_client(redis, streams[number]), streams[number], group, me),
            )
            for number in range(member, partitions, of)
        ]
        line = Line()
        for part in self._parts:
            part.consumer._turn.wait_in(line)

    @property
    def streams(self) -> list[str]:
        """The partitions that this process reads."""
        return [part.stream for part in self._parts]

    @property
    def health(self) -> Mapping[str, Health]:
        """What the consumer of each partition is doing, by stream. No command is sent."""
        return {part.stream: part.consumer.health for part in self._parts}

    def run(self, handler: Handler, *, stop: ThreadEvent) -> None:
        """Handle and acknowledge the messages of this process' partitions until `stop` is set.

        Each partition recovers from outages by itself; the others go on. A permanent error in
        one of them ends all, and is raised.

        Raises PartitionCountError, OwnedElsewhereError, and what `RedisStreamConsumer.run`
        raises.
        """
        for part in self._parts:
            part.consumer._processor.check(handler)  # before anything is sent or started
        with ExitStack() as stack:
            for part in self._parts:
                stack.enter_context(part.consumer._pulse.running())
            self._agree_on_count(stop)
            self._run_parts(handler, stop)
        for part in self._parts:
            if part.error is not None:
                raise part.error

    def _run_parts(self, handler: Handler, stop: ThreadEvent) -> None:
        ending = ThreadEvent()
        running: list[Thread] = []
        try:
            for part in self._parts:
                thread = Thread(target=part.run, args=(handler, ending))
                thread.start()
                running.append(thread)
            while not stop.wait(_LOOKS_S) and not any(part.error for part in self._parts):
                pass
        finally:
            ending.set()
            for thread in running:
                thread.join()

    def _agree_on_count(self, stop: ThreadEvent) -> None:
        def note(reason: str) -> None:
            for part in self._parts:
                part.consumer._pulse.outage(reason)

        names = map(printable, (self.group, self.stream))
        backoff = Backoff(log, "{} on the partitions of {}".format(*names), note)
        while not stop.is_set():
            try:
                agree_on_count(self._count, self.stream, self.partitions)
            except RedisError as error:
                backoff.wait_or_raise(error, stop)
            else:
                backoff.reset()
                return


class _LapsedError(Exception):
    """Raised to end a consumer that must forget its batch and hand nothing over."""


class _Part:
    """A partition that this process owns: one thread consumes, and one renews the ownership."""

    def __init__(self, consumer: RedisStreamConsumer, ownership: Ownership) -> None:
        self.consumer, self._ownership = consumer, ownership
        consumer._lease.is_owner = self.is_owner
        self.stream = consumer.stream
        self.error: BaseException | None = None

    def run(self, handler: Handler, ending: ThreadEvent) -> None:
        """Own the partition and consume it until `ending` is set, or an error ends it."""
        self.error = None
        consuming = Thread(target=self._consume, args=(handler, ending))
        try:
            if self._acquire(ending):
                consuming.start()
                while consuming.is_alive():
                    consuming.join(RENEW_S)
                    self._keep()
        except BaseException as error:  # raised again by `PartitionedConsumer.run`
            self.error = error
        finally:
            if consuming.ident is not None:
                consuming.join()
            with suppress(RedisError):  # then it ends by itself
                self._ownership.release()

    @property
    def is_trusted(self) -> bool:
        """Whether this process is the owner for certain, and has been all the time."""
        return self._ownership.is_trusted

    def is_owner(self) -> bool:
        """The same, after asking the server once if it is not certain."""
        try:
            return self.is_trusted or self._ownership.keep()
        except OwnedElsewhereError:
            return False

    def doubt(self) -> None:
        """Ask for the owner again before the next message."""
        self._ownership.doubt()

    def confirm(self, ending: ThreadEvent) -> None:
        """Ask whether this process is the owner, until the server answers.

        Raises OwnedElsewhereError if it is not, and _LapsedError if another one may have been
        meanwhile, or if `ending` is set before this is known.
        """
        if isinstance(self.error, OwnedElsewhereError):
            raise self.error
        if not self._answer(self._ownership.keep, ending):
            raise _LapsedError

    def _consume(self, handler: Handler, ending: ThreadEvent) -> None:
        try:
            while not ending.is_set():
                self._ownership.begin()
                with suppress(_LapsedError):  # then it begins with a replay
                    self.consumer.run(handler, stop=_UntilLost(ending, self))
        except BaseException as error:  # raised again by `PartitionedConsumer.run`
            self.error = error

    def _acquire(self, ending: ThreadEvent) -> bool:
        acquire = partial(self._ownership.acquire, ending)
        return self._answer(acquire, ending, self.consumer._pulse.outage)

    def _answer(
        self,
        ask: Callable[[], bool],
        ending: ThreadEvent,
        on_outage: Callable[[str], None] | None = None,
    ) -> bool:
        """What the server answers, as soon as it does. False if `ending` is set before."""
        backoff = Backoff(log, f"the owner of {printable(self.stream)}", on_outage)
        while not ending.is_set():
            try:
                answer = ask()
            except RedisError as error:
                backoff.wait_or_raise(error, ending)
            else:
                backoff.reset()
                return answer
        return False

    def _keep(self) -> None:
        try:
            self._ownership.keep()
        except RedisError as error:
            if transient_reason(error) is None:  # the consumer reports outages
                raise


class _UntilLost(ThreadEvent):
    """Tells a consumer to stop when `ending` is set.

    A consumer asks before each message. After an outage or a pause of the process, it gets its
    answer when the server has confirmed that this process is the owner of the partition. It
    asks after each outage, however short: a replica that was promoted in it may not have had
    the owner's key. An outage alone does not stop it.

    If another process is the owner, or may have been meanwhile, an error is raised instead. The
    consumer must not shut down gracefully then: the other process has the same name, and what
    is pending under it is that one's to handle.
    """

    def __init__(self, ending: ThreadEvent, part: _Part) -> None:
        super().__init__()
        self._ending, self._part = ending, part

    def is_set(self) -> bool:
        if not self._part.is_trusted:
            self._part.confirm(self._ending)
        return self._ending.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the next try in an outage: a consumer waits for nothing else."""
        self._ending.wait(timeout)
        self._part.doubt()
        return self._ending.is_set()
