"""The worker that gunicorn starts: start, signals, new connections, and time limits."""

# The worker creates each TConn as a ClientConnection, so its methods may require that type.
# pyright: reportIncompatibleMethodOverride=false

import errno
import os
import signal
import socket
import time
from functools import partial
from types import FrameType
from typing import Any

from gunicorn.errors import AppImportError
from gunicorn.workers.gthread import ThreadWorker

from pyoci_flask.common.overrides import overrides
from pyoci_flask.errors import ConfigurationError
from pyoci_flask.server.client_socket import ClientSocket
from pyoci_flask.server.connection import ClientConnection, Postponed, unmapped
from pyoci_flask.server.main_loop import LOOK_EVERY, ConnectionsWorker
from pyoci_flask.settings import Settings

_NO_FILES_PAUSE = 0.2
"""Seconds to wait when the process has no file descriptor left."""
_RETRY_EVERY = 0.05
_NEW = 2.0
"""Seconds after which a connection may be closed in favour of another."""


@overrides(
    "init_signals",
    "handle_quit",
    "load_wsgi",
    "accept",
    "wait_for_and_dispatch_events",
    "murder_pending",
    "_cap_keepalive",
)
class ClientTimeoutThreadWorker(ConnectionsWorker):
    """gunicorn's threaded worker with `PYOCI_CLIENT_TIMEOUT` on its clients' sockets.

    A read of `wsgi.input` that exceeds it raises `TimeoutError` in the application.
    """

    def __init__(self, *args: Any) -> None:  # noqa: ANN401 - gunicorn's own
        settings = Settings.from_env(os.environ)
        try:
            super().__init__(*args)
        except (OSError, RuntimeError) as error:
            # This is gunicorn's master, and a missing heartbeat file would end it.
            *_, cfg, log = args
            log.warning("no heartbeat file in %s (%s)", cfg.worker_tmp_dir, error)
            cfg.set("worker_tmp_dir", str(settings.spool))
            super().__init__(*args)
        self._idle = float(settings.client_timeout)
        self._most_answers = 4 * self.cfg.threads
        self._postponed = {}
        self._header_bytes = 0
        self._next_look = self._next_retry = 0.0

    def init_signals(self) -> None:
        """Ignore signals meant for the master; a worker that reloads would end its transfers."""
        super().init_signals()
        for one in (signal.SIGHUP, signal.SIGUSR2):
            signal.signal(one, signal.SIG_IGN)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """End immediately (SIGINT, SIGQUIT); the interpreter joins the threads when it exits.

        gunicorn shuts the thread pool down in the signal handler. That needs locks which the
        interrupted code in this thread might hold, so the worker would hang.
        """
        super(ThreadWorker, self).handle_quit(sig, frame)

    def load_wsgi(self) -> None:
        """Load the application; if a setting is unusable, log one line and end gunicorn.

        Another exception would print a traceback; after `SystemExit` gunicorn would start this
        worker again and again.
        """
        try:
            super().load_wsgi()
        except ConfigurationError as error:
            raise AppImportError(f"Error: {error}") from error

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection as the base class does, but without a thread."""
        try:
            connection, client = listener.accept()
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                # If raised, this would end the worker and every transfer. The client stays in the
                # listener's queue. The listener stays readable, so pause before the next try.
                self.log.warning("no connection can be accepted: %s", error.strerror)
                time.sleep(_NO_FILES_PAUSE)
            elif error.errno not in {errno.EAGAIN, errno.ECONNABORTED}:
                raise
            return
        self.nr_conns += 1
        sock = ClientSocket(connection, self._idle)
        conn = ClientConnection(self.cfg, sock, unmapped(client), listener.getsockname())
        self._headers.add(conn, time.monotonic() + min(self.cfg.keepalive, self._idle))

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait for events, but only briefly while a connection waits for its turn."""
        hurried = (
            self._postponed
            or self._requests.are_wanted
            or self._outgoing.are_wanted
            or self.nr_conns >= self.worker_connections
        )
        super().wait_for_and_dispatch_events(min(timeout, _RETRY_EVERY) if hurried else timeout)

    def murder_pending(self) -> None:
        """Check all waiting connections, and end those that have waited too long."""
        now = time.monotonic()
        if now >= self._next_retry:
            self._next_retry = now + _RETRY_EVERY
            self._retry(now)
            for turns in (self._requests, self._outgoing):
                if turns.are_wanted:
                    turns.look(now)
        if self.nr_conns >= self.worker_connections:
            self._make_room(now)
        if now < self._next_look:
            return
        self._next_look = now + LOOK_EVERY
        for place in (self._headers, self._lingering):
            for conn in place.expired():
                self._drop_waiting(place, conn)
        self._look_at_answers(now)
        self._incoming.look(now)

    def _look_at_answers(self, now: float) -> None:
        """Abandon clients that read too slowly, and the slowest if there are too many."""
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
        """Serve postponed requests for which there is a place now, or whose time is over."""
        for share, waiting in list(self._postponed.items()):
            places = waiting[0][0].places()
            still: list[tuple[Postponed, ClientConnection]] = []
            for postponed, conn in waiting:
                if places > 0 or postponed.until <= now:
                    places -= 1
                    step = partial(self._answer, conn, postponed.request, postponed.until)
                    serve = partial(self._guarded, step=step)
                    self._requests.add(conn, partial(self._submit, self.tpool, serve, conn))
                else:
                    still.append((postponed, conn))
            waiting[:] = still
            if not waiting:
                del self._postponed[share]

    def _make_room(self, now: float) -> None:
        """Close the oldest connection without a request, in favour of a new connection."""
        for place in (self._headers, self._lingering):
            oldest = next(iter(place), None)
            if oldest is not None and now - oldest.since > _NEW:
                self._drop_waiting(place, oldest)
                return
        if self.keepalived_conns and now - self.keepalived_conns[0].since > _NEW:
            conn = self.keepalived_conns.popleft()
            self.poller.unregister(conn.sock)
            self._drop(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """At a stop, limit the wait for idle clients, and close the listeners.

        gunicorn closes its listeners after the last transfer. Until then the kernel would accept
        connections that remain unanswered, and a proxy would not try another server.
        """
        super()._cap_keepalive(deadline)  # pyright: ignore[reportAttributeAccessIssue] # new in gunicorn 27
        self._headers.cap(deadline)
        for listener in self.sockets:
            listener.close()
