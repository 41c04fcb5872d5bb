"""The limit: how fast the server is when the client does next to nothing.

A bare socket, packets encoded beforehand, replies parsed by hiredis and thrown away, and
always one batch in flight, so that the server never waits.
"""

import socket
from typing import Any
from urllib.parse import urlsplit

from hiredis import Reader, pack_command

from tools.bench.side import BATCH, Job, by_batch


class BareConnection:
    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port))
        self._reader = Reader()
        self._buffer = bytearray(65_536)
        self.send(packed("AUTH", address.password or ""))
        self.receive(1)

    def send(self, packet: bytes) -> None:
        self._socket.sendall(packet)

    def receive(self, count: int) -> Any:
        """Read so many replies, none of which may be an error. Returns the last one."""
        for _ in range(count):
            while (reply := self._reader.gets()) is False:
                self._reader.feed(self._buffer, 0, self._socket.recv_into(self._buffer))
            if isinstance(reply, Exception):
                raise reply
        return reply


def packed(*command: str | bytes | int) -> bytes:
    return pack_command(command)  # type: ignore[arg-type]  # hiredis declares one item only


def publish(job: Job) -> None:
    connection = BareConnection(job.url)
    packet = packed("XADD", job.stream, "*", "data", job.data) * BATCH
    connection.send(packet)
    for _ in range(job.count // BATCH - 1):
        connection.send(packet)
        connection.receive(BATCH)
    connection.receive(BATCH)


def consume(job: Job) -> None:
    connection = BareConnection(job.url)
    connection.send(packed("XGROUP", "CREATE", job.stream, job.group, "0"))
    connection.receive(1)
    read = packed(
        "XREADGROUP", "GROUP", job.group, "limit", "COUNT", BATCH, "STREAMS", job.stream, ">"
    )
    packet = packed("PING") + read  # two replies, like every later packet
    connection.send(packet)
    connection.send(packet)
    while reply := connection.receive(2):
        packet = (
            packed("XACK", job.stream, job.group, *[entry[0] for entry in reply[0][1]]) + read
        )
        connection.send(packet)
    connection.receive(2)


PUBLISHER = by_batch("limit: a bare socket", publish)
CONSUMER = by_batch("limit: a bare socket", consume, ", not decoding")
