"""Prefetching: requests the next entries while the current ones are handled."""

import time
from enum import Enum, auto

from redis import Redis

from redisflow_lab._internal.acks import Acks
from redisflow_lab._internal.entry import Entry
from redisflow_lab._internal.group import Group, delivered_by
from redisflow_lab._internal.in_flight import InFlight
from redisflow_lab._internal.wire import CommandPipe


class State(Enum):
    """How far a prefetch has come."""

    IDLE = auto()
    """Nothing was requested."""
    SENT = auto()
    """The request was sent; its entries may be pending with this consumer already."""
    READY = auto()
    """The reply has arrived, and `InFlight` has its entries."""


class Prefetch:
    """Sends a read before its entries are needed, along with acknowledgements.

    So server and handler work at the same time.
    """

    def __init__(self, redis: Redis, group: Group, acks: Acks, in_flight: InFlight) -> None:
        self._redis = redis
        self._group, self._acks, self._in_flight = group, acks, in_flight
        self.state = State.IDLE
        self._pipe: CommandPipe
        self._acking: list[Entry] = []

    def next_batch(self, count: int, block_ms: int, *, request_next: bool) -> list[Entry]:
        """Make the next new entries the current batch: those prefetched, or else read now.

        count, block_ms: as for `Group.read_new`, if they are read now
        request_next:    if the batch is full, request the one after it, without waiting
        """
        if self.state is State.IDLE:
            self._acks.flush()
            # The server counts idle time from the delivery. That may be long before the reply
            # is read, because this process can be paused in between.
            asked_at = time.monotonic()
            batch = self._group.read_new(count, block_ms)
            self._in_flight.begin(batch, asked_at)
        else:
            batch = self.take()
        if request_next and len(batch) == count:
            self.send(count)
        return batch

    def send(self, count: int) -> None:
        """Acknowledge completed entries and request up to `count` new ones, without waiting."""
        self._acking = self._acks.send()
        ids = [entry.id for entry in self._acking]
        commands = [self._group.ack_command(ids)] if ids else []
        self._in_flight.expect(time.monotonic())
        try:
            self._pipe = CommandPipe(self._redis)
            self.state = State.SENT
            self._pipe.send([*commands, self._group.read_command(count)])
        except BaseException:
            self.discard()
            raise

    def collect(self) -> None:
        """Wait for the reply, if a request was sent."""
        if self.state is not State.SENT:
            return
        try:
            *_, reply = self._pipe.receive()
        except BaseException:
            self.discard()
            raise
        self._pipe.close()
        self.state = State.READY
        self._in_flight.prefetch(delivered_by(reply))
        acked, self._acking = self._acking, []
        self._acks.confirm(acked)

    def take(self) -> list[Entry]:
        """Wait for the entries and make them the current batch."""
        self.collect()
        self.state = State.IDLE
        return self._in_flight.begin_prefetched()

    def discard(self) -> None:
        """Drop the prefetch. A replay recovers what was delivered, even if no reply arrived."""
        if self.state is State.SENT:
            self._pipe.close()
        self.state = State.IDLE
        self._acks.restore(self._acking)
        self._acking = []
