"""A client's connection: the headers of its next request, and the response being sent."""

import contextlib
import ipaddress
import re
import socket
import time
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.workers.gthread import TConn

from pyoci_flask.common.overrides import overrides
from pyoci_flask.oci.shares import Share
from pyoci_flask.server.client_socket import ClientSocket, Patience

# The rest of a refused upload is read and discarded, up to these limits in seconds and bytes.
# Closing immediately would reset the connection, and the client would report the reset instead of
# the response.
LINGER_TOTAL = 30.0
LINGER_IDLE = 2.0
LINGER_BYTES = 2 << 30

_REFUSAL = (
    "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 10\r\n"
    "Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{}"
)
_LARGE_FIELDS = 4
# gunicorn refuses a line that ends without CR as soon as it has received one.
_END = re.compile(rb"\r\n\r\n|(?<!\r)\n")
_PROBE = re.compile(rb"(?:GET|HEAD) /health[ ?]")
_BODY = re.compile(
    rb"\r\n(?:transfer-encoding[ \t]*:|content-length[ \t]*:(?![ \t]*(?:0+[ \t]*)?\r\n))",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Answer:
    """A response that is being sent: gunicorn's objects and the application's iterable."""

    request: Any
    response: Any
    environ: MutableMapping[str, Any]
    body: Any
    chunks: Iterator[bytes]
    begun: datetime


@dataclass(slots=True)
class Postponed:
    """A request that waits, without a thread, for a place at a registry (`NoPlaceError`)."""

    request: Any
    share: Share
    places: Callable[[], int]
    until: float
    """`time.monotonic()` at which the request is refused."""


@overrides("init", "close")
class ClientConnection(TConn):
    """A connection that uses a thread only while there is something to do for it."""

    sock: socket.socket
    data_ready: bool
    timeout: float  # pyright: ignore[reportIncompatibleVariableOverride] # set before it is read
    parser: Any

    def __init__(self, cfg: Any, sock: ClientSocket, client: Any, server: Any) -> None:  # noqa: ANN401 - gunicorn's own
        super().__init__(cfg, sock, client, server)
        self.peer = sock
        """The client's socket; `sock` is a wrapper around it if gunicorn speaks TLS itself."""
        self.data_ready = True  # no thread gets a connection before its data is ready
        self.answer: Answer | None = None
        self.postponed: Postponed | None = None
        self.is_kept = False
        self.in_thread = False
        self.lingered = 0
        """Bytes that were discarded after the last response."""
        self.since = time.monotonic()
        """When its current wait began."""
        self._scanned = 0
        self._is_too_large = False
        # For other protocols, gunicorn's thread reads the headers.
        self._gathers = not cfg.is_ssl and cfg.protocol == "http"

    def gather(self) -> bool:
        """Receive what has arrived of a request's headers; return whether a thread can begin.

        Raises:
            OSError: the connection has ended.
        """
        if self._gathers:
            with contextlib.suppress(BlockingIOError):
                if not self.peer.fill():
                    raise ConnectionAbortedError
        return self.is_ready()

    def is_ready(self) -> bool:
        """Return whether `held` contains complete headers, or headers too large to be accepted."""
        if not self._gathers:
            return True
        held, limit = self.peer.held, int(self.cfg.limit_request_line) + 2
        found = _END.search(held, max(0, self._scanned - 3))
        if found is not None:
            return True
        self._scanned = len(held)
        if len(held) > limit and held.find(b"\r\n", 2, limit + 2) < 0:
            return True
        self._is_too_large = len(held) > limit + _LARGE_FIELDS * self.cfg.limit_request_field_size
        return self._is_too_large

    def has_body(self) -> bool:
        """Return whether the headers in `held` announce a body."""
        held = self.peer.held
        end = held.find(b"\r\n\r\n")
        return _BODY.search(held, 0, len(held) if end < 0 else end + 2) is not None

    def is_probe(self) -> bool:
        """Return whether the request in `held` asks for `/health`."""
        return _PROBE.match(self.peer.held) is not None

    def init(self) -> None:
        """Prepare for the first request, in a thread; refuse headers that are too large."""
        super().init()
        if self._is_too_large:
            raise LimitRequestHeaders("the headers are too large")

    def begin_headers(self, seconds: float) -> None:
        """Expect the headers of a request within `seconds`."""
        self._scanned = 0
        self.peer.deadline = time.monotonic() + seconds
        self.peer.receiving = None

    def begin_body(self, idle: float) -> None:
        """Prepare to receive a body and to send a response, each at no less than `LEAST_RATE`."""
        self.end_headers(idle)
        self.peer.receiving = Patience(idle)
        self.peer.begin_answer()

    def refuse(self, reason: str) -> None:
        """Respond with 503 without calling the application."""
        body = f"{reason}\n"
        self.peer.begin_answer()
        self.peer.sendall(_REFUSAL.format(len(body), body).encode())

    def end_headers(self, idle: float) -> None:
        """Allow `idle` seconds for each further read or write."""
        self.peer.deadline = self.peer.receiving = None
        # By now, `sock` might be a TLS socket, which gunicorn made blocking without a time-out.
        self.sock.settimeout(idle)

    @property
    def waits_for_client(self) -> bool:
        """Whether the client has to take bytes before more can be sent."""
        return bool(self.peer.unsent)

    def take_back(self) -> bool:
        """Take back what was read beyond the last request; return whether there was anything."""
        ahead: bytes = self.parser.unreader.take_buffered()
        self._scanned = 0
        if not self.cfg.is_ssl:
            self.peer.held[:0] = ahead
            return bool(self.peer.held)
        if ahead:
            self.parser.unreader.unread(ahead)
        return bool(ahead)

    def linger_and_close(self) -> None:
        """Close a TLS connection so that the client can still read its response (RFC 9112, 9.6)."""
        if self.sock.fileno() == -1:
            return  # gunicorn has aborted a response that failed halfway
        self.end_headers(LINGER_IDLE)
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + LINGER_TOTAL
            while time.monotonic() < deadline and self.lingered <= LINGER_BYTES:
                received = self.sock.recv(1 << 16)
                if not received:
                    break
                self.lingered += len(received)
        self.close()

    def close(self, graceful: bool = False) -> None:  # noqa: ARG002 -- gunicorn's signature
        """Close the connection immediately, unless it is already closed.

        gunicorn's own method fails on a closed socket and then counts the connection twice, so that
        a stopping worker believes that no transfer is left and ends those that are running.
        """
        if self.sock.fileno() != -1:
            super().close()


def unmapped(client: object) -> object:
    """Return a client's address, as plain IPv4 if it came over IPv4 to an IPv6 socket.

    gunicorn would not trust the forwarded headers of a proxy on this host at `::ffff:127.0.0.1`,
    and the access log would show addresses in a form that clients do not use.
    """
    if isinstance(client, tuple):
        with contextlib.suppress(ValueError):
            mapped = getattr(ipaddress.ip_address(client[0]), "ipv4_mapped", None)
            if mapped is not None:
                return (str(mapped), client[1])
    return client
