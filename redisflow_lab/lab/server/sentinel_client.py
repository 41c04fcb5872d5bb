"""How the lab connects to the primary that Sentinels name."""

from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from redisflow_lab.lab.server.client import SOCKET_TIMEOUT_S

SERVICE = "mymaster"
"""What the Sentinels call the primary and its replicas; Redis' own example is called so."""

_ANSWER_S = 0.5
"""How long a Sentinel may take before the next one is asked, in seconds."""


class DirectSentinel(Sentinel):
    """Sentinels, and the real port of each server by the port that it announces.

    A client so reaches a server that is cut off, and is not slowed down by the proxy.
    """

    def __init__(self, *args: Any, real_ports: dict[int, int], **settings: Any) -> None:
        super().__init__(*args, **settings)  # type: ignore[no-untyped-call]
        self.real_ports = real_ports

    def discover_master(self, service_name: str) -> tuple[str, int]:
        host, port = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        return host, self.real_ports[port]

    def discover_slaves(self, service_name: str) -> list[tuple[str, int]]:
        replicas = super().discover_slaves(service_name)  # type: ignore[no-untyped-call]
        return [(host, self.real_ports[port]) for host, port in replicas]


def connect_by_sentinels(
    ports: Sequence[int], password: str, real_ports: dict[int, int]
) -> Redis:
    """A client of the primary that these Sentinels name, configured as `client.connect` does.

    ports: of the Sentinels on 127.0.0.1
    """
    no_retry = Retry(NoBackoff(), 0)
    sentinel = DirectSentinel(
        [("127.0.0.1", port) for port in ports],
        sentinel_kwargs={"password": password, "socket_timeout": _ANSWER_S, "retry": no_retry},
        real_ports=real_ports,
        password=password,
        socket_timeout=SOCKET_TIMEOUT_S,
        retry=no_retry,
    )
    client: Redis = sentinel.master_for(SERVICE)  # type: ignore[no-untyped-call]
    return client
