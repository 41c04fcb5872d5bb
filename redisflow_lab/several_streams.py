"""MultiStreamConsumer: reads several streams with one command, and takes turns fairly."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from threading import Event as ThreadEvent
from time import monotonic
from typing import Any

from redis import Redis, RedisCluster
from redis.exceptions import RedisError, ResponseError

from redisflow_lab._internal.backoff import Backoff, transient_reason
from redisflow_lab._internal.checks import check_name
from redisflow_lab._internal.connection import stream_client
from redisflow_lab._internal.group import START
from redisflow_lab._internal.guarded_log import GuardedLog
from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.scripts import is_refused
from redisflow_lab._internal.shared_read import read_new_of
from redisflow_lab._internal.slot import check_one_slot
from redisflow_lab.codec import MESSAGE_CODEC, Codec
from redisflow_lab.consumer import RedisStreamConsumer
from redisflow_lab.dead_letters import dead_stream_of
from redisflow_lab.events import BatchHook, Hook
from redisflow_lab.health import Health
from redisflow_lab.interfaces import Handler

log = GuardedLog("redisflow_lab.consumer")


class MultiStreamConsumer:
    """One consumer of the same group on several streams of one server, in one thread.

    For each stream it makes the promises of `RedisStreamConsumer`, of which it is made: one
    for each stream, with one connection for all. `Delivery.stream` says where a message is
    from, and so does each event. Dead letters go to `<stream>:dead`.

    Turns: a read takes up to `batch` new entries of each stream, and the handler is given one
    message of each stream in turn, beginning with another stream at each read. So before the
    n-th message of a stream in a read, at most n messages of each other stream are handled.
    However long the backlogs of the others are, the next message of a stream waits for the
    rest of the current read, and then for at most one message of each other stream. Claimed
    messages come between two reads, up to `batch` of each stream; a replay comes before the
    first read, one stream after the other.

    Within a stream, new messages are handled in order. Between streams there is no order.

    streams: the keys. In a Redis Cluster all of them must be in one slot: give them one hash
             tag, as in `{shop}:orders` and `{shop}:returns`
    batch:   entries to request per read, of each stream. All of them become pending at once

    Everything else is as for `RedisStreamConsumer`, and is the same for each stream. There is
    no prefetch. An error of one stream interrupts all: if its group vanishes, `run` creates it
    again and goes on with all of them; a permanent error, such as a missing permission, is
    raised with the name of the stream, and what was delivered stays pending.
    """

    def __init__(
        self,
        redis: Redis | RedisCluster,
        streams: Sequence[str],
        group: str = "default-group",
        name: str | None = None,
        *,
        batch: int = 10,
        ack_every: int = 1,
        block_ms: int = 1_000,
        min_idle_ms: int = 60_000,
        max_handler_ms: int | None = None,
        max_deliveries: int = 5,
        codec: Codec[Any] = MESSAGE_CODEC,
        on_event: Hook | None = None,
        on_batch: BatchHook | None = None,
    ) -> None:
        self.streams = _check_streams(streams)
        dead_streams = (dead_stream_of(stream, None) for stream in self.streams)
        check_one_slot(redis, *self.streams, *dead_streams)
        self._redis = stream_client(redis, self.streams[0], block_ms=block_ms)
        self._consumers: list[RedisStreamConsumer] = []
        for stream in self.streams:
            consumer = RedisStreamConsumer(
                self._redis, stream, group, name,
                batch=batch, ack_every=ack_every, block_ms=block_ms, min_idle_ms=min_idle_ms,
                max_handler_ms=max_handler_ms, max_deliveries=max_deliveries, codec=codec,
                on_event=on_event, on_batch=on_batch,
            )  # fmt: skip
            name = consumer.name  # if it is random, the same for each stream
            self._consumers.append(consumer)
        self.group, self.name = consumer.group, consumer.name
        self._batch, self._block_ms = batch, block_ms
        self._order = deque(self._consumers)
        for consumer in self._consumers:
            consumer._lease.renew_with([each._lease for each in self._consumers])

    def ensure_group(self) -> bool:
        """Create the group on each stream where it is missing. True if one was created.

        See `RedisStreamConsumer.ensure_group`. A permanent error names its stream.
        """
        created = False
        for each in self._consumers:
            with _Naming(each.stream):
                created |= each.ensure_group()
        return created

    def replay_pending(self, handler: Handler, *, stop: ThreadEvent | None = None) -> int:
        """Redeliver what is pending under this name, one stream after the other.

        See `RedisStreamConsumer.replay_pending`. Returns how many entries were begun.
        """
        self._check(handler)
        return self._replay(dict.fromkeys(self.streams, START), handler, stop)

    def take_over(self, handler: Handler, *, stop: ThreadEvent | None = None) -> int:
        """Claim and handle up to `batch` idle entries of each stream.

        See `RedisStreamConsumer.take_over`. Returns how many entries were begun.
        """
        self._check(handler)
        return self._take_over_from(self._consumers, handler, stop)

    def read_new(self, handler: Handler, *, stop: ThreadEvent | None = None) -> int:
        """Handle up to `batch` new entries of each stream, in turn.

        Waits up to `block_ms` for the first one of any stream, or less if a sweep is due.
        Returns how many were delivered.
        """
        self._check(handler)
        stop = stop or ThreadEvent()
        if stop.is_set():
            return 0
        for each in self._consumers:
            each._acks.flush()
        wait_ms = min(each._sweep.wait_ms(self._block_ms) for each in self._consumers)
        asked_at = monotonic()
        groups = [each._group for each in self._consumers]
        try:
            delivered = read_new_of(self._redis, groups, self._batch, wait_ms)
        except ResponseError as error:
            if transient_reason(error) is None:
                self.ensure_group()  # asks stream by stream, so its error names the stream
            raise
        for each in self._consumers:
            each._pulse.polled()
            each._in_flight.hold(delivered.get(each.stream, []), asked_at)
        self._take_turns(handler, stop)
        for each in self._consumers:
            entries = delivered.get(each.stream, [])
            each._acks.flush()
            each._emitter.report(is_busy=len(entries) == self._batch)
            if entries:
                each._last_processed = entries[-1].id
        return sum(map(len, delivered.values()))

    def leave(self) -> bool:
        """Hand over what is pending under this name, on each stream.

        See `RedisStreamConsumer.leave`. Returns whether the name was removed from each group.
        If a server refuses this for one stream, the others are still handed over, and then
        the error is raised.
        """
        for each in self._consumers:
            each._processor.check_is_idle()
        removed = []
        refused: ResponseError | None = None
        for each in self._consumers:
            try:
                with _Naming(each.stream):
                    removed.append(each.leave())
            except ResponseError as error:
                refused = error
        if refused is not None:
            raise refused
        return all(removed)

    def run(self, handler: Handler, *, stop: ThreadEvent) -> None:
        """Replay, then claim and read new messages until `stop` is set; then call `leave`.

        Handles errors as `RedisStreamConsumer.run` does.
        """
        self._check(handler)
        backoff = Backoff(log, self._who(), self._outage)
        for each in self._consumers:
            each._last_processed = START
        self._forget_in_flight()
        with ExitStack() as stack:
            for each in self._consumers:
                stack.enter_context(each._pulse.running())
            while not stop.is_set():
                try:
                    self.ensure_group()
                    done = {each.stream: each._last_processed for each in self._consumers}
                    self._replay(done, handler, stop)
                    while not stop.is_set():
                        backoff.reset()
                        due = [each for each in self._consumers if each._sweep.is_due]
                        self._take_over_from(due, handler, stop)
                        self.read_new(handler, stop=stop)
                except RedisError as error:
                    if is_refused(error):
                        for each in self._consumers:
                            each._give_back()
                    self._forget_in_flight()
                    backoff.wait_or_raise(error, stop)
            try:
                self.leave()
            except RedisError as error:
                if transient_reason(error) is None:
                    raise
                names = map(printable, (self.name, str(error)))
                log.warning("%s could not deregister at shutdown: %s", *names)

    @property
    def health(self) -> Health:
        """What this consumer is doing now, on all streams. Any thread may ask.

        The oldest and the longest of them; `last_error` is that of each stream, by its name.
        """
        of = [each._pulse.health for each in self._consumers]
        errors = zip(self.streams, of, strict=True)
        return Health(
            is_running=all(health.is_running for health in of),
            outage_s=max(_known(health.outage_s for health in of), default=None),
            outage=max(health.outage for health in of),
            polled_s=max(_known(health.polled_s for health in of), default=None),
            in_flight=sum(health.in_flight for health in of),
            oldest_s=max(_known(health.oldest_s for health in of), default=None),
            handling_s=max(_known(health.handling_s for health in of), default=None),
            last_error="; ".join(
                f"{stream}: {health.last_error}"
                for stream, health in errors
                if health.last_error
            ),
        )

    def _check(self, handler: Handler) -> None:
        """Check all streams before any is used, and forget what a stopped step held."""
        for each in self._consumers:
            each._processor.check(handler)
        for each in self._consumers:
            each._in_flight.drop_prefetched()

    def _replay(
        self, after: Mapping[str, bytes], handler: Handler, stop: ThreadEvent | None
    ) -> int:
        begun = 0
        for each in self._consumers:
            with _Naming(each.stream):
                begun += each.replay_pending(handler, after=after[each.stream], stop=stop)
        return begun

    def _take_over_from(
        self,
        consumers: Sequence[RedisStreamConsumer],
        handler: Handler,
        stop: ThreadEvent | None,
    ) -> int:
        begun = 0
        for each in consumers:
            with _Naming(each.stream):
                begun += each.take_over(handler, stop=stop)
        return begun

    def _take_turns(self, handler: Handler, stop: ThreadEvent) -> None:
        """Handle what each stream holds, one message of each in turn."""
        waiting = deque(self._order)
        self._order.rotate(-1)  # another stream begins at the next read
        try:
            while waiting and not stop.is_set():
                each = waiting.popleft()
                # The last one left has no other to alternate with.
                batch = each._in_flight.begin_prefetched(1 if waiting else None)
                with _Naming(each.stream):
                    each._processor.process(batch, handler, stop)
                if each._in_flight.holds_prefetched:
                    waiting.append(each)
        except RedisError:
            raise  # the next step acknowledges what is completed
        except BaseException:  # Ctrl-C, for example: there may be no next step
            with suppress(RedisError):
                for each in self._consumers:
                    each._acks.flush()
            raise

    def _who(self) -> str:
        name, group, *streams = map(printable, (self.name, self.group, *self.streams))
        return f"{name} of {group} on {', '.join(streams)}"

    def _outage(self, reason: str) -> None:
        for each in self._consumers:
            each._pulse.outage(reason)

    def _forget_in_flight(self) -> None:
        for each in self._consumers:
            each._forget_in_flight()


class _Naming:
    """Makes a permanent error of the server name this stream: the server's text names none."""

    def __init__(self, stream: str) -> None:
        self._stream = stream

    def __enter__(self) -> None: ...

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, *__: object
    ) -> None:
        if isinstance(error, ResponseError) and transient_reason(error) is None:
            raise type(error)(
                f"the stream {printable(self._stream)!r} cannot be consumed: {error}. Correct "
                "this, or leave it out of the streams; until then the others are not consumed "
                "either"
            ) from error


def _check_streams(streams: Sequence[str]) -> tuple[str, ...]:
    """The names of the streams. Raises TypeError or ValueError if they cannot be consumed."""
    if isinstance(streams, str | bytes) or not isinstance(streams, Sequence):
        raise TypeError(
            f"streams must be a list of names, not {type(streams).__name__}: {streams!r:.80}; "
            "for one stream, use RedisStreamConsumer"
        )
    names = tuple(check_name("stream", stream) for stream in streams)
    if not names:
        raise ValueError("streams is empty: name the streams to consume")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"streams has {name!r} twice: name each stream once")
        dead = dead_stream_of(name, None)
        if dead in names:
            raise ValueError(
                f"streams has {dead!r}, where the dead letters of {name!r} go: they would be "
                "delivered as messages. Leave it out, and redrive them with DeadLetters"
            )
    return names


def _known(seconds: Iterable[float | None]) -> list[float]:
    return [each for each in seconds if each is not None]
