"""What every server of the lab can do, whoever runs it, and how it says that it cannot."""

from typing import Protocol

from redis import Redis


class ServerError(RuntimeError):
    """No server, or not a usable one. The text says what was tried and what helps."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the text. Where in the lab it was raised helps nobody."""
        return [str(self)]


class UnusableServerError(ServerError):
    """There is no such server here: the next way may work."""


class UnfitServerError(UnusableServerError):
    """There is one, but it will not do: worth saying when another one is used instead."""


class Server(Protocol):
    """A running Redis or Valkey.

    label:  what it is and where from, such as "Valkey 9.1.2 (bundled)"; never a password
    prefix: what the names of all keys must begin with; empty on an own server
    """

    label: str
    prefix: str

    def connect(self) -> Redis:
        """A client that returns bytes and never retries by itself."""

    def kill(self) -> None:
        """SIGKILL it."""

    def start(self) -> None:
        """Start it again on the data it left."""

    def close(self) -> None:
        """End it; on a foreign server, delete our own keys instead."""
