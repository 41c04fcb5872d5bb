"""Reading the next entries while the present ones are handled."""

import time
from enum import Enum, auto

from redis import Redis

from redisflow_lab._internal.acks import Acks
from redisflow_lab._internal.entry import Entry
from redisflow_lab._internal.group import Group, delivered_by
from redisflow_lab._internal.in_flight import InFlight
from redisflow_lab._internal.wire import CommandPipe


class State(Enum):
    """What became of the read."""

    IDLE = auto()
    """Nothing was requested."""
    SENT = auto()
    """The request is with the server; its entries may be pending with us already."""
    READY = auto()
    """The reply is here: `InFlight` has its entries."""


class Prefetch:
    """A read that is sent before its entries are needed, along with acknowledgements.

    Server and handler work at the same time.
    """

    def __init__(self, redis: Redis, group: Group, acks: Acks, in_flight: InFlight) -> None:
        self._redis = redis
        self._group, self._acks, self._in_flight = group, acks, in_flight
        self.state = State.IDLE
        self._pipe: CommandPipe
        self._acking: list[Entry] = []

    def next_batch(self, count: int, block_ms: int, *, request_next: bool) -> list[Entry]:
        """Make the next new entries the current batch, as requested before or read now.

        count, block_ms: as of `Group.read_new`, if they are read now
        request_next:    if the batch is full, request the one after it, without waiting
        """
        if self.state is State.IDLE:
            self._acks.flush()
            # The server counts idle time from the delivery, which may be long before the
            # reply is read: this process can be paused in between.
            asked_at = time.monotonic()
            batch = self._group.read_new(count, block_ms)
            self._in_flight.begin(batch, asked_at)
        else:
            batch = self.take()
        if request_next and len(batch) == count:
            self.send(count)
        return batch

    def send(self, count: int) -> None:
        """Request up to `count` new entries, without waiting; acknowledge what is completed."""
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
        """Wait for the reply, if there is one to wait for."""
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
        """Give it up: a replay recovers what was delivered, also what did not arrive."""
        if self.state is State.SENT:
            self._pipe.close()
        self.state = State.IDLE
        self._acks.restore(self._acking)
        self._acking = []
