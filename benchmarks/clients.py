"""The clients of a run itself: one connection, standard library only, as simple as possible."""

import contextlib
import hashlib
import http.client
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

_SECONDS = 300.0
_BOUNDARY = "benchmark-boundary-7d1f0a"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, and the seconds from the request to its first byte and to its last."""

    status: int
    body: bytes
    first: float
    total: float


class Client:
    """A client on one connection that is kept alive."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=_SECONDS
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """GET a path.

        Raises:
            RuntimeError: the answer is another than 200.
        """
        begun = time.perf_counter()
        self._connection.request("GET", path, headers=headers or {})
        response = self._connection.getresponse()
        start = response.read(1)
        first = time.perf_counter() - begun
        body = start + response.read()
        total = time.perf_counter() - begun
        if response.status != http.client.OK:
            raise RuntimeError(f"GET {path}: {response.status} {body[:300]!r}")
        return Answer(response.status, body, first, total)


@contextlib.contextmanager
def client(url: str) -> Iterator[Client]:
    """A client whose connection is closed when the block ends."""
    with Client(url) as opened:
        yield opened


def publish(url: str, wheel: Path, name: str, version: str, fields: Mapping[str, str]) -> float:
    """Upload a wheel with the form that twine sends; return the seconds until the response.

    `url` is that of the index. The file goes from the page cache to the socket, so that the client
    costs next to nothing.

    Raises: RuntimeError if it was refused.
    """
    parts = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "name": name,
        "version": version,
        "filetype": "bdist_wheel",
        "pyversion": "py3",
        **fields,
    }
    head = "".join(
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
        for field, value in parts.items()
    )
    head += (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="content"; '
        f'filename="{wheel.name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    )
    kind = f"multipart/form-data; boundary={_BOUNDARY}"
    tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
    return send_file("POST", url, wheel, kind, head=head.encode(), tail=tail)


def digests(wheel: Path) -> dict[str, str]:
    """Return the digests that twine sends, by the names of their fields."""
    factories: Mapping[str, Callable[[], Any]] = {
        "md5_digest": lambda: hashlib.md5(usedforsecurity=False),
        "sha256_digest": hashlib.sha256,
        "blake2_256_digest": lambda: hashlib.blake2b(digest_size=32),
    }
    found = {}
    for field, factory in factories.items():
        with wheel.open("rb") as file:
            found[field] = hashlib.file_digest(file, factory).hexdigest()
    return found


def send_file(
    method: str, url: str, path: Path, content_type: str, *, head: bytes = b"", tail: bytes = b""
) -> float:
    """Send a file on a new connection; the seconds until the answer is there.

    Raises:
        RuntimeError: the answer is no success.
    """
    parts = urlsplit(url)
    size = len(head) + path.stat().st_size + len(tail)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    request = (
        f"{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {size}\r\nConnection: close\r\n\r\n"
    )
    address = (parts.hostname or "", parts.port or 80)
    begun = time.perf_counter()
    with socket.create_connection(address, timeout=_SECONDS) as sock, path.open("rb") as file:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(request.encode() + head)
        sock.sendfile(file)
        sock.sendall(tail)
        response = http.client.HTTPResponse(sock, method=method)
        response.begin()
        body = response.read()
    elapsed = time.perf_counter() - begun
    if response.status >= 300:
        raise RuntimeError(f"{method} {url}: {response.status} {body[:300]!r}")
    return elapsed
