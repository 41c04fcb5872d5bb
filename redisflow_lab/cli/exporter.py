"""`redisflow exporter`: metrics of streams over HTTP, for Prometheus."""

from importlib.util import find_spec
from typing import Annotated

import typer

from redisflow_lab.cli.server import HERE, Url, fail, server_at
from redisflow_lab.signals import stop_on_signals


def exporter(
    streams: Annotated[
        list[str],
        typer.Argument(
            metavar="STREAM...", help="Their keys, or the names of streams with partitions."
        ),
    ],
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any free one.")] = 9_808,
    address: Annotated[
        str, typer.Option(help="Where it listens; by default for this machine only.")
    ] = "127.0.0.1",
    url: Url = HERE,
) -> None:
    """Serve the metrics of streams to Prometheus, until SIGTERM or Ctrl-C.

    They are read when they are asked for. While the server is down, redisflow_up is 0.
    """
    if find_spec("prometheus_client") is None:
        fail("exporter needs prometheus-client: pip install 'redisflow-lab[cli,metrics]'")
    from prometheus_client import CollectorRegistry, start_http_server

    from redisflow_lab.cli.exported import Exported

    with server_at(url, must_answer=False) as redis, stop_on_signals() as stop:
        registry = CollectorRegistry()
        registry.register(Exported(redis, streams))
        try:
            server, _ = start_http_server(port, address, registry)
        except OSError as error:
            fail(f"cannot listen on {address}:{port}: {error.strerror}. Choose another --port")
        print(f"Metrics are at http://{address}:{server.server_port}/metrics", flush=True)
        stop.wait()
        server.shutdown()
