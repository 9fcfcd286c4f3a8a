"""Crowds of clients that read or send a little at a time."""

import contextlib
import resource
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.servers import LOOPBACK

_PAUSE = 0.5
"""Seconds from one piece to the next."""


@dataclass(frozen=True, slots=True)
class Slow:
    """How a slow client behaves: what it sends first, and what it does twice a second."""

    first: bytes
    sends: bytes = b""
    reads: int = 0
    """Bytes."""


def reader(path: str) -> Slow:
    """Reads an answer at 8 KiB/s."""
    return Slow(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), reads=4096)


def half_sent(path: str) -> Slow:
    """Sends half of a request's headers, and nothing more."""
    return Slow(f"GET {path} HTTP/1.1\r\nHost: loc".encode())


def uploader(path: str, size: int = 40_000_000) -> Slow:
    """Uploads a file at 2 KiB/s."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        'Content-Disposition: form-data; name="content"; filename="a-1.tar.gz"\r\n\r\n'
    )
    return Slow(head.encode(), sends=bytes(1024))


@contextlib.contextmanager
def crowd(
    behaviour: Slow, port: int, *, certificate: Path | None = None, size: int = 300
) -> Iterator[None]:
    """Let `size` clients connect to a server and behave like this until the block ends.

    `certificate` is the server's own, if it uses TLS. A client does not reconnect after the server
    closes its connection.
    """
    _allow_open_files(4 * size)
    over = threading.Event()
    context = ssl.create_default_context(cafile=str(certificate)) if certificate else None
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(_connected(port, context)) for _ in range(size)]
        for client in clients:
            client.sendall(behaviour.first)
            client.setblocking(False)
        thread = threading.Thread(target=_behave, args=(clients, behaviour, over.wait))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _connected(port: int, context: ssl.SSLContext | None) -> socket.socket:
    client = socket.socket()
    # Small, because otherwise the kernel would read ahead.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(30)
    client.connect((LOOPBACK, port))
    return client if context is None else context.wrap_socket(client, server_hostname=LOOPBACK)


def _behave(clients: list[socket.socket], behaviour: Slow, wait: Callable[[float], bool]) -> None:
    while not wait(_PAUSE):
        for client in list(clients):
            try:
                if behaviour.sends:
                    client.send(behaviour.sends)
                if behaviour.reads:
                    client.recv(behaviour.reads)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                continue
            except OSError:
                clients.remove(client)


def _allow_open_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
