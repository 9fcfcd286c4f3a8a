"""A gunicorn worker whose threads wait for clients no longer than they have to.

gunicorn's threaded worker gives a thread to each connection that has sent its first byte, until its
answer is taken: as many slow clients as there are threads stop the server. Here the main loop
waits for the headers of a request and for the room for more of an answer. Bodies that are received
have threads of their own, and so have answers that go on for longer.
"""

import errno
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from gunicorn.errors import AppImportError  # type: ignore[import-untyped]
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker  # type: ignore[import-untyped]

from pyoci_flask.common.overrides import overrides
from pyoci_flask.common.threads import FrugalExecutor
from pyoci_flask.errors import ConfigurationError
from pyoci_flask.oci.shares import Share
from pyoci_flask.server.answering import AnsweringWorker
from pyoci_flask.server.client_socket import ClientSocket, ClientStalledError
from pyoci_flask.server.connection import (
    LINGER_BYTES,
    LINGER_IDLE,
    LINGER_TOTAL,
    Answer,
    ClientConnection,
    Postponed,
    unmapped,
)
from pyoci_flask.server.queues import Incoming, Turns, Waiting
from pyoci_flask.settings import Settings
from pyoci_flask.web.gate import STREAMS

__all__ = [
    "ClientConnection",
    "ClientSocket",
    "ClientStalledError",
    "ClientTimeoutThreadWorker",
    "unmapped",
]

_NO_FILES_PAUSE = 0.2
"""Seconds; some connection ends, or is given up, within few of them."""
_LOOK_EVERY = 0.25
"""Seconds between two looks at who has waited for too long."""
_RETRY_EVERY = 0.05
_WAITING = 0.1
"""Seconds after which the thread of a request is taken to wait for its registry."""
_NEW = 2.0
"""Seconds for which no connection has to make place for another."""
_MOST_HEADERS = 16 * 1024 * 1024
"""Bytes of unfinished headers that a worker keeps."""


@overrides(
    "get_thread_pool",
    "init_signals",
    "handle_quit",
    "load_wsgi",
    "run",
    "accept",
    "on_client_socket_readable",
    "enqueue_req",
    "finish_request",
    "wait_for_and_dispatch_events",
    "murder_pending",
    "_cap_keepalive",
)
class ClientTimeoutThreadWorker(AnsweringWorker):
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
        self._most_answers = 4 * self.cfg.threads
        self._postponed: dict[Share, list[tuple[Postponed, ClientConnection]]] = {}
        self._header_bytes = 0
        self._next_look = self._next_retry = self._next_turn = 0.0

    def get_thread_pool(self) -> FrugalExecutor:
        """Make the pools: one serves requests, two are for bodies in and out."""
        threads = self.cfg.threads
        half = max(1, threads // 2)
        self._receivers = FrugalExecutor(half, thread_name_prefix="receive")
        self._senders = FrugalExecutor(half, thread_name_prefix="send")
        self._probes = FrugalExecutor(1, thread_name_prefix="probe")
        self._incoming = Incoming(self.log)
        self._outgoing = Turns(half, max(1, half // 8), _LOOK_EVERY)
        # The registries' gate lets all but one of `threads` wait; these more never have to.
        most = threads + max(2, threads // 8)
        self._requests = Turns(most, max(2, threads // 4), _WAITING)
        return FrugalExecutor(most, thread_name_prefix="serve")

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

    def run(self) -> None:
        """Serve until the worker is stopped."""
        self._headers = Waiting(self.poller, selectors.EVENT_READ, self._on_headers)
        self._answers = Waiting(self.poller, selectors.EVENT_WRITE, self._on_writable)
        self._lingering = Waiting(self.poller, selectors.EVENT_READ, self._on_lingering)
        pools = (self._receivers, self._senders, self._probes)
        for pool in (self.tpool, *pools):
            pool.submit(int)  # a thread of each, before the system may give no more
        super().run()
        for pool in pools:
            pool.shutdown(wait=False)

    def accept(self, listener: socket.socket) -> None:
        """Take a connection: as the base class does it, but without a thread."""
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
        conn = ClientConnection(self.cfg, sock, unmapped(client), listener.getsockname())
        self._headers.add(conn, time.monotonic() + min(self.cfg.keepalive, self._idle))

    def _on_headers(self, conn: ClientConnection) -> None:
        """Receive more of a request's headers; a thread begins when all of them are there."""
        before = len(conn.peer.held)
        try:
            ready = conn.gather()
        except OSError:
            self._leave_headers(conn)
            self._drop(conn)
            return
        self._header_bytes += len(conn.peer.held) - before
        if ready:
            self._leave_headers(conn)
            self.enqueue_req(conn)
        elif not before:
            self._headers.postpone(conn, self._patience())
        while self._header_bytes > _MOST_HEADERS:
            oldest = next(iter(self._headers))
            self._leave_headers(oldest)
            self._drop(oldest)

    def _patience(self) -> float:
        """Return when headers that begin now have to be complete."""
        return time.monotonic() + (self._idle if self.alive else STOP_KEEPALIVE_LINGER)

    def _leave_headers(self, conn: ClientConnection) -> None:
        self._headers.remove(conn)
        self._header_bytes -= len(conn.peer.held)

    def on_client_socket_readable(self, conn: ClientConnection, client: socket.socket) -> None:
        """Receive the next request of a connection that was kept alive."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._headers.add(conn, self._patience())
        self._on_headers(conn)

    def enqueue_req(self, conn: ClientConnection) -> None:
        """Have a thread serve the request whose headers have arrived."""
        if conn.has_body():
            self._incoming.add(conn, self._submit(self._receivers, self.handle, conn))
        elif conn.is_probe():
            self._submit(self._probes, self.handle, conn)
        else:
            self._requests.add(conn, partial(self._submit, self.tpool, self.handle, conn))

    def _submit(
        self,
        pool: FrugalExecutor,
        function: Callable[[ClientConnection], object],
        conn: ClientConnection,
    ) -> "Future[object]":
        conn.in_thread = False
        conn.since = time.monotonic()
        future: Future[object] = pool.submit(function, conn)
        future.add_done_callback(partial(self.method_queue.defer, self.finish_request, conn))
        return future

    def finish_request(self, conn: ClientConnection, fs: "Future[object]") -> None:
        """Take a connection back from a thread, and see what is to come."""
        self._incoming.remove(conn)
        self._outgoing.remove(conn)
        self._requests.remove(conn)
        try:
            conn.is_kept = not fs.cancelled() and bool(fs.result())
        except BaseException:  # noqa: BLE001 -- gunicorn's own: whatever it is ends the connection
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
        """Have a thread send more of an answer, when it is its turn."""
        begin = partial(self._submit, self._senders, self._go_on, conn)
        self._outgoing.add(conn, begin, answer.environ.get(STREAMS))

    def _on_writable(self, conn: ClientConnection) -> None:
        """Send more of an answer; a thread makes more of it when the client has taken all."""
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
        """Send no more of an answer."""
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
            # It is here already, or a part of it.
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
        """Close in a way that lets the client read its answer, RFC 9112 section 9.6."""
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
            self._lingering.remove(conn)
            self._drop(conn)

    def _drop(self, conn: ClientConnection) -> None:
        self.nr_conns -= 1
        conn.close()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait for events; not for long while requests wait for a place."""
        hurried = (
            self._postponed
            or self._requests.are_wanted
            or self._outgoing.are_wanted
            or self.nr_conns >= self.worker_connections
        )
        super().wait_for_and_dispatch_events(min(timeout, _RETRY_EVERY) if hurried else timeout)

    def murder_pending(self) -> None:
        """Look at all who wait, and end what has waited for too long."""
        now = time.monotonic()
        if self._postponed and now >= self._next_retry:
            self._next_retry = now + _RETRY_EVERY
            self._retry(now)
        for turns in (self._requests, self._outgoing):
            if turns.are_wanted and now >= self._next_turn:
                turns.look(now)
        if now >= self._next_turn:
            self._next_turn = now + _RETRY_EVERY
        if self.nr_conns >= self.worker_connections:
            self._make_room(now)
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_EVERY
        for conn in self._headers.expired():
            self._leave_headers(conn)
            self._drop(conn)
        for conn in self._lingering.expired():
            self._lingering.remove(conn)
            self._drop(conn)
        self._look_at_answers(now)
        self._incoming.look(now)

    def _look_at_answers(self, now: float) -> None:
        """Give up clients that take too little, and the slowest of too many."""
        for conn in self._answers.expired():
            conn.peer.note_taken(now - conn.since)
            if conn.peer.sending.left > 0:
                self._answers.postpone(conn, now + conn.peer.sending.left)
            else:
                self._give_up(conn)
        too_many = len(self._answers) - self._most_answers
        if too_many > 0:
            for conn in self._answers:
                conn.peer.note_taken(now - conn.since)
                conn.since = now
            known = [conn for conn in self._answers if conn.peer.sending.waited > _NEW]
            for conn in sorted(known, key=lambda one: one.peer.sending.rate)[:too_many]:
                self._give_up(conn)

    def _retry(self, now: float) -> None:
        """Serve requests that were postponed, where there are places now or the time is over."""
        for share, waiting in list(self._postponed.items()):
            places = waiting[0][0].places()
            still: list[tuple[Postponed, ClientConnection]] = []
            for postponed, conn in waiting:
                if places > 0 or postponed.until <= now:
                    places -= 1
                    serve = partial(self._serve_postponed, postponed)
                    self._requests.add(conn, partial(self._submit, self.tpool, serve, conn))
                else:
                    still.append((postponed, conn))
            waiting[:] = still
            if not waiting:
                del self._postponed[share]

    def _make_room(self, now: float) -> None:
        """Close the oldest connection on which no request is served, in favour of a new one."""
        for place in (self._headers, self._lingering):
            oldest = next(iter(place), None)
            if oldest is not None and now - oldest.since > _NEW:
                if place is self._headers:
                    self._leave_headers(oldest)
                else:
                    place.remove(oldest)
                self._drop(oldest)
                return
        if self.keepalived_conns and now - self.keepalived_conns[0].since > _NEW:
            conn = self.keepalived_conns.popleft()
            self.poller.unregister(conn.sock)
            self._drop(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Stopping: wait neither for clients that have sent nothing yet nor with new ones.

        gunicorn closes its listeners after the last transfer. Until then the kernel would take
        connections that nobody answers, and no proxy would try another server.
        """
        super()._cap_keepalive(deadline)
        self._headers.cap(deadline)
        for listener in self.sockets:
            listener.close()
