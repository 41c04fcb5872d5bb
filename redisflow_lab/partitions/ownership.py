"""Which process reads a partition: a key beside its stream, with an expiry.

A deployment assigns the partitions, and Redis decides nothing. The key shows which process
reads a partition, and keeps two processes with the same number from both reading it.
"""

from dataclasses import dataclass
from math import inf
from threading import Event as ThreadEvent
from threading import Lock
from time import monotonic
from typing import cast
from uuid import uuid4

from redis import Redis
from redis.exceptions import ResponseError

from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.scripts import run_script

OWNERSHIP_S = 5.0
"""How long a process is the owner without renewing this, in seconds."""
RENEW_S = 1.0
"""How often it renews this, in seconds."""
TRUSTED_S = 3.0
"""How long after a renewal it handles messages without asking again, in seconds. Shorter than
`OWNERSHIP_S`: a replica that is promoted may have missed the last renewals."""
_PATIENCE_S = 2 * OWNERSHIP_S
_LOOKS_S = 0.2
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('DEL', KEYS[1])
end
"""


class OwnedElsewhereError(RuntimeError):
    """Raised if another process, which is running, reads a partition that was assigned here."""


@dataclass(frozen=True, slots=True)
class Member:
    """A process among those that share the partitions.

    number: from 0
    of:     how many there are
    token:  tells processes with the same number apart
    """

    number: int
    of: int
    token: str

    @classmethod
    def new(cls, number: int, of: int) -> "Member":
        """This process."""
        return cls(number, of, uuid4().hex[:12])

    def __str__(self) -> str:
        return f"member {self.number} of {self.of}"

    @property
    def value(self) -> bytes:
        """What it writes into the key: "2 4 4f1c…"."""
        return f"{self.number} {self.of} {self.token}".encode()

    @classmethod
    def parsed(cls, value: bytes) -> "Member":
        """The member that has written a value. Raises ValueError if none has."""
        number, of, token = value.decode(errors="replace").split(" ")
        return cls(int(number), int(of), token)


def owner_key(stream: str, group: str) -> str:
    """The key that names the owner; in the slot of the stream."""
    return f"{stream}:owner:{group}"


class Ownership:
    """One partition, for a group, as one process owns it or wants to.

    redis:  a client of this object's own, from `stream_client`

    Ownership *lapses* if the key expires before it is renewed, as in a process that was paused
    for longer. Even if the process is the owner again at once, others may have been meanwhile,
    and have handled what this one has in memory.
    """

    def __init__(self, redis: Redis, stream: str, group: str, member: Member) -> None:
        self._redis, self.stream, self._member = redis, stream, member
        self._key = owner_key(stream, group)
        self._lock = Lock()  # else one thread trusts what another one finds to have lapsed
        self._asked_at = -inf
        self._doubts = 0
        self._was_owner = self._has_lapsed = False

    @property
    def is_trusted(self) -> bool:
        """Whether no other process should be the owner, or have been since `begin`."""
        return not self._has_lapsed and monotonic() < self._asked_at + TRUSTED_S

    def begin(self) -> None:
        """Note that this process has nothing of the partition in memory."""
        self._has_lapsed = False

    def doubt(self) -> None:
        """Trust it again only when it is renewed."""
        self._doubts += 1
        self._asked_at = -inf

    def acquire(self, stop: ThreadEvent) -> bool:
        """Become the owner, waiting until an owner that has died is no longer one.

        Returns False if `stop` was set first. Raises OwnedElsewhereError if another process
        goes on to be the owner for ten seconds, and redis.RedisError as usual.
        """
        until = monotonic() + _PATIENCE_S
        while not stop.is_set():
            try:
                self.keep()
            except OwnedElsewhereError:
                if monotonic() > until:
                    raise
                stop.wait(_LOOKS_S)
            else:
                return True
        return False

    def keep(self) -> bool:
        """Be the owner for `OWNERSHIP_S` from now, also if the key has expired.

        Returns whether this process has been the owner all the time since `begin`. Raises
        OwnedElsewhereError if another process is the owner.
        """
        with self._lock:
            asked_at, doubts = monotonic(), self._doubts
            was_missing = self._set_or_renew()
            self._has_lapsed |= was_missing and self._was_owner
            self._was_owner = True
            if doubts == self._doubts:  # else the answer may be that of the former primary
                self._asked_at = asked_at
            return not self._has_lapsed

    def release(self) -> None:
        """Own it no longer."""
        self._was_owner = False
        run_script(self._redis, _RELEASE, [self._key], self._member.value)

    def _set_or_renew(self) -> bool:
        """Set the key, or renew it if it is this process' own. True if it was missing."""
        me, lasts_ms = self._member.value, int(1_000 * OWNERSHIP_S)
        try:
            owner = self._redis.set(self._key, me, nx=True, get=True, px=lasts_ms)
        except ResponseError as error:
            if str(error).startswith("WRONGTYPE"):
                raise type(error)(f"{printable(self._key)} names no owner: {error}") from None
            raise
        if owner is None:
            return True
        if owner == me:
            self._redis.pexpire(self._key, lasts_ms)
            owner = self._redis.get(self._key)  # it may have expired just before
            if owner is None:
                return self._set_or_renew()
        if owner == me:
            return False
        self.doubt()
        raise OwnedElsewhereError(self._elsewhere(cast(bytes, owner)))

    def _elsewhere(self, other: bytes) -> str:
        try:
            owner = str(Member.parsed(other))
        except ValueError:
            owner = f"something that has written {printable(other.decode(errors='replace'))!r}"
        return (
            f"{printable(self.stream)} is being read by another process, {owner}, and this one "
            f"is {self._member}. Give each process a number of its own, and all the same `of`"
        )
