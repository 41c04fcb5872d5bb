"""Ports on the loopback interface of this machine."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from random import sample

from redisflow_lab.lab.lifeline import close_in_forks
from redisflow_lab.lab.server.interface import ServerError

_NOT_OUTGOING = range(20_000, 32_000)


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


@contextmanager
def free_ports(count: int) -> Iterator[list[int]]:
    """So many ports at which a server can listen; taken until the end of the block.

    They are below those that systems give to outgoing connections: one of those could take a
    port before its server listens there.
    """
    with ExitStack() as until_the_end:
        ports: list[int] = []
        for port in sample(_NOT_OUTGOING, len(_NOT_OUTGOING)):
            if len(ports) == count:
                break
            with suppress(OSError):
                until_the_end.enter_context(socket.create_server(("127.0.0.1", port)))
                ports.append(port)
        yield ports


def hold_port(port: int) -> socket.socket:
    """Keep `port` taken until the socket is closed; to connect to it is refused meanwhile.

    Raises ServerError if another process has taken it already.
    """
    holder = close_in_forks(socket.socket())
    # To bind beside connections that the kernel still closes; then no longer, because another
    # process could listen on a port that is shared like this.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind(("127.0.0.1", port))
    except OSError as error:
        holder.close()
        raise ServerError(
            f"the server was killed, and another process took its port {port}: {error}. "
            "Clients that connect again would send that process the password. Restart "
            "the kernel"
        ) from None
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return holder
