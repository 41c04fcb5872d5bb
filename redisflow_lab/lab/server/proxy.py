"""The program between the lab's servers: it forwards their connections, and can cut them.

It runs in a process of its own, where no busy cell delays it, and imports nothing of the
project, so that it starts fast. `network` starts it and tells it what to do.
"""

import asyncio
import json
import socket
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

CLIENTS = "127.0.0.1"
"""Where everything that is not a node connects from."""

Pair = frozenset[str]
"""Two nodes, by the addresses that they connect from, whichever of the two connects."""


class Proxy:
    """Forwards connections to nodes, except between the pairs of nodes that are cut."""

    def __init__(self) -> None:
        self._cut: set[Pair] = set()
        self._open: defaultdict[Pair, set[asyncio.WriteTransport]] = defaultdict(set)

    def cut(self, pairs: Iterable[Iterable[str]]) -> None:
        """Close what is open between these pairs, and refuse it from now on; no others."""
        self._cut = {frozenset(pair) for pair in pairs}
        for pair in self._cut:
            for transport in self._open[pair]:
                transport.abort()

    async def listen(self, listener: socket.socket, node: str, port: int) -> None:
        """Forward what connects to `listener` to the node at this address, on this port."""

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            source, _ = writer.get_extra_info("peername") or ("closed already", 0)
            pair = frozenset((source, node))
            with suppress(OSError), self._until_cut(pair, writer):
                # From the same address, so that the node sees which one it talks to. What a
                # client opens must not take a port of 127.0.0.1 that belongs to a node.
                here = None if source == CLIENTS else (source, 0)
                answers, onward = await asyncio.open_connection(CLIENTS, port, local_addr=here)
                with self._until_cut(pair, onward):
                    await _forward_until_closed((reader, onward), (answers, writer))

        await asyncio.start_server(accepted, sock=listener)

    @contextmanager
    def _until_cut(self, pair: Pair, writer: asyncio.StreamWriter) -> Iterator[None]:
        """Close the connection at the end of the block, or when the pair is cut."""
        opened = self._open[pair]
        opened.add(writer.transport)
        try:
            if pair in self._cut:
                raise ConnectionRefusedError
            yield
        finally:
            opened.discard(writer.transport)
            writer.transport.abort()


async def _forward_until_closed(
    *ways: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Forward both ways of a connection until one of its ends closes it."""
    tasks = [asyncio.ensure_future(_forward(*way)) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _forward(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
        target.close()
        await target.wait_closed()  # until the last bytes have been sent


async def _serve(control: socket.socket) -> None:
    """Obey lines of JSON until `control` is closed, and answer each with an empty line.

    First come listeners, with a list of the address and the port of the node behind each.
    Each line is a list of the pairs of addresses that are cut from then on.
    """
    nodes, listeners, _, _ = socket.recv_fds(control, 65_536, 253)  # as many as Linux sends
    proxy = Proxy()
    for fd, (node, port) in zip(listeners, json.loads(nodes), strict=True):
        await proxy.listen(socket.socket(fileno=fd), node, port)
    requests, answers = await asyncio.open_connection(sock=control)
    while line := await requests.readline():
        proxy.cut(json.loads(line))
        answers.write(b"\n")


if __name__ == "__main__":
    asyncio.run(_serve(socket.socket(fileno=int(sys.argv[1]))))
