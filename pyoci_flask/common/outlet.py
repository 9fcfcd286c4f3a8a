"""Sending a body straight to the client's socket, without a bytes object for each chunk.

A server may put an `Outlet` into the WSGI environ. Like the `write` callable of PEP 3333, it sends
bytes of the body before those that the application's iterable yields next. An application that
finds no outlet yields all of its bytes.
"""

from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

OUTLET = "pyoci.outlet"
"""Key of the WSGI environ. The value is an `Outlet`; other servers do not set it."""


class FilePart(NamedTuple):
    """Bytes that lie in an open file of this machine. The file's position does not matter."""

    file: BinaryIO
    offset: int
    length: int


class Outlet(Protocol):
    """The client's end of one response, which has a Content-Length.

    The iterable must yield `b""` before the first call, so that the server sends the headers, and
    after each call, so that a slow client does not keep a thread. A call that fails raises
    `OSError`, which the iterable must not catch.
    """

    sent: int
    """The bytes of the body that were sent in this way."""

    def send(self, data: "ReadableBuffer") -> None:
        """Send all of `data`. The caller may use the buffer again afterwards."""
        ...

    def send_file(self, file: int, offset: int, count: int) -> int:
        """Send up to `count` bytes of a file from `offset` on; return how many, 0 at its end."""
        ...

    def send_pipe(self, pipe: int, count: int) -> None:
        """Send the next `count` bytes of a pipe, which have to be in it already."""
        ...
