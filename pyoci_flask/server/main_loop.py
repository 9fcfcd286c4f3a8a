"""What a worker's main loop does with connections, and which pool serves a request.

gunicorn's threaded worker gives each connection a thread from the first byte of the request to the
last byte of the response, so that as many slow clients as there are threads stop the server. Here,
the main loop waits for headers, and until more of a response can be sent. Request bodies and long
responses have thread pools of their own.
"""

# The worker creates each TConn as a ClientConnection, so its methods may require that type.
# pyright: reportIncompatibleMethodOverride=false

import selectors
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from gunicorn.workers.gthread import (
    STOP_KEEPALIVE_LINGER,  # pyright: ignore[reportAttributeAccessIssue] # new in gunicorn 27
)

from pyoci_flask.common.overrides import overrides
from pyoci_flask.common.threads import FrugalExecutor
from pyoci_flask.oci.shares import Share
from pyoci_flask.server.answering import AnsweringWorker
from pyoci_flask.server.connection import (
    LINGER_BYTES,
    LINGER_IDLE,
    LINGER_TOTAL,
    Answer,
    ClientConnection,
    Postponed,
)
from pyoci_flask.server.queues import Incoming, Turns, Waiting
from pyoci_flask.web.gate import STREAMS

LOOK_EVERY = 0.25
"""Seconds between two checks for connections that have waited too long."""
_WAITING = 0.1
"""Seconds after which the thread of a request is assumed to wait for its registry."""
_MOST_HEADERS = 16 * 1024 * 1024
"""Bytes of unfinished headers that a worker keeps."""


@overrides("get_thread_pool", "run", "on_client_socket_readable", "enqueue_req", "finish_request")
class ConnectionsWorker(AnsweringWorker):
    """The path of a connection: headers, a thread, the response, the next request or the end."""

    _postponed: dict[Share, list[tuple[Postponed, ClientConnection]]]
    _header_bytes: int
    """Bytes of unfinished headers."""

    def get_thread_pool(self) -> FrugalExecutor:
        """Return the pool for requests; make those for bodies, long responses and probes."""
        threads = self.cfg.threads
        half = max(1, threads // 2)
        self._receivers = FrugalExecutor(half, thread_name_prefix="receive")
        self._senders = FrugalExecutor(half, thread_name_prefix="send")
        self._probes = FrugalExecutor(1, thread_name_prefix="probe")
        self._incoming = Incoming(self.log)
        self._outgoing = Turns(half, max(1, half // 8), LOOK_EVERY)
        # The gate lets all but one of `threads` wait for registries; the additional threads do not
        # wait.
        most = threads + max(2, threads // 8)
        self._requests = Turns(most, max(2, threads // 4), _WAITING)
        return FrugalExecutor(most, thread_name_prefix="serve")

    def run(self) -> None:
        """Serve until the worker is stopped."""
        self._headers = Waiting(self.poller, selectors.EVENT_READ, self._on_headers)
        self._answers = Waiting(self.poller, selectors.EVENT_WRITE, self._on_writable)
        self._lingering = Waiting(self.poller, selectors.EVENT_READ, self._on_lingering)
        pools = (self._receivers, self._senders, self._probes)
        for pool in (self.tpool, *pools):
            pool.submit(int)  # start a thread in each while the system still grants threads
        super().run()
        for pool in pools:
            pool.shutdown(wait=False)

    def _on_headers(self, conn: ClientConnection) -> None:
        """Receive more of a request's headers; start a thread when they are complete."""
        before = len(conn.peer.held)
        try:
            ready = conn.gather()
        except OSError:
            self._drop_waiting(self._headers, conn)
            return
        self._header_bytes += len(conn.peer.held) - before
        if ready:
            self._leave_headers(conn)
            self.enqueue_req(conn)
        elif not before:
            self._headers.postpone(conn, self._patience())
        while self._header_bytes > _MOST_HEADERS:
            self._drop_waiting(self._headers, next(iter(self._headers)))

    def _patience(self) -> float:
        """Return the time by which headers that begin now must be complete."""
        return time.monotonic() + (self._idle if self.alive else STOP_KEEPALIVE_LINGER)

    def _leave_headers(self, conn: ClientConnection) -> None:
        self._headers.remove(conn)
        self._header_bytes -= len(conn.peer.held)

    def on_client_socket_readable(self, conn: ClientConnection, client: socket.socket) -> None:
        """Receive the next request of a connection that was kept open."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._headers.add(conn, self._patience())
        self._on_headers(conn)

    def enqueue_req(self, conn: ClientConnection) -> None:
        """Let a thread serve a request whose headers have arrived."""
        if conn.has_body():
            self._incoming.add(conn, self._submit(self._receivers, self.handle, conn))
        elif conn.is_probe():
            self._submit(self._probes, self.handle, conn)
        else:
            self._requests.add(conn, partial(self._submit, self.tpool, self.handle, conn))

    def _submit(
        self,
        pool: ThreadPoolExecutor,
        function: Callable[[ClientConnection], object],
        conn: ClientConnection,
    ) -> "Future[object]":
        conn.in_thread = False
        conn.since = time.monotonic()
        future: Future[object] = pool.submit(function, conn)
        future.add_done_callback(partial(self.method_queue.defer, self.finish_request, conn))
        return future

    def finish_request(self, conn: ClientConnection, fs: "Future[object]") -> None:
        """Take a connection back from a thread, and start its next step."""
        self._incoming.remove(conn)
        self._outgoing.remove(conn)
        self._requests.remove(conn)
        try:
            conn.is_kept = not fs.cancelled() and bool(fs.result())
        except BaseException:  # noqa: BLE001 -- as in gunicorn: any error ends the connection
            conn.answer = None
            conn.is_kept = False
        if conn.postponed is not None:
            waiting = self._postponed.setdefault(conn.postponed.share, [])
            waiting.append((conn.postponed, conn))
            conn.postponed = None
        elif conn.sock.fileno() == -1:
            self._drop(conn)
        elif conn.waits_for_client:
            self._answers.add(conn, time.monotonic() + conn.peer.sending.left)
        elif conn.answer is not None:
            self._continue(conn, conn.answer)
        else:
            self._end_exchange(conn)

    def _continue(self, conn: ClientConnection, answer: Answer) -> None:
        """Let a thread send more of a response when it is the response's turn."""
        begin = partial(self._submit, self._senders, self._go_on, conn)
        self._outgoing.add(conn, begin, answer.environ.get(STREAMS))

    def _on_writable(self, conn: ClientConnection) -> None:
        """Send more of a response; when the client has taken all, let a thread produce more."""
        conn.peer.note_taken(time.monotonic() - conn.since)
        try:
            if not conn.peer.flush():
                self._answers.postpone(conn, time.monotonic() + conn.peer.sending.left)
                return
        except OSError:
            self._give_up(conn)
            return
        self._answers.remove(conn)
        if conn.answer is not None:
            self._continue(conn, conn.answer)
        else:
            self._end_exchange(conn)

    def _give_up(self, conn: ClientConnection) -> None:
        """Stop sending a response."""
        self._answers.remove(conn)
        conn.peer.abandon()
        if conn.answer is not None:
            self._submit(self._senders, self._go_on, conn)
        else:
            self._drop(conn)

    def _end_exchange(self, conn: ClientConnection) -> None:
        """Wait for the next request, or close."""
        if not conn.is_kept:
            self._linger(conn)
        elif conn.take_back():
            # The next request, or a part of it, has already arrived.
            if conn.is_ready():
                self.enqueue_req(conn)
            else:
                self._header_bytes += len(conn.peer.held)
                self._headers.add(conn, self._patience())
        else:
            conn.sock.setblocking(False)
            conn.set_timeout()
            conn.since = time.monotonic()
            if not self.alive:
                conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
            self.keepalived_conns.append(conn)
            readable = partial(self.on_client_socket_readable, conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, readable)

    def _linger(self, conn: ClientConnection) -> None:
        """Close in stages, so that the client can read its response (RFC 9112, 9.6)."""
        if self.cfg.is_ssl or conn.peer.abandoned:
            self._drop(conn)
            return
        conn.timeout = time.monotonic() + LINGER_TOTAL
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(conn)
        else:
            self._lingering.add(conn, time.monotonic() + LINGER_IDLE)

    def _on_lingering(self, conn: ClientConnection) -> None:
        try:
            conn.peer.held.clear()
            more = conn.peer.fill()
        except BlockingIOError:
            return
        except OSError:
            more = 0
        conn.lingered += more
        if more and conn.lingered <= LINGER_BYTES:
            self._lingering.postpone(conn, min(time.monotonic() + LINGER_IDLE, conn.timeout))
        else:
            self._drop_waiting(self._lingering, conn)

    def _drop_waiting(self, place: Waiting, conn: ClientConnection) -> None:
        if place is self._headers:
            self._leave_headers(conn)
        else:
            place.remove(conn)
        self._drop(conn)

    def _drop(self, conn: ClientConnection) -> None:
        self.nr_conns -= 1
        conn.close()
