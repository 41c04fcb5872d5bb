"""Dead letters that are not written yet."""

from redis import Redis
from redis.exceptions import ResponseError

from redisflow_lab._internal.emitter import Emitter
from redisflow_lab._internal.entry import Entry
from redisflow_lab._internal.guarded_log import GuardedLog
from redisflow_lab._internal.printable import printable
from redisflow_lab.dead_letters import DeadLetter, Reason, dead_letter

log = GuardedLog("redisflow_lab.consumer")


class Outbox:
    """Writes dead letters, and keeps those that the server refuses, with their true reason.

    A full server refuses to add entries, but still acknowledges them. So a refused dead letter
    waits here and is written later. Meanwhile its entry stays pending, and the messages behind
    it are handled. If this process ends first, the consumer that claims the entry writes a
    dead letter with the reason "unfinished".
    """

    def __init__(self, redis: Redis, dead_stream: str, emitter: Emitter) -> None:
        self._redis, self._dead_stream, self._emitter = redis, dead_stream, emitter
        self.waiting: dict[bytes, tuple[Entry, DeadLetter]] = {}
        """The entry and its dead letter, by entry id."""
        self._refusal = ""

    @property
    def pending_ids(self) -> list[bytes]:
        """Ids of the waiting entries that are pending, so that their lease is renewed.

        Trimmed entries that XAUTOCLAIM dropped are no longer pending.
        """
        return [
            entry.id
            for entry, letter in self.waiting.values()
            if letter.deliveries or letter.reason is not Reason.TRIMMED
        ]

    def put(self, entry: Entry, letter: DeadLetter) -> None:
        """Add a dead letter, to be written by `send`."""
        self.waiting[entry.id] = (entry, letter)

    def drop(self, entry_ids: set[bytes]) -> None:
        """Remove entries that other consumers have claimed; those write the dead letters."""
        for entry_id in entry_ids:
            self.waiting.pop(entry_id, None)

    def send(self) -> None:
        """Write what is waiting, in order, until the server refuses one.

        Raises redis.RedisError if the connection breaks. What is not written keeps waiting.
        """
        for entry, letter in [*self.waiting.values()]:
            try:
                written = dead_letter(self._redis, self._dead_stream, letter)
            except ResponseError as error:
                self._log_refusal(str(error))
                return
            del self.waiting[entry.id]
            if written:
                self._emitter.dead_lettered(entry, letter.reason, letter.error)
        self._refusal = ""

    def _log_refusal(self, refusal: str) -> None:
        """Log a refusal once for each reason, not for each try."""
        if refusal != self._refusal:
            log.error(
                "dead letters cannot be written to %s, so their messages stay pending and the "
                "write is tried again: %s", printable(self._dead_stream), printable(refusal),
            )  # fmt: skip
        self._refusal = refusal
