"""A gunicorn worker that gives up on clients who stop sending or reading.

gunicorn's threaded worker makes the socket of every connection blocking without an end, so that a
client which stalls in its headers, in its body or in reading the answer keeps a thread for good;
as many such clients as there are threads stop the server.
"""

import contextlib
import errno
import ipaddress
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gunicorn.errors import AppImportError  # type: ignore[import-untyped]
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.overrides import overrides
from pyoci_flask.settings import Settings
from pyoci_flask.threads import FrugalExecutor

if TYPE_CHECKING:
    from concurrent.futures import Future

    from _typeshed import ReadableBuffer

# What is left of a refused upload is read and thrown away for so many seconds: closing at once
# would reset the connection, and the client then reports that instead of the answer it was sent.
_LINGER_TOTAL = 30.0
_LINGER_IDLE = 2.0

_BODY_RATE = 1024.0
"""Bytes a second that a request's body has to bring, lest it hold a thread for ever."""

_NO_FILES_PAUSE = 0.2
"""Seconds; some connection ends, or is given up, within few of them."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ClientStalledError(TimeoutError):
    """The client neither sent nor took a byte for `PYOCI_CLIENT_TIMEOUT` seconds, or too few.

    Its errno is that of a reset connection: gunicorn takes it for a client that went away (a line
    at debug level), not for a fault of the server (a traceback).
    """

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the client stalled")


@overrides("setblocking", "recv", "sendall")
class ClientSocket(socket.socket):
    """A client's socket on which blocking means: for at most `idle` seconds without a byte."""

    def __init__(self, connection: socket.socket, idle: float) -> None:
        super().__init__(fileno=connection.detach())
        self._idle = idle
        self.stalled = False
        self.deadline: float | None = None
        """`time.monotonic()` by which the headers must be there; None outside of them."""
        self.patience: float | None = None
        """Seconds that are left to wait for more of a body; None outside of one."""

    def setblocking(self, flag: bool, /) -> None:
        """Make it blocking with an end; gunicorn calls this before it reads a request."""
        self.settimeout(self._idle if flag else 0)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive; while headers are read, `deadline` ends it too, and in a body `patience`.

        A time-out for each byte alone would let a client hold a thread with a byte now and then.

        Raises:
            ClientStalledError: nothing came in time.
        """
        with self._noticing_a_stall():
            if self.deadline is not None:
                remaining = self.deadline - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError
                self.settimeout(remaining)
            if self.patience is not None:
                return self._receive_body(size, flags, self.patience)
            return super().recv(size, flags)

    def _receive_body(self, size: int, flags: int, patience: float) -> bytes:
        """Receive; waiting uses patience up, and what comes gives some of it back.

        Only the client's time counts, not what the application takes between two pieces. What
        was sent fast does not allow for more than the idle time later.
        """
        if patience <= 0:
            raise TimeoutError
        hurried = patience < self._idle
        if hurried:
            self.settimeout(patience)
        begun = time.monotonic()
        try:
            received = super().recv(size, flags)
        finally:
            self.patience = patience - (time.monotonic() - begun)
            if hurried:
                self.settimeout(self._idle)
        self.patience = min(self._idle, self.patience + len(received) / _BODY_RATE)
        return received

    def sendall(self, data: "ReadableBuffer", flags: int = 0, /) -> None:
        """Send all of it, each part within the idle time.

        The base class takes the time-out for the whole of `data`, which a client that reads
        slowly but steadily would miss.

        Raises:
            ClientStalledError: the client took nothing in time.
        """
        with self._noticing_a_stall(), memoryview(data).cast("B") as view:
            sent = 0
            while sent < len(view):
                try:
                    sent += self.send(view[sent:], flags)
                except TimeoutError:
                    # Otherwise the kernel keeps what it could not send for many minutes more.
                    self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                    raise

    @contextlib.contextmanager
    def _noticing_a_stall(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            self.stalled = True
            raise ClientStalledError from error


@overrides("wait_for_data", "close")
class ClientConnection(TConn):  # type: ignore[misc] # gunicorn has no types
    """A connection on which nothing waits in the worker's main loop, nor in a thread for ever."""

    sock: socket.socket
    data_ready: bool
    deferrable = True
    """Whether the main loop still takes connections on which to wait for the first bytes."""

    def wait_for_data(self, timeout: float) -> bool:
        """Whether the first bytes are there: if not, the main loop waits for them.

        gunicorn first waits in a thread, five seconds for every client that connects and is silent.
        """
        if not self.data_ready:
            # gunicorn's selector takes a file of its own, which there may be no more of.
            waiting = select.poll()
            try:
                waiting.register(self.sock, select.POLLIN)
                self.data_ready = bool(waiting.poll(0 if self.deferrable else timeout * 1000))
            except (OSError, ValueError):
                return False  # it was closed
        return self.data_ready

    def begin_headers(self, seconds: float) -> None:
        """From now on the headers of a request must arrive within `seconds`."""
        if isinstance(self.sock, ClientSocket):
            self.sock.deadline = time.monotonic() + seconds
            self.sock.patience = None

    def begin_body(self, idle: float) -> None:
        """From now on a body is read: at no time more than `idle` seconds behind its least rate."""
        self.end_headers(idle)
        if isinstance(self.sock, ClientSocket):
            self.sock.patience = idle

    def end_headers(self, idle: float) -> None:
        """From now on each read or write has `idle` seconds."""
        if isinstance(self.sock, ClientSocket):
            self.sock.deadline = self.sock.patience = None
        # By now the socket may be one of TLS that gunicorn made blocking without an end.
        self.sock.settimeout(idle)

    def linger_and_close(self) -> None:
        """Close in a way that lets the client read its answer, RFC 9112 section 9.6.

        gunicorn does this in the main loop, where each client that does not hang up stops the
        whole worker for two seconds, and it reads 64 KiB at most.
        """
        if self.sock.fileno() == -1:
            return  # gunicorn has broken off an answer that failed half-way
        self.end_headers(_LINGER_IDLE)
        # One that stalled has sent nothing that could reset the connection.
        if not getattr(self.sock, "stalled", False):
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)
                deadline = time.monotonic() + _LINGER_TOTAL
                while self.sock.recv(1 << 16) and time.monotonic() < deadline:
                    pass
        self.close()

    def close(self, graceful: bool = False) -> None:  # noqa: ARG002 -- gunicorn's signature
        """Close at once, and once: where waiting is due, `linger_and_close` has done it.

        gunicorn's own fails on a socket that is closed already and then counts the connection
        twice, so that a stopping worker believes that no transfer is left and cuts them off.
        """
        if self.sock.fileno() != -1:
            super().close()


@overrides(
    "get_thread_pool",
    "init_signals",
    "handle_quit",
    "load_wsgi",
    "accept",
    "handle",
    "handle_request",
    "finish_request",
    "_cap_keepalive",
)
class ClientTimeoutThreadWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """gunicorn's threaded worker with `PYOCI_CLIENT_TIMEOUT` on its clients' sockets.

    A read of `wsgi.input` that runs into it raises `TimeoutError` in the application.
    """

    def __init__(self, *args: Any) -> None:  # noqa: ANN401 - gunicorn's own
        settings = Settings.from_env(os.environ)
        try:
            super().__init__(*args)
        except (OSError, RuntimeError) as error:
            # This is gunicorn's master, and it would end over a heartbeat file.
            *_, cfg, log = args
            log.warning("no heartbeat file in %s (%s)", cfg.worker_tmp_dir, error)
            cfg.set("worker_tmp_dir", str(settings.spool))
            super().__init__(*args)
        self._idle = float(settings.client_timeout)

    def get_thread_pool(self) -> FrugalExecutor:
        """Make the pool that serves requests."""
        return FrugalExecutor(self.cfg.threads)

    def init_signals(self) -> None:
        """Leave to the master what is only for it: here, reloading would end all transfers."""
        super().init_signals()
        for one in (signal.SIGHUP, signal.SIGUSR2):
            signal.signal(one, signal.SIG_IGN)

    def handle_quit(self, sig: int, frame: object) -> None:
        """End at once (SIGINT, SIGQUIT); the threads are joined as the interpreter exits.

        gunicorn shuts the thread pool down in the signal's handler. That needs locks which the
        interrupted code, in this thread, may hold: the worker would hang.
        """
        super(ThreadWorker, self).handle_quit(sig, frame)

    def load_wsgi(self) -> None:
        """Load the application; a setting that it cannot work with is one line and ends gunicorn.

        Any other exception would do so with a traceback; `SystemExit` would start the worker anew
        for ever.
        """
        try:
            super().load_wsgi()
        except ConfigurationError as error:
            raise AppImportError(f"Error: {error}") from error

    def accept(self, listener: socket.socket) -> None:
        """Take a connection: as the base class does it, with the classes of this module."""
        try:
            connection, client = listener.accept()
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                # Raised, it would end the worker and every transfer. The client waits in the
                # listener's queue, which is readable all the time: not to ask at once again.
                self.log.warning("no connection can be accepted: %s", error.strerror)
                time.sleep(_NO_FILES_PAUSE)
            elif error.errno not in {errno.EAGAIN, errno.ECONNABORTED}:
                raise
            return
        self.nr_conns += 1
        sock = ClientSocket(connection, self._idle)
        self.enqueue_req(ClientConnection(self.cfg, sock, unmapped(client), listener.getsockname()))

    def handle(self, conn: ClientConnection) -> object:
        """Serve one request, in a thread of the pool."""
        conn.deferrable = self.alive
        conn.begin_headers(self._idle)
        kept: object = super().handle(conn)
        if not kept:
            conn.linger_and_close()
        return kept

    def handle_request(self, req: object, conn: ClientConnection) -> object:
        """Answer a request whose headers have been read."""
        conn.begin_body(self._idle)
        return super().handle_request(req, conn)

    def finish_request(self, conn: ClientConnection, fs: "Future[object]") -> None:
        """Take a connection back from a thread; one that is silent has the idle time, too."""
        super().finish_request(conn, fs)
        if self.pending_conns and self.pending_conns[-1] is conn:
            conn.timeout = time.monotonic() + min(self.cfg.keepalive, self._idle)

    def _cap_keepalive(self, deadline: float) -> None:
        """Stopping: wait neither for clients that have sent nothing yet nor with new ones.

        gunicorn closes its listeners after the last transfer. Until then the kernel would take
        connections that nobody answers, and no proxy would try another server.
        """
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)
        for listener in self.sockets:
            listener.close()


def unmapped(client: object) -> object:
    """The address of a client as IPv4, if it came over IPv4 to an IPv6 socket.

    Under `::ffff:127.0.0.1` a proxy on this host would not be one whose forwarded headers gunicorn
    trusts, and the access log would name no client as the client names itself.
    """
    if isinstance(client, tuple):
        with contextlib.suppress(ValueError):
            mapped = getattr(ipaddress.ip_address(client[0]), "ipv4_mapped", None)
            if mapped is not None:
                return (str(mapped), client[1])
    return client
