"""The HTTP server of `run`: Werkzeug's, on a socket of the loopback interface."""

import logging
import socket
import sys
import threading
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from werkzeug.serving import BaseWSGIServer, ThreadedWSGIServer, WSGIRequestHandler

from pyoci_flask.cli.run.target import HEADERS, TARGET, Target, parse_target

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger("pyoci.run")

_HEAD_SECONDS = 20
"""How long to wait for the next bytes of a request's head. Clients of a run send it at once."""
_IDLE_SECONDS = 300
"""The same for its body, and for a client that does not read."""
_MOST_CONNECTIONS = 200
"""Each connection has a thread. Further ones wait until one of these ends."""
_BODY = "pyoci.run.body"


class _Handler(WSGIRequestHandler):
    """Handles one connection. It reports to the log, because the terminal belongs to COMMAND."""

    protocol_version = "HTTP/1.1"  # an answer of unknown length is chunked, so its end is known
    timeout = _HEAD_SECONDS
    target: Target

    def parse_request(self) -> bool:
        """Read the request line and the headers; return whether the request can be served."""
        if not super().parse_request():
            return False
        if self.request_version < "HTTP/1.1":
            self.protocol_version = "HTTP/1.0"  # such a client does not know chunks
        try:
            self.target = parse_target(self.command, self.path)
        except ValueError as error:
            self.send_error(HTTPStatus.BAD_REQUEST, str(error))
            return False
        self.connection.settimeout(_IDLE_SECONDS)
        return True

    def run_wsgi(self) -> None:
        """Serve the request, and close the body of the response (PEP 3333) whatever happened.

        The original does not close it if the client has reset the connection.
        """
        try:
            super().run_wsgi()
        finally:
            body = getattr(self, "environ", {}).pop(_BODY, None)
            if hasattr(body, "close"):
                body.close()

    def make_environ(self) -> "WSGIEnvironment":
        """Return the environ, and in it what a proxy needs to know."""
        environ = super().make_environ()
        environ[TARGET] = self.target
        environ[HEADERS] = list(self.headers.items())
        return environ

    def handle_expect_100(self) -> bool:
        """Do nothing, because `run_wsgi` sends the response 100 itself."""
        return True

    def send_response(self, code: int, message: str | None = None) -> None:
        """Begin a response, without the headers that it may have itself."""
        self.send_response_only(code, message)

    def end_headers(self) -> None:
        """End the headers. A response that was forwarded has its own date."""
        sent = getattr(self, "_headers_buffer", [])
        if not any(line.lower().startswith(b"date:") for line in sent):
            self.send_header("Date", formatdate(usegmt=True))
        super().end_headers()

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002, ANN401 - as overridden
        """Log what is not in the access log, such as a request that cannot be parsed."""
        logger.log(logging.INFO if type == "error" else logging.DEBUG, message.rstrip(), *args)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Do nothing, because the access log has a line for each request."""


class _Server(ThreadedWSGIServer):
    """Serves each connection on a thread, and only so many at a time."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, application: "WSGIApplication") -> None:
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)

        def remembered(
            environ: "WSGIEnvironment", start_response: "StartResponse"
        ) -> Iterable[bytes]:
            body = environ[_BODY] = application(environ, start_response)
            return body

        address, port = listener.getsockname()
        super().__init__(address, port, remembered, _Handler, fd=listener.fileno())

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as overridden
        """Wait until a connection may be served, and start its thread."""
        self._free.acquire()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as overridden
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002, ANN401 - as overridden
        """Log an error of the application."""
        logger.log(logging.ERROR if type == "error" else logging.DEBUG, message.rstrip(), *args)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - as overridden
        """Log an unexpected error. The original prints it where COMMAND prints."""
        logger.error("a connection failed", exc_info=sys.exc_info())


def create_server(listener: socket.socket, application: "WSGIApplication") -> BaseWSGIServer:
    """Return a server of an application on a socket that listens already, which it takes over.

    It first serves the connections that clients have opened meanwhile.
    """
    with listener:
        return _Server(listener, application)
