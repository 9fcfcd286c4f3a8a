"""What the threads of a worker do: call the application and send its response."""

# The worker creates each TConn as a ClientConnection, so its methods may require that type.
# pyright: reportIncompatibleMethodOverride=false

import errno
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from selectors import DefaultSelector
from typing import Any

from gunicorn.http import wsgi
from gunicorn.http.message import Request
from gunicorn.http.parser import Parser
from gunicorn.workers.gthread import ThreadWorker

from pyoci_flask.common.outlet import OUTLET
from pyoci_flask.common.overrides import overrides, relies_on
from pyoci_flask.server.client_socket import ClientStalledError
from pyoci_flask.server.connection import Answer, ClientConnection, Postponed
from pyoci_flask.server.outlet import ClientOutlet
from pyoci_flask.web.gate import MAY_POSTPONE, STREAMS, NoPlaceError

_POSTPONED = 5.0
"""Maximum number of seconds that a request waits for a place at its registry."""
_AT_ONCE = 256 * 1024
"""Bytes of a response that the request's own thread sends."""
_TURN = 0.1
"""Seconds for which a longer response keeps a thread before another response gets its turn."""
_GRACE = 0.005
"""Seconds that such a thread waits for its client before the main loop takes over."""
_LITTLE = 64 * 1024
_SOON = 1.0
"""Limits, in bytes and seconds, for reading the rest of a body before the response is sent."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN})


relies_on(Request, "_expected_100_continue", user=__name__)
relies_on(Parser, "finish_body", user=__name__)


class _AwaitedBody:
    """`wsgi.input` of a request whose client waits for "100 Continue" (RFC 9110, 10.1.1).

    Before the first read, the request can be refused without receiving any of its body.
    """

    def __init__(self, body: Any, send: Callable[[bytes], object]) -> None:  # noqa: ANN401 - gunicorn's own
        self._body = body
        self._send = send
        self.is_awaited = True

    def _told(self) -> Any:  # noqa: ANN401 - gunicorn's own
        if self.is_awaited:
            self.is_awaited = False
            self._send(_CONTINUE)
        return self._body

    def read(self, size: int | None = None) -> object:
        return self._told().read(size)

    def readline(self, size: int | None = None) -> object:
        return self._told().readline(size)

    def readlines(self, size: int | None = None) -> object:
        return self._told().readlines(size)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._told())


@overrides("handle", "handle_request", "_keepalive_after")
class AnsweringWorker(ThreadWorker):
    """gunicorn's threaded worker, with responses that can be interrupted and continued."""

    alive: bool
    keepalived_conns: deque[ClientConnection]  # pyright: ignore[reportIncompatibleVariableOverride] # see above
    poller: DefaultSelector
    tpool: ThreadPoolExecutor
    _idle: float
    """Seconds for which a client may be silent."""

    def handle(self, conn: ClientConnection) -> bool:
        """Serve one request."""
        conn.in_thread = True
        conn.begin_headers(self._idle)
        return self._closed_if_tls(conn, bool(super().handle(conn)))

    def _closed_if_tls(self, conn: ClientConnection, kept: bool) -> bool:
        if not kept and self.cfg.is_ssl:
            conn.linger_and_close()
        return kept

    def handle_request(self, req: Any, conn: ClientConnection) -> bool:  # noqa: ANN401 - gunicorn's own
        """Respond to a request whose headers have been read."""
        conn.begin_body(self._idle)
        return self._answer(conn, req, time.monotonic() + _POSTPONED)

    def _answer(self, conn: ClientConnection, request: Any, until: float) -> bool:  # noqa: ANN401 - gunicorn's own
        """Call the application as gunicorn's `handle_request` does, and begin to send."""
        self.cfg.pre_request(self, request)
        begun = datetime.now()  # noqa: DTZ005 -- gunicorn's own
        expects = request._expected_100_continue  # noqa: SLF001 -- see `relies_on` above
        request._expected_100_continue = False  # noqa: SLF001 -- else gunicorn sends 100 now
        response, environ = wsgi.create(request, conn.sock, conn.client, conn.server, self.cfg)
        environ["wsgi.multithread"] = True
        if conn.sock is conn.peer and request.method != "HEAD":  # no TLS in between
            environ[OUTLET] = ClientOutlet(conn.peer, response)
        awaited = _AwaitedBody(request.body, conn.sock.sendall) if expects else None
        if awaited is not None:
            environ["wsgi.input"] = awaited
        if getattr(request.body.reader, "length", None) == 0:  # else it might have been read
            environ[MAY_POSTPONE] = time.monotonic() < until
        try:
            body = self.wsgi(environ, response.start_response)  # pyright: ignore[reportArgumentType] # typeshed
        except NoPlaceError as full:
            conn.postponed = Postponed(request, full.share, full.places, until)
            return True
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        kept = self.alive and self.cfg.keepalive and self.nr < self.max_requests
        kept = kept and len(self.keepalived_conns) < self.max_keepalived
        unsent = awaited is not None and awaited.is_awaited
        if not kept or not self._read_rest(conn, request.body, unsent=unsent):
            response.force_close()
        answer = Answer(request, response, environ, body, iter(body), begun)
        conn.answer = answer
        if environ.get(STREAMS):
            return True
        return self._send(conn, answer, lambda: bool(response.sent >= _AT_ONCE))

    def _read_rest(self, conn: ClientConnection, body: Any, *, unsent: bool) -> bool:  # noqa: ANN401 - gunicorn's own
        """Read what the application left of a body; return whether the body is complete.

        This happens before the response is sent, because its headers say whether the connection is
        kept.
        """
        left: int | None = getattr(body.reader, "length", None)
        if left == 0:
            return True
        if unsent or (left is not None and left > _LITTLE):
            return False
        conn.end_headers(self._idle)
        until = time.monotonic() + _SOON
        try:
            return bool(conn.parser.finish_body(deadline=until, max_bytes=_LITTLE))
        except Exception:  # noqa: BLE001 -- gunicorn raises many exceptions for a broken body
            return False

    def _go_on(self, conn: ClientConnection) -> bool:
        """Send more of a response."""
        answer = conn.answer
        if answer is None:
            return False
        conn.peer.grace = _GRACE
        until = time.monotonic() + _TURN
        step = partial(self._send, conn, answer, lambda: time.monotonic() >= until)
        return self._guarded(conn, step)

    def _send(self, conn: ClientConnection, answer: Answer, enough: Callable[[], bool]) -> bool:
        """Send as much of a response as the client takes; return whether to keep the connection."""
        try:
            if conn.peer.abandoned:
                raise ClientStalledError
            while not conn.waits_for_client:
                if enough():
                    return True
                chunk = next(answer.chunks, None)
                if chunk is None:
                    answer.response.close()
                    self._end(conn, answer)
                    return not answer.response.should_close()
                if chunk or not answer.response.headers_sent:
                    answer.response.write(chunk)
        except OSError:
            self._end(conn, answer)
            raise
        except (Exception, SystemExit):
            self._end(conn, answer)
            if not answer.response.headers_sent:
                raise
            # The client would read another response on this connection as a part of this one.
            self.log.exception("Error handling request")
            raise StopIteration from None
        return True

    def _end(self, conn: ClientConnection, answer: Answer) -> None:
        """Log a response and close the application's iterable, whether or not it is complete."""
        conn.answer = None
        duration = datetime.now() - answer.begun  # noqa: DTZ005 -- gunicorn's own
        self.log.access(answer.response, answer.request, answer.environ, duration)
        try:
            if hasattr(answer.body, "close"):
                answer.body.close()
        finally:
            try:
                self.cfg.post_request(self, answer.request, answer.environ, answer.response)
            except Exception:
                self.log.exception("Exception in post_request hook")

    def _keepalive_after(self, conn: ClientConnection, keepalive: object) -> bool:
        """Return whether to keep the connection open, for a request or the rest of a response."""
        conn.end_headers(self._idle)
        if keepalive and (conn.answer is not None or conn.postponed is not None):
            return True
        kept = super()._keepalive_after(conn, keepalive)  # pyright: ignore[reportAttributeAccessIssue] # new in gunicorn 27
        return bool(kept)

    def _guarded(self, conn: ClientConnection, step: Callable[[], bool]) -> bool:
        """Run a step of an exchange; handle its errors as gunicorn's `handle` does."""
        kept = False
        try:
            kept = self._keepalive_after(conn, step())
        except StopIteration:
            pass
        except OSError as error:
            if error.errno not in _GONE:
                self.log.exception("Socket error processing request.")
        except Exception as error:  # noqa: BLE001 -- `handle_error` logs it and responds
            self.handle_error(None, conn.sock, conn.client, error)
        return self._closed_if_tls(conn, kept)
