"""The server's end of a client's connection: what it holds back, and how long it waits."""

import contextlib
import errno
import fcntl
import select
import socket
import struct
import termios
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyoci_flask.common.overrides import overrides

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LEAST_RATE = 1024.0
"""Bytes a second that a client has to send of a body, or take of an answer."""

_FILL = 64 * 1024
_AHEAD = 256 * 1024
"""Bytes that the kernel takes beyond those on their way, else it takes megabytes of each answer."""
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
_LOOK_AGAIN = 1.0
"""Seconds after which a thread that waits for a body looks whether it has to give up."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ClientStalledError(TimeoutError):
    """The client neither sent nor took a byte for `PYOCI_CLIENT_TIMEOUT` seconds, or too few.

    Its errno is that of a reset connection: gunicorn takes it for a client that went away (a line
    at debug level), not for a fault of the server (a traceback).
    """

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the client stalled")


class Patience:
    """How long to wait for a client: `idle` seconds, less what it is behind the least rate.

    Only the client's time counts, not what the application takes between two pieces. What was
    sent or taken fast does not allow for more than the idle time later.
    """

    def __init__(self, idle: float) -> None:
        self._idle = idle
        self.left = idle
        """Seconds."""
        self.waited = 0.0
        """Seconds in all."""
        self.moved = 0
        """Bytes in all."""

    def spend(self, waited: float, moved: int) -> None:
        """Count the seconds of one wait and the bytes that came of it."""
        self.waited += waited
        self.moved += moved
        self.left = min(self._idle, self.left - waited + moved / LEAST_RATE)

    @property
    def rate(self) -> float:
        """Bytes in each second of waiting so far."""
        return self.moved / max(self.waited, 0.001)


@overrides("setblocking", "recv", "sendall")
class ClientSocket(socket.socket):
    """A client's socket on which blocking means: for at most `idle` seconds without a byte."""

    def __init__(self, connection: socket.socket, idle: float) -> None:
        super().__init__(fileno=connection.detach())
        self._idle = idle
        self.stalled = False
        self.abandoned = False
        """Whether it is sent no more."""
        self.deadline: float | None = None
        """`time.monotonic()` by which the headers must be there; None outside of them."""
        self.receiving: Patience | None = None
        """Of the body that is received; None outside of one."""
        self.sending = Patience(idle)
        """Of the answer that the client takes."""
        self.given_up = False
        """Whether others need the thread that waits for this body."""
        self.held = bytearray()
        """What has been received and is read next."""
        self.unsent: memoryview | None = None
        """What the client has not taken; None = the thread that sends waits for the client."""
        self.grace = 0.0
        """Seconds that a thread waits for the client before it leaves something in `unsent`."""
        self._passed = 0
        self._seen = 0

    def setblocking(self, flag: bool, /) -> None:
        """Make it blocking with an end; gunicorn calls this before it reads a request."""
        self.settimeout(self._idle if flag else 0)

    def fill(self) -> int:
        """Receive into `held` without waiting; return how many bytes came, 0 at the end.

        Raises:
            BlockingIOError: nothing has arrived.
        """
        self.settimeout(0)
        received = super().recv(_FILL)
        self.held += received
        return len(received)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive; while headers are read, `deadline` ends it too, and in a body its patience.

        A time-out for each byte alone would let a client hold a thread with a byte now and then.

        Raises:
            ClientStalledError: nothing came in time.
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
            received = None
            self.settimeout(min(patience.left, _LOOK_AGAIN))
            try:
                received = super().recv(size, flags)
            except TimeoutError:
                continue
            finally:
                patience.spend(time.monotonic() - begun, len(received or b""))
            return received
        raise TimeoutError

    def sendall(self, data: "ReadableBuffer", flags: int = 0, /) -> None:
        """Send all of it, each part within the idle time; or what goes at once, see `unsent`.

        The base class takes the time-out for the whole of `data`, which a client that reads
        slowly but steadily would miss.

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
        """From now on leave what the client does not take at once in `unsent`."""
        self.sending = Patience(self._idle)
        self.grace = 0.0
        self.unsent = memoryview(b"")
        with contextlib.suppress(OSError):  # it is none of TCP
            self.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _AHEAD)

    def flush(self, grace: float = 0.0) -> bool:
        """Send of `unsent` what goes without waiting longer than `grace`; return whether all."""
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

    def note_taken(self, waited: float) -> None:
        """Count what the client has taken, after it was waited for."""
        taken = self._passed - _queued(self)
        self.sending.spend(waited, taken - self._seen)
        self._seen = taken

    def abandon(self) -> None:
        """Count the client as stalled, and forget what it has not taken.

        Otherwise the kernel keeps what it could not send for many minutes more.
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
    """Return how many bytes the kernel keeps that the client has not confirmed; 0 = not known."""
    try:
        found = fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return int(struct.unpack("i", found)[0])
