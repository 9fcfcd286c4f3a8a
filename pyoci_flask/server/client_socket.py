"""The server's end of a client's connection: its buffers, and how long it waits."""

import contextlib
import errno
import fcntl
import select
import socket
import struct
import termios
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pyoci_flask.common.overrides import overrides

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LEAST_RATE = 1024.0
"""Minimum bytes per second that a client must send of a body, or receive of a response."""

_FILL = 64 * 1024
_AHEAD = 256 * 1024
"""Unsent bytes that the kernel buffers; by default, it buffers megabytes of each response."""
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
_LOOK_AGAIN = 1.0
"""Seconds after which a thread that waits for a body checks whether it has to give up."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ClientStalledError(TimeoutError):
    """The client sent or received no bytes for `PYOCI_CLIENT_TIMEOUT` seconds, or too few.

    Its errno is that of a reset connection, so that gunicorn logs a disconnected client (a line at
    debug level) and not an error of the server (a traceback).
    """

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the client stalled")


class Patience:
    """How long to wait for a client: `idle` seconds, less while it is slower than `LEAST_RATE`.

    Only the time that the client needs counts, not the time that the application needs between two
    pieces. A client that was fast earlier still gets no more than `idle` seconds.
    """

    def __init__(self, idle: float) -> None:
        self._idle = idle
        self.left = idle
        """Seconds that remain."""
        self.waited = 0.0
        """Seconds of waiting in total."""
        self.moved = 0
        """Bytes that were sent or received in total."""

    def spend(self, waited: float, moved: int) -> None:
        """Count the seconds of one wait, and the bytes that moved."""
        self.waited += waited
        self.moved += moved
        self.left = min(self._idle, self.left - waited + moved / LEAST_RATE)

    @property
    def rate(self) -> float:
        """Bytes per second of waiting so far."""
        return self.moved / max(self.waited, 0.001)


@overrides("setblocking", "recv", "sendall")
class ClientSocket(socket.socket):
    """A client's socket that blocks for at most `idle` seconds without a byte."""

    def __init__(self, connection: socket.socket, idle: float) -> None:
        super().__init__(fileno=connection.detach())
        self._idle = idle
        self.stalled = False
        self.abandoned = False
        """Whether the server no longer sends anything to the client."""
        self.deadline: float | None = None
        """`time.monotonic()` by which the headers must be complete; None outside of headers."""
        self.receiving: Patience | None = None
        """For the body being received; None outside of a body."""
        self.sending = Patience(idle)
        """For the response being sent."""
        self.given_up = False
        """Whether another request needs the thread that waits for this body."""
        self.held = bytearray()
        """Bytes that have been received but not yet read."""
        self.unsent: memoryview | None = None
        """Bytes the client has not taken yet; if None, the sending thread waits for the client."""
        self.grace = 0.0
        """Seconds that a thread waits for the client before it leaves bytes in `unsent`."""
        self._passed = 0
        self._seen = 0

    def setblocking(self, flag: bool, /) -> None:
        """Set the time-out that replaces blocking; gunicorn calls this before it reads."""
        self.settimeout(self._idle if flag else 0)

    def fill(self) -> int:
        """Receive into `held` without waiting; return the number of bytes, 0 at the end.

        Raises:
            BlockingIOError: nothing has arrived.
        """
        self.settimeout(0)
        received = super().recv(_FILL)
        self.held += received
        return len(received)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive bytes: of headers until `deadline`, of a body as long as `receiving` allows.

        With only a time-out for each read, a client that sends a byte now and then would keep a
        thread forever.

        Raises:
            ClientStalledError: nothing arrived in time.
        """
        if self.held:
            taken = bytes(self.held[:size])
            del self.held[:size]
            return taken
        with self._noticing_a_stall():
            if self.deadline is not None:
                remaining = self.deadline - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError
                self.settimeout(remaining)
            if self.receiving is not None:
                return self._receive_body(size, flags, self.receiving)
            return super().recv(size, flags)

    def _receive_body(self, size: int, flags: int, patience: Patience) -> bytes:
        while patience.left > 0 and not self.given_up:
            begun = time.monotonic()
            received = b""
            self.settimeout(min(patience.left, _LOOK_AGAIN))
            try:
                received = super().recv(size, flags)
            except TimeoutError:
                continue
            finally:
                patience.spend(time.monotonic() - begun, len(received))
            return received
        raise TimeoutError

    def sendall(self, data: "ReadableBuffer", flags: int = 0, /) -> None:
        """Send all of `data`, each part within the idle time, or only what fits now (see `unsent`).

        In the base class, the time-out applies to the whole of `data`, which is too short for a
        client that reads slowly but steadily.

        Raises:
            ClientStalledError: the client took nothing in time.
        """
        view = memoryview(data).cast("B")
        if self.unsent is not None:
            self.unsent = memoryview(bytes(self.unsent) + view) if self.unsent else view
            self.flush(self.grace)
            return
        with self._noticing_a_stall():
            while view:
                try:
                    view = view[self.send(view, flags) :]
                except TimeoutError:
                    self.abandon()
                    raise

    def begin_answer(self) -> None:
        """From now on, keep in `unsent` what the client does not take immediately."""
        self.sending = Patience(self._idle)
        self.grace = 0.0
        self.unsent = memoryview(b"")
        with contextlib.suppress(OSError):  # not a TCP socket
            self.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _AHEAD)

    def flush(self, grace: float = 0.0) -> bool:
        """Send what fits of `unsent`, waiting at most `grace`; return whether all was sent."""
        self.settimeout(0)
        while self.unsent:
            try:
                sent = self.send(self.unsent)
            except BlockingIOError:
                if not grace or not _is_writable(self, grace):
                    return False
            else:
                self._passed += sent
                self.unsent = self.unsent[sent:]
        return True

    def send_by(self, send: Callable[[int], int]) -> int | None:
        """Call `send` with the file descriptor; return its result, the number of bytes sent.

        Return None if the client takes nothing now: it must take `unsent` first, or took nothing
        within `grace`.
        """
        if self.unsent:
            return None
        self.settimeout(0)
        while True:
            try:
                sent = send(self.fileno())
            except BlockingIOError:
                if not self.grace or not _is_writable(self, self.grace):
                    return None
            else:
                self._passed += sent
                return sent

    def keep(self, data: bytes) -> None:
        """Add `data` to what the client has to take."""
        self.unsent = memoryview(bytes(self.unsent or b"") + data)

    def note_taken(self, waited: float) -> None:
        """Count what the client has taken during a wait."""
        taken = self._passed - _queued(self)
        self.sending.spend(waited, taken - self._seen)
        self._seen = taken

    def abandon(self) -> None:
        """Mark the client as stalled, and discard what it has not taken.

        Otherwise the kernel would keep the unsent bytes for many more minutes.
        """
        self.stalled = self.abandoned = True
        if self.unsent is not None:
            self.unsent = memoryview(b"")
        with contextlib.suppress(OSError):
            self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    @contextlib.contextmanager
    def _noticing_a_stall(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            self.stalled = True
            raise ClientStalledError from error


def _is_writable(sock: socket.socket, seconds: float) -> bool:
    waiting = select.poll()
    waiting.register(sock, select.POLLOUT)
    return bool(waiting.poll(seconds * 1000))


def _queued(sock: socket.socket) -> int:
    """Return how many sent bytes the client has not acknowledged, or 0 if this is not known."""
    try:
        found = fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return int(struct.unpack("i", found)[0])
