"""Ports of this machine's loopback interface."""

import socket

from redisflow_lab.lab.server.interface import ServerError


def usable_port(port: int | None) -> int:
    """`port`, or a free one for None. Raises ServerError if it is taken or is none."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port or 0))
        except (OSError, OverflowError, TypeError) as error:
            raise ServerError(
                f"port {port!r} cannot be used: {error}. Leave port out to get a free one"
            ) from None
        return int(probe.getsockname()[1])
