"""Sends the body of a response to a client without a bytes object for each chunk.

If the bytes have to be looked at, they are received into a buffer that is used again. Otherwise the
kernel moves them from one socket to the other (`splice`), which copies nothing.
"""

import contextlib
import errno
import http.client
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Iterator

import urllib3

from pyoci_flask.common.outlet import FilePart, Outlet

Look = Callable[[memoryview], object]
"""Is called with each piece before it is sent."""

CHUNK = 128 * 1024
"""Bytes per read of a body that takes no shortcut."""

_BUFFER = 256 * 1024
_PIPE = 1024 * 1024
"""Bytes that a pipe should hold. The kernel may grant less."""
_AT_ONCE = 4 * 1024 * 1024
"""Bytes of a file that are sent in one step."""
_SPARE = 8
"""How many unused buffers and pipes are kept."""
_CANNOT = frozenset({errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EMFILE, errno.ENFILE})
"""Errors of a kernel that does not move these bytes, or that gives no pipe."""

_buffers: deque[memoryview] = deque(maxlen=_SPARE)
_pipes: deque[tuple[int, int]] = deque()


class Shortcut:
    """The connection of a response, without the buffers of urllib3 and http.client."""

    def __init__(
        self, raw: urllib3.HTTPResponse, body: http.client.HTTPResponse, sock: socket.socket
    ) -> None:
        self._raw = raw
        self._body = body
        self._sock = sock
        self._moves = hasattr(os, "splice") and type(sock) is socket.socket

    @classmethod
    def of(cls, raw: urllib3.HTTPResponse) -> "Shortcut | None":
        """Return the shortcut for the rest of a body, or None if its length is not known."""
        body, sock = getattr(raw, "_fp", None), getattr(raw.connection, "sock", None)
        if not isinstance(body, http.client.HTTPResponse) or not isinstance(sock, socket.socket):
            return None
        # Each of the two counts what is left. If they do not agree, this is another version.
        if not raw.length_remaining or getattr(body, "length", None) != raw.length_remaining:
            return None
        return cls(raw, body, sock)

    def first(self) -> bytes:
        """Return the bytes that are in the buffer of http.client, or what arrives next."""
        return self._raw.read1(CHUNK, decode_content=False)

    def step(self, most: int, outlet: Outlet, look: Look | None) -> int:
        """Send up to `most` bytes, but not the last one; return how many, 0 if there are no more.

        At the end of the body, urllib3 has to return the connection to its pool.

        Raises:
            SourceError: the registry broke off, or it stalled.
        """
        most = min(most, (self._raw.length_remaining or 1) - 1)
        if most <= 0:
            return 0
        moved = self._move(most, outlet) if look is None and self._moves else None
        if moved is None:
            moved = self._copy(most, outlet, look)
        if self._raw.length_remaining is not None:
            self._raw.length_remaining -= moved
        self._body.length = self._raw.length_remaining
        return moved

    def _copy(self, most: int, outlet: Outlet, look: Look | None) -> int:
        with lent_buffer() as buffer:
            with _from_the_source():
                size = self._sock.recv_into(buffer, min(most, len(buffer)))
            piece = buffer[:size]
            if look is not None:
                look(piece)
            outlet.send(piece)
        return size

    def _move(self, most: int, outlet: Outlet) -> int | None:
        """Move bytes through a pipe. Return None if the kernel cannot do this."""
        try:
            source, pipe = _pipes.pop() if _pipes else _new_pipe()
        except OSError:
            self._moves = False
            return None
        kept = False
        try:
            with _from_the_source():
                size = self._fill(pipe, most)
            if size:
                outlet.send_pipe(source, size)
            kept = len(_pipes) < _SPARE
        except SourceError as error:
            if error.cause.errno not in _CANNOT:
                raise
            self._moves = False
            return None
        finally:
            if kept:
                _pipes.append((source, pipe))
            else:
                os.close(source)
                os.close(pipe)
        return size

    def _fill(self, pipe: int, most: int) -> int:
        while True:
            try:
                return os.splice(self._sock.fileno(), pipe, most, flags=os.SPLICE_F_NONBLOCK)
            except BlockingIOError:
                seconds = self._sock.gettimeout()
                waiting = select.poll()
                waiting.register(self._sock, select.POLLIN)
                if not waiting.poll(None if seconds is None else seconds * 1000):
                    raise TimeoutError("timed out") from None


class FileShortcut:
    """The same for a body that lies in a file of this machine."""

    def __init__(self, part: FilePart, taken: int = 0) -> None:
        self._part = part
        self._taken = taken

    def first(self) -> bytes:
        """Return the next bytes, or nothing at the end."""
        part = self._part
        count = min(CHUNK, part.length - self._taken)
        with _from_the_source():
            found = os.pread(part.file.fileno(), count, part.offset + self._taken)
        self._taken += len(found)
        return found

    def step(self, most: int, outlet: Outlet, look: Look | None) -> int:
        """Send up to `most` bytes; return how many, 0 if there are no more."""
        file, offset = self._part.file.fileno(), self._part.offset + self._taken
        most = min(most, self._part.length - self._taken)
        if look is None:
            sent = outlet.send_file(file, offset, min(most, _AT_ONCE))
        else:
            with lent_buffer() as buffer:
                with _from_the_source():
                    sent = os.preadv(file, [buffer[:most]], offset)
                look(buffer[:sent])
                outlet.send(buffer[:sent])
        self._taken += sent
        return sent


class SourceError(Exception):
    """The registry's end of the connection failed, not the client's."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@contextlib.contextmanager
def _from_the_source() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(error) from error


@contextlib.contextmanager
def lent_buffer() -> Iterator[memoryview]:
    """Lend a buffer for the block."""
    try:
        buffer = _buffers.pop()
    except IndexError:
        buffer = memoryview(bytearray(_BUFFER))
    yield buffer
    _buffers.append(buffer)


def _new_pipe() -> tuple[int, int]:
    source, pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
    return source, pipe
