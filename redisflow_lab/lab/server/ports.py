"""Ports on the loopback interface of this machine."""

import socket

from redisflow_lab.lab.server.interface import ServerError


def pick_port(port: int | None) -> int:
    """`port`, if a server can listen on it; a free port for None. Raises ServerError if not."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port or 0))
        except (OSError, OverflowError, TypeError) as error:
            raise ServerError(
                f"port {port!r} cannot be used: {error}. Leave out port= to get a free one"
            ) from None
        return int(probe.getsockname()[1])
