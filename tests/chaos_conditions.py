"""What else goes wrong in a chaos test, between the processes and the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, cycle, repeat
from time import monotonic
from typing import Any

from network import Proxy, address_of, at_random
from redis import Redis

from redisflow_lab.lab import Lab
from redisflow_lab.lab.workers.worker import Worker

FAULTY_SHARE = 1 / 300
"""Of all requests, so many are lost, or their answers are lost or late."""
REFUSED = [
    "eval", "type", "xack", "xadd", "xautoclaim", "xclaim", "xgroup|create",
    "xgroup|delconsumer", "xpending", "xrange", "xreadgroup",
]  # fmt: skip
"""The commands of a consumer. One after another is refused for a while."""
REFUSED_S, ALLOWED_S = 0.2, 1.0


class Conditions:
    """Nothing else goes wrong.

    consumers: what consumers connect with
    effects:   what their handlers connect with
    producers: where producers connect to
    """

    def __init__(self, lab: Lab) -> None:
        self.consumers = self.effects = lab.redis
        self.producers: dict[str, Any] = address_of(lab)

    @property
    def count(self) -> int:
        """How often something went wrong."""
        return 0

    def go_on(self) -> None:
        """To be called all the time."""

    def stop(self) -> None:
        """From now on all goes well."""

    def ended(self, worker: Worker) -> bool:
        """Whether they have made a consumer raise an error and end."""
        return False


class FaultyNetwork(Conditions):
    """Requests and answers are lost or late, for producers, consumers and handlers."""

    def __init__(self, lab: Lab, proxy: Proxy) -> None:
        super().__init__(lab)
        self._proxy = proxy
        self.consumers = self.effects = proxy.client
        self.producers = {**self.producers, "port": proxy.port}

    @property
    def count(self) -> int:
        return self._proxy.faults


class Refusals(Conditions):
    """One command after another is refused to all consumers, for a short time each."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self._redis, self._count = lab.redis, 0
        self._set_user("reset", "on", ">pw", "~*", "+@all")
        self._redis.config_rewrite()  # so that the user is there after a kill of the server
        self.consumers = Redis(**{**address_of(lab), "username": "consumer", "password": "pw"})
        self._steps = cycle(chain.from_iterable(zip(REFUSED, repeat(None), strict=False)))
        self._refused: str | None = None
        self._until = monotonic() + ALLOWED_S

    @property
    def count(self) -> int:
        return self._count

    def go_on(self) -> None:
        if monotonic() < self._until:
            return
        self._allow()
        self._refused = next(self._steps)
        if self._refused:
            self._set_user(f"-{self._refused}")
            self._count += 1
        self._until = monotonic() + (REFUSED_S if self._refused else ALLOWED_S)

    def stop(self) -> None:
        self._allow()
        self._until = float("inf")

    def ended(self, worker: Worker) -> bool:
        return "NoPermissionError" in worker.output or "can't run" in worker.output

    def _allow(self) -> None:
        if self._refused:
            self._set_user(f"+{self._refused}")

    def _set_user(self, *rules: str) -> None:
        self._redis.execute_command("ACL", "SETUSER", "consumer", *rules)


@contextmanager
def conditions(faults: str | None, lab: Lab, seed: int) -> Iterator[Conditions]:
    if faults == "refusals":
        yield Refusals(lab)
    elif faults == "network":
        with Proxy(lab, at_random(seed, FAULTY_SHARE)) as proxy:
            yield FaultyNetwork(lab, proxy)
    else:
        yield Conditions(lab)
