"""The server of `run` in a test, and raw requests to it."""

import base64
import contextlib
import io
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyoci_flask import logs
from pyoci_flask.cli.run.server import create_server
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

SECRET = "secret-of-this-run"
LOGIN = "Basic " + base64.b64encode(f"run:{SECRET}".encode()).decode()
PROXY_LOGIN = ("Proxy-Authorization", LOGIN)


@contextlib.contextmanager
def run_server(application: "WSGIApplication") -> Iterator[int]:
    """Serve an application as `run` does; yield its port."""
    server = create_server(socket.create_server(("127.0.0.1", 0)), application)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    before = logs._handler.stream
    logs._handler.stream = io.StringIO()  # the log of `run` is not on the terminal
    try:
        yield server.port
    finally:
        server.shutdown()
        thread.join()
        logs._handler.stream = before


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def request(method: str, target: str, *headers: tuple[str, str], body: bytes = b"") -> bytes:
    """Return the bytes of a request of HTTP/1.1, exactly as they are given."""
    lines = [f"{method} {target} HTTP/1.1", "Host: ignored.example"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def exchange(port: int, sent: bytes) -> bytes:
    """Return everything that the server sends until it closes the connection."""
    with connect(port) as client:
        client.sendall(sent)
        return b"".join(iter(lambda: client.recv(65536), b""))


def ask(port: int, method: str, target: str, *headers: tuple[str, str], body: bytes = b"") -> bytes:
    """Return the response to one request."""
    return exchange(port, request(method, target, *headers, body=body))


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])
