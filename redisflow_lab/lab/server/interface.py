"""What each kind of server offers to the lab, and the errors it raises."""

from typing import Protocol

from redis import Redis


class ServerError(RuntimeError):
    """No usable server. The text says what was tried and what to do about it."""

    def _render_traceback_(self) -> list[str]:
        """The text alone, for IPython: the lab's own stack frames would hide it."""
        return [str(self)]


class UnavailableServerError(ServerError):
    """This kind of server is not available here. The lab tries the next kind."""


class UnsupportedServerError(UnavailableServerError):
    """The server exists, but the lab cannot use it, for example because it is too old.

    The lab tries the next kind, and `Server.label` mentions the one that was skipped.
    """


class NoSuchNodeError(ServerError, KeyError):
    """The lab has no server of this name. The text lists those that it has."""

    __str__ = Exception.__str__  # a KeyError would show its text in quotes


class Server(Protocol):
    """A running Redis or Valkey.

    label:  name, version and origin, such as "Valkey 9.1.2 (bundled)"; never a password
    prefix: what every key must begin with on a shared server; empty on the lab's own server
    """

    label: str
    prefix: str

    @property
    def url(self) -> str:
        """The address for redis-cli or another client. It contains the password."""

    @property
    def port(self) -> int | None:
        """The port; None if the server listens on a Unix socket."""

    def connect(self) -> Redis:
        """A new client; `client.connect` describes its configuration."""

    def kill(self) -> None:
        """Send SIGKILL to the server. Raises ServerError on a shared server."""

    def start(self) -> None:
        """Start the server again with the data it left, and wait until it answers.

        Does nothing if it is running. Raises ServerError if it does not start, and on a
        shared server.
        """

    def close(self) -> None:
        """Stop the lab's own server, or delete the lab's keys from a shared one."""
