"""A registry on a socket that breaks a chosen call in a chosen way.

It works in front of any WSGI registry and implements HTTP itself, so that it can stop at any byte.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Response

from tests.doubles import LOOPBACK
from tests.patience import PATIENCE
from tests.ports import free_port

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_GARBAGE = b'{"tags": ["1.0", \xff'


class Fault(StrEnum):
    """What happens to a call; those that say "amid" happen after the registry has done its work."""

    REFUSED = "refused"
    RESET_BEFORE = "reset before the answer"
    RESET_AMID_HEADERS = "reset amid the headers"
    RESET_AMID_BODY = "reset amid the body"
    HANG = "hang"
    FAILS = "500"
    BUSY_ONCE = "503 once, then fine"
    RATE_LIMITED = "429"
    GARBAGE = "garbage for JSON"
    WRONG_DIGEST = "wrong digest"
    TRUNCATED = "truncated"


RETRY_AFTER = "7"
"""Seconds, as the 429 says: longer than a server should wait by itself."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the registry, without its query."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(slots=True)
class FaultyServer:
    """A running registry at `url` (no slash); `calls` since `break_call` or the start."""

    app: "WSGIApplication"
    url: str
    calls: list[Call] = field(default_factory=list)
    open: int = 0
    """Return the connections that the other side keeps open."""
    _fault: Fault | None = None
    _at: int = 0
    _broken: Call | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _listener: socket.socket | None = None
    _accepting: threading.Thread | None = None
    _threads: list[threading.Thread] = field(default_factory=list)
    _connections: dict[int, socket.socket] = field(default_factory=dict)

    def break_call(self, number: int, fault: Fault) -> None:
        """Break call `number` (from 1 on), and the same call again for as long as it is repeated.

        Counting starts again.
        """
        with self._lock:
            self.calls.clear()
            self._fault, self._at, self._broken = fault, number, None
        if fault is Fault.REFUSED and number == 1:
            self._refuse()

    def hang_up(self) -> None:
        """End all connections, including those of calls that hang."""
        for connection in list(self._connections.values()):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Break nothing any more, and start counting again."""
        with self._lock:
            self.calls.clear()
            self._fault = None
        if self._listener is None:
            self._listen()

    def take(self, call: Call) -> Fault | None:
        """Count a call that has arrived; return what has to happen to it."""
        with self._lock:
            self.calls.append(call)
            number, fault = len(self.calls), self._fault
            if fault is None:
                return None
            if fault is Fault.REFUSED:
                if number == self._at - 1:
                    self._refuse()
                return fault
            if number == self._at:
                self._broken = call
                if fault is Fault.BUSY_ONCE:
                    self._fault = None
                return fault
            if self._broken is not None:
                if call == self._broken:
                    return fault
                self._fault = None
            return None

    def _listen(self) -> None:
        listener = _bound(int(self.url.rpartition(":")[2]))
        listener.listen(64)
        self._listener = listener
        self._accepting = threading.Thread(target=self._accept, args=(listener,))
        self._accepting.start()

    def _refuse(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None and self._accepting is not None:
            # Closing alone would leave accept() waiting.
            listener.shutdown(socket.SHUT_RDWR)
            self._accepting.join()
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, peer = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection, peer))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, peer: object) -> None:
        self._connections[id(connection)] = connection
        self.open += 1
        try:
            connection.settimeout(PATIENCE)
            with contextlib.suppress(OSError):
                _Handler(connection, peer, self)  # type: ignore[arg-type]
        finally:
            self.open -= 1
            del self._connections[id(connection)]
            connection.close()

    def _stop(self) -> None:
        self._refuse()
        self.hang_up()
        for thread in self._threads:
            thread.join()


@contextlib.contextmanager
def faulty_server(app: "WSGIApplication") -> Iterator[FaultyServer]:
    """Serve a registry on a port that this server keeps even while it refuses connections."""
    with _bound(free_port()) as held:
        server = FaultyServer(app, f"http://{LOOPBACK}:{held.getsockname()[1]}")
        server._listen()
        try:
            yield server
        finally:
            server._stop()


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((LOOPBACK, port))
    return bound


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Write nothing."""

    def _answer(self) -> None:
        server: FaultyServer = self.server  # type: ignore[assignment]
        sent = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        fault = server.take(Call(self.command, urlsplit(self.path).path))
        match fault:
            case Fault.RESET_BEFORE:
                self._reset()
            case Fault.HANG:
                # Wait until the other side gives up; a leaked connection ends in the time-out.
                self.connection.recv(1)
                self.close_connection = True
            case Fault.FAILS:
                self._send(Response("out of order", 500))
            case Fault.BUSY_ONCE:
                self._send(Response("busy", 503))
            case Fault.RATE_LIMITED:
                self._send(Response("slow down", 429, {"Retry-After": RETRY_AFTER}))
            case _:
                self._broken(fault, self._asked(server, sent))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - http.server's

    def _asked(self, server: FaultyServer, sent: bytes) -> Response:
        target = urlsplit(self.path)
        builder = EnvironBuilder(
            method=self.command,
            path=unquote(target.path),
            query_string=target.query,
            base_url=server.url,
            headers=list(self.headers.items()),
            data=sent,
        )
        try:
            return Response.from_app(server.app, builder.get_environ(), buffered=True)
        finally:
            builder.close()

    def _broken(self, fault: Fault | None, honest: Response) -> None:
        body = honest.get_data()
        match fault:
            case None:
                self._send(honest)
            case Fault.REFUSED:
                # If it were kept alive, it would serve the call that is to be refused.
                self._send(honest, close=True)
            case Fault.RESET_AMID_HEADERS:
                self.wfile.write(f"HTTP/1.1 {honest.status}\r\nContent-Ty".encode())
                self._reset()
            case Fault.RESET_AMID_BODY | Fault.TRUNCATED:
                short = body[: len(body) // 2]
                announced = len(body) if body or self.command == "HEAD" else 10
                self._send(honest, body=short, length=announced, close=True)
                if fault is Fault.RESET_AMID_BODY:
                    self._reset()
            case Fault.GARBAGE:
                self._send(honest, body=_GARBAGE if body else b"")
            case _:
                honest.headers["Docker-Content-Digest"] = f"sha256:{'0' * 64}"
                self._send(honest, body=_another(body) if "/sha256:" in self.path else body)

    def _send(
        self,
        response: Response,
        *,
        body: bytes | None = None,
        length: int | None = None,
        close: bool = False,
    ) -> None:
        body = response.get_data() if body is None else body
        if self.command == "HEAD":
            body, length = b"", int(response.headers.get("Content-Length", "0"))
        self.send_response_only(response.status_code)
        for name, value in response.headers:
            if name.lower() not in {"content-length", "connection"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if close:
            self.send_header("Connection", "close")  # also sets close_connection
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def _another(body: bytes) -> bytes:
    """Return as many different bytes."""
    return body[:-1] + bytes([body[-1] ^ 1]) if body else body
