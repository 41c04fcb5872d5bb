"""Permanent TLS errors: a missing file, an untrusted certificate, a server without TLS."""

import socket
import ssl
from contextlib import suppress
from enum import Enum
from typing import Any

import redis
from redis.connection import SSLConnection

_PROBE_S = 1.0


class TlsError(redis.ConnectionError):
    """Raised if TLS with this server cannot work with these settings: do not try again."""


class TlsProblem(Enum):
    """Why TLS does not work, and as value what to do about it."""

    FILE = "Check the files that ssl_ca_certs, ssl_certfile and ssl_keyfile name: {files}"
    UNTRUSTED = (
        "Name the certificate of its authority in ssl_ca_certs (now: {files}), and connect to "
        "a host name that the certificate is for"
    )
    NO_TLS = "The server does not speak TLS on this port: use redis:// instead of rediss://"
    REFUSED = "Check the TLS settings of the client and of the server ({files})"


def tls_problem(error: BaseException | None) -> TlsProblem | None:
    """Why TLS cannot start because of `error`; None if the error is transient.

    error: raised while loading the files or by the handshake. If the server hangs up or does
           not answer, that is transient, because a restarting server does so too
    """
    match error:
        case FileNotFoundError() | PermissionError() | IsADirectoryError():
            return TlsProblem.FILE
        case ssl.SSLCertVerificationError():
            return TlsProblem.UNTRUSTED
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError() | ssl.SSLSyscallError():
            return None
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER"):
            return TlsProblem.NO_TLS
        case ssl.SSLError(reason="TLSV1_ALERT_INTERNAL_ERROR"):
            return None
        case ssl.SSLError():
            return TlsProblem.REFUSED
    return None


def refuses_certificate(error: BaseException) -> bool:
    """Whether the server refused this client's certificate, or refused it for having none.

    With TLS 1.3 a client learns this only after its handshake, from the first reply.
    """
    cause = error.__cause__ or error.__context__
    reason = (cause.reason or "") if isinstance(cause, ssl.SSLError) else ""
    return "_ALERT_" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)


class TlsConnection(SSLConnection):
    """A mixin for redis-py's TLS connections: raises TlsError if another try would not help.

    redis-py raises the same ConnectionError for a missing file and for a server that is down.
    """

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> ssl.SSLSocket:
        try:
            wrapped: ssl.SSLSocket = super()._wrap_socket_with_ssl(sock)  # type: ignore[no-untyped-call]
        except OSError as error:
            problem = tls_problem(error)
            if isinstance(error, TimeoutError) and _answers_without_tls(self.host, self.port):
                problem = TlsProblem.NO_TLS
            if problem is None:
                raise
            given = {
                "ssl_ca_certs": self.ca_certs,
                "ssl_ca_path": self.ca_path,
                "ssl_certfile": self.certfile,
                "ssl_keyfile": self.keyfile,
            }
            named = ", ".join(f"{name}={path!r}" for name, path in given.items() if path)
            what_to_do = problem.value.format(files=named or "none is named")
            raise TlsError(
                f"TLS with the server at {self.host}:{self.port} cannot start: {error}. "
                f"{what_to_do}"
            ) from error
        return wrapped


def with_tls_errors(connection_class: type[Any]) -> type[Any]:
    """`connection_class`, made to raise TlsError if it uses TLS."""
    if not issubclass(connection_class, SSLConnection):
        return connection_class
    if issubclass(connection_class, TlsConnection):
        return connection_class
    return type(connection_class.__name__, (TlsConnection, connection_class), {})


def _answers_without_tls(host: str, port: int) -> bool:
    """Whether the server answers plain text. Such a server does not answer a TLS handshake."""
    with suppress(OSError), socket.create_connection((host, port), timeout=_PROBE_S) as plain:
        plain.sendall(b"PING\r\n")
        return plain.recv(1) in (b"+", b"-")
    return False
