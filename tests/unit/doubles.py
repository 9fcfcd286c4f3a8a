"""An HTTP/1.1 server that answers as a function says and remembers what it was sent."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.patience import PATIENCE

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived; `connection` counts the connections of the server from 0."""

    method: str
    target: str
    headers: "Message[str, str]"
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def authorization(self) -> str | None:
        return self.headers.get("Authorization")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says.

    `sent` bytes of the body are really sent before the connection is closed; with `reset` nothing
    is sent at all. With `pause` the body waits for that event. Content-Length is
    that of the body unless a header says otherwise.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = field(default_factory=dict)
    sent: int | None = None
    reset: bool = False
    pause: threading.Event | None = None


Handler = Callable[[Received], Answer]


class HTTPDouble:
    """A running server: its URL (no slash at the end) and the requests so far."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.received: list[Received] = []

    @property
    def netloc(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Method and path of each request."""
        return [(one.method, one.path) for one in self.received]


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, handler: Handler, context: ssl.SSLContext | None) -> None:
        super().__init__((LOOPBACK, 0), _RequestHandler)
        self.handler = handler
        self.double = HTTPDouble(f"http{'s' if context else ''}://{LOOPBACK}:{self.server_port}")
        self.faults: list[BaseException] = []
        self._context = context
        self._lock = threading.Lock()
        self._open: dict[int, socket.socket] = {}
        self._count = 0

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._context is not None:
            connection = self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def opened(self, connection: socket.socket) -> int:
        with self._lock:
            number, self._count = self._count, self._count + 1
            self._open[number] = connection
        return number

    def closed(self, number: int) -> None:
        with self._lock:
            self._open.pop(number, None)

    def hang_up(self) -> None:
        """End the connections that clients keep open, so that their threads end."""
        with self._lock:
            for connection in self._open.values():
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """Keep what is no broken connection for the end of the test."""
        import sys

        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.faults.append(error)


class _RequestHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._number = self.server.opened(self.connection)

    def finish(self) -> None:
        self.server.closed(self._number)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        received = Received(
            self.command, self.path, self.headers, self.rfile.read(length), self._number
        )
        self.server.double.received.append(received)
        answer = self.server.handler(received)
        if answer.reset:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        self.send_response_only(answer.status)
        headers = (
            list(answer.headers.items())
            if isinstance(answer.headers, Mapping)
            else list(answer.headers)
        )
        if not any(name.lower() == "content-length" for name, _ in headers):
            headers.append(("Content-Length", str(len(answer.body))))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if answer.pause is not None:
            answer.pause.wait(PATIENCE)
        if self.command != "HEAD":
            self.wfile.write(answer.body[: answer.sent])
        if answer.sent is not None:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = _answer  # noqa: N815 - http.server's


@contextlib.contextmanager
def http_double(
    handler: Handler, certificate: tuple[Path, Path] | None = None
) -> Iterator[HTTPDouble]:
    """Serve until the context ends; `certificate` and its key make it speak TLS."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    server = _Server(handler, context)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.double
    finally:
        server.shutdown()
        thread.join()
        server.hang_up()
        server.server_close()
    assert server.faults == []


def in_turn(*answers: Answer) -> Handler:
    """Return one answer after the other, and then the last one again and again."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]
