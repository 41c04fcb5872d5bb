"""Completed entries on their way to the server: completed, sent, confirmed."""

from redisflow_lab._internal.emitter import Emitter
from redisflow_lab._internal.entry import Entry
from redisflow_lab._internal.group import Group
from redisflow_lab.events import Kind


class Acks:
    """The acknowledgements of one consumer.

    An entry is *completed* when its handler returned. `send` takes all that are completed;
    then the server's reply *confirms* them, or it is lost and they are *restored*: completed
    again, so that the next XACK names them and no replay handles them a second time.
    """

    def __init__(self, group: Group, emitter: Emitter) -> None:
        self._group, self._emitter = group, emitter
        self._completed: list[Entry] = []

    def complete(self, entry: Entry) -> int:
        """The handler returned. Returns how many are completed and not sent."""
        self._completed.append(entry)
        return len(self._completed)

    def send(self) -> list[Entry]:
        """Take all that are completed. The caller sends them, and confirms or restores."""
        sent, self._completed = self._completed, []
        return sent

    def confirm(self, sent: list[Entry]) -> None:
        """The server has removed these from the pending list."""
        if self._emitter.enabled:
            for entry in sent:
                self._emitter.emit(Kind.ACKED, entry)

    def restore(self, sent: list[Entry]) -> None:
        """The reply was lost: whether the server has removed these is unknown."""
        self._completed = sent + self._completed

    def flush(self) -> None:
        """Acknowledge all that are completed, and wait for the reply."""
        sent = self.send()
        if not sent:
            return
        try:
            self._group.acknowledge([entry.id for entry in sent])
        except BaseException:
            self.restore(sent)
            raise
        self.confirm(sent)
