"""Sending a body straight to the client's socket, without a bytes object for each chunk.

A server may put an `Outlet` into the WSGI environ. It does the same as the `write` callable of
PEP 3333: the application calls it from within the iterable that it returned, and what the iterable
yields afterwards is sent afterwards. An application that finds none yields its bytes as usual.
"""

import socket
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

OUTLET = "pyoci.outlet"
"""Key of the WSGI environ. The value is an `Outlet`; other servers do not set it."""


class FilePart(NamedTuple):
    """Bytes that lie in an open file of this machine. Its position may be anywhere."""

    file: BinaryIO
    offset: int
    length: int


class Outlet(Protocol):
    """The client's end of one response, after its headers were sent.

    The iterable must first yield `b""`, so that the server sends the headers. It must yield `b""`
    after each call, so that the server can let a slow client wait without a thread. A call that
    fails raises `OSError`; the iterable must not catch it.
    """

    sent: int
    """The bytes of the body that were sent in this way. They count as bytes of the response."""

    def send(self, data: "ReadableBuffer") -> None:
        """Send all of `data`. The caller may then use the buffer again."""
        ...

    def send_file(self, file: int, offset: int, count: int) -> int:
        """Send up to `count` bytes of a file from `offset` on; return how many, 0 at its end."""
        ...

    def splice(self, source: socket.socket, count: int) -> int:
        """Move up to `count` bytes from a socket to the client; return how many, 0 at its end.

        Raises:
            BlockingIOError: nothing has arrived from `source`.
        """
        ...
