"""Samples the state of a stream in the background, and records what happens to it."""

import time
from collections import deque
from threading import Event as Signal
from threading import Lock, Thread
from weakref import ref

import redis as redis_py
from redis import Redis

from redisflow_lab._internal.printable import printable
from redisflow_lab.events import Event
from redisflow_lab.inspection.missing import NoSuchStreamError
from redisflow_lab.inspection.state import Reader
from redisflow_lab.lab.prefix import without_prefix
from redisflow_lab.lab.recording.moment import NO_STREAM, Happening, Moment
from redisflow_lab.lab.recording.recording import Recording

SAMPLE_S = 0.02
"""Interval between samples. An event of a worker triggers one at once."""
PAUSE_S = 0.005
"""Shortest pause between samples, so that a fast worker does not cause a flood of them."""
MAX_KEPT = 10_000
"""How many moments, and how many happenings, are kept: the newest."""


class Recorder:
    """Samples the state of a stream until it is closed.

    redis:  a client that nothing else uses
    stream: the key
    """

    def __init__(self, redis: Redis, stream: str) -> None:
        self.stream = stream
        self._redis, self._reader = redis, Reader(redis, stream, called=without_prefix(stream))
        self._moments: deque[Moment] = deque(maxlen=MAX_KEPT)
        self._happenings: deque[Happening | Event] = deque(maxlen=MAX_KEPT)
        self._taken = 0
        self.newest = Moment(0.0, None)
        """The last sample, whether or not it was kept."""
        self._latest = 0.0  # time of the newest happening
        self._down = False  # whether the server was down at the last sample
        self._began = time.monotonic()
        self._lock = Lock()  # held while what is kept is changed or copied
        self._asking = Lock()  # held while the server is sampled
        self._over, self._wake = Signal(), Signal()
        self.ask()
        # A thread that held this object would keep it alive forever.
        arguments = (ref(self), self._over, self._wake)
        self._thread = Thread(target=_keep_asking, args=arguments, daemon=True)
        self._thread.start()

    @property
    def recording(self) -> Recording:
        """The recording so far, with a sample of this moment."""
        self.ask()
        with self._lock:
            moments, happenings, taken = [*self._moments], [*self._happenings], self._taken
        told = [
            self._in_words(happening) if isinstance(happening, Event) else happening
            for happening in happenings
        ]
        return Recording(
            without_prefix(self.stream),
            moments,
            sorted(told, key=lambda happening: happening.t_s),
            taken - len(moments),
        )

    def happened(self, kind: str, text: str, *, group: str = "", consumer: str = "") -> None:
        """Record that something happened now, and sample the server."""
        now = self._now()
        self._add(Happening(now, kind, text, group, consumer), now)
        self.ask()

    def reported(self, event: Event) -> None:
        """Record an event of a worker. The background thread samples the server soon.

        A busy worker reports tens of thousands a second, so they are put in words later.
        """
        self._add(event, event.at - self._began)
        self._wake.set()

    def ask(self) -> None:
        """Sample the server now."""
        with self._asking:
            asked = self._now()
            try:
                state, trouble, down = self._reader.read(), "", False
            except redis_py.RedisError as error:
                state, trouble, down = None, _trouble(error), _is_down(error)
            if down != self._down:
                self._down = down
                text = trouble if down else "the server answers again"
                self._add(Happening(asked, "down" if down else "up", text), asked)
            self.newest = Moment(asked, state, trouble)
            self._keep(self.newest)

    def close(self) -> None:
        """Stop sampling, and close the client."""
        self._over.set()
        self._wake.set()
        self._thread.join()
        self._redis.close()

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _add(self, happening: Happening | Event, t_s: float) -> None:
        with self._lock:
            self._happenings.append(happening)
            self._latest = max(self._latest, t_s)

    def _in_words(self, event: Event) -> Happening:
        kind = event.kind.value
        error = f": {printable(event.error)}" if event.error else ""
        said = f"{printable(event.consumer)} {_SAID.get(kind, kind)} {event.entry_id}"
        text = f"{said.rstrip()}{error}"
        return Happening(
            event.at - self._began, kind, text, event.group, event.consumer, event.entry_id
        )

    def _keep(self, moment: Moment) -> None:
        with self._lock:
            before = self._moments[-1] if self._moments else None
            if (
                before is None
                or _differ(before, moment)
                or before.t_s < self._latest <= moment.t_s
            ):
                self._moments.append(moment)
                self._taken += 1


def _keep_asking(recorder: "ref[Recorder]", over: Signal, wake: Signal) -> None:
    while not over.wait(PAUSE_S) and (found := recorder()) is not None:
        found.ask()
        del found
        wake.wait(SAMPLE_S)
        wake.clear()


_SAID = {
    "claimed": "claimed",
    "delivered": "was given",
    "handled": "has handled",
    "acked": "acknowledged",
    "failed": "failed on",
    "paused": "paused at",
    "dead-lettered": "dead-lettered",
    "outage-began": "cannot use the server",
    "outage-ended": "can use the server again",
}


def _differ(one: Moment, other: Moment) -> bool:
    return (one.state, one.trouble) != (other.state, other.trouble)


def _is_down(error: redis_py.RedisError) -> bool:
    silent = isinstance(error, redis_py.ConnectionError | redis_py.TimeoutError)
    return silent and not isinstance(error, redis_py.AuthenticationError)


def _trouble(error: redis_py.RedisError) -> str:
    match error:
        case NoSuchStreamError():
            return NO_STREAM
        case redis_py.AuthenticationError():  # which is a ConnectionError, too
            return printable(str(error))
        case redis_py.TimeoutError():
            return "the server does not answer"
        case redis_py.ConnectionError():
            return "the server is down"
    return printable(str(error))
