"""Lets an application send to its client without a bytes object for each chunk."""

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from pyoci_flask.server.client_socket import ClientSocket

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_BLOCK = 64 * 1024
"""Bytes of a file that are read into memory if the client takes none at the moment."""


class ClientOutlet:
    """An `Outlet` (see `common/outlet.py`). The client's socket keeps what the client leaves."""

    def __init__(self, peer: ClientSocket, response: Any) -> None:  # noqa: ANN401 - gunicorn's own
        self.sent = 0
        self._peer = peer
        self._response = response

    def send(self, data: "ReadableBuffer") -> None:
        """Send all of `data`."""
        view = memoryview(data).cast("B")
        self._check(len(view))
        self._peer.sendall(view)
        if self._peer.unsent:
            # The application uses its buffer again.
            self._peer.unsent = memoryview(bytes(self._peer.unsent))
        self._add(len(view))

    def send_file(self, file: int, offset: int, count: int) -> int:
        """Send up to `count` bytes of a file from `offset` on; return how many, 0 at its end."""
        self._check(count)
        sent = self._peer.send_by(lambda to: os.sendfile(to, file, offset, count))
        if sent is None:
            block = os.pread(file, min(count, _BLOCK), offset)
            self._peer.keep(block)
            sent = len(block)
        self._add(sent)
        return sent

    def send_pipe(self, pipe: int, count: int) -> None:
        """Send the next `count` bytes of a pipe, which have to be in it already."""
        self._check(count)
        left = count
        while left:
            sent = self._peer.send_by(partial(_splice, pipe, left))
            if sent is None:
                self._peer.keep(_read(pipe, left))
                break
            left -= sent
        self._add(count)

    def _check(self, size: int) -> None:
        response = self._response
        whole = response.response_length
        if not response.headers_sent or whole is None or response.sent + size > whole:
            raise ValueError("the response has no headers yet, or not this Content-Length")

    def _add(self, size: int) -> None:
        self._response.sent += size
        self.sent += size


def _splice(pipe: int, count: int, to: int) -> int:
    return os.splice(pipe, to, count, flags=os.SPLICE_F_NONBLOCK)


def _read(pipe: int, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        parts.append(os.read(pipe, count))
        count -= len(parts[-1])
    return b"".join(parts)
