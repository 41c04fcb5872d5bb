"""Acknowledgements of completed entries: completed, sent, then confirmed or restored."""

from time import monotonic

from redisflow_lab._internal.emitter import Emitter
from redisflow_lab._internal.entry import Entry
from redisflow_lab._internal.failovers import Failovers
from redisflow_lab._internal.group import Group


class Acks:
    """The acknowledgements of one consumer.

    An entry is *completed* when its handler has returned. `send` takes all completed entries.
    Then the server's reply *confirms* them; or the reply is lost, and they are *restored*. The
    next XACK names restored entries again, so that no replay handles them a second time.

    After a failover, completed entries are forgotten: they are pending at the new primary, but
    their effects may be lost with the former one. So they must be redelivered.
    """

    def __init__(self, group: Group, emitter: Emitter, failovers: Failovers) -> None:
        self._group, self._emitter, self._failovers = group, emitter, failovers
        self._failed_over = failovers.count
        self._completed: list[Entry] = []

    def complete(self, entry: Entry) -> int:
        """Add an entry whose handler has returned. Returns how many wait to be sent."""
        self._completed.append(entry)
        return len(self._completed)

    @property
    def completed(self) -> list[Entry]:
        """What is completed, and not sent."""
        return [*self._completed]

    def send(self) -> list[Entry]:
        """Take all completed entries. The caller sends them, then confirms or restores them."""
        self._forget_former_server()
        sent, self._completed = self._completed, []
        return sent

    def confirm(self, sent: list[Entry], took_s: float | None = None) -> None:
        """Note that the server has removed these from the pending list.

        took_s: how long that took; None if it was not waited for
        """
        if self._emitter.enabled:
            self._emitter.acked(sent, took_s)

    def restore(self, sent: list[Entry]) -> None:
        """Take back entries whose reply was lost: they may or may not be pending."""
        self._completed = sent + self._completed

    def flush(self) -> None:
        """Acknowledge all completed entries, and wait for the reply."""
        sent = self.send()
        if not sent:
            return
        began = monotonic()
        try:
            self._group.acknowledge([entry.id for entry in sent])
        except BaseException:
            self.restore(sent)
            raise
        self.confirm(sent, monotonic() - began)

    def _forget_former_server(self) -> None:
        if self._failed_over != self._failovers.count:
            self._failed_over = self._failovers.count
            self._completed.clear()
