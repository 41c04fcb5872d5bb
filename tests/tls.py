"""TLS in front of a server: as stunnel does, and many hosted servers."""

import asyncio
import ssl
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import trustme


@contextmanager
def speaking_tls(port: int, folder: Path) -> Iterator[tuple[int, Path]]:
    """The port where the server at `port` speaks TLS, and the certificate of its authority."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    started: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def forward(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pump(client, to_server), _pump(server, to_client))

    async def serve() -> None:
        listener = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
        stop = asyncio.Event()
        started.set_result(
            (listener.sockets[0].getsockname()[1], asyncio.get_running_loop(), stop)
        )
        await stop.wait()
        listener.close()

    thread = Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    tls_port, loop, stop = started.result(timeout=10)
    try:
        yield tls_port, folder / "ca.pem"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # one side hung up
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.close()
