"""The HTTP server of `run`: Werkzeug's, on a socket of the loopback interface."""

import logging
import socket
import sys
from typing import TYPE_CHECKING, Any

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

logger = logging.getLogger("pyoci.run")

_IDLE_SECONDS = 300


class _Handler(WSGIRequestHandler):
    """Handles one connection. It reports to the log, because the terminal belongs to COMMAND."""

    protocol_version = "HTTP/1.1"  # an answer of unknown length is chunked, so its end is known
    timeout = _IDLE_SECONDS

    def handle_expect_100(self) -> bool:
        """Do nothing, because `run_wsgi` sends the response 100 itself."""
        return True

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002, ANN401 - as overridden
        """Log what is not in the access log."""
        logger.log(logging.ERROR if type == "error" else logging.DEBUG, message.rstrip(), *args)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Do nothing, because the access log has a line for each request."""


class _Server(ThreadedWSGIServer):
    """Reports to the log as well."""

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - as overridden
        """Log an exception in a connection, such as a client that went away."""
        logger.info("a connection ended", exc_info=sys.exc_info())


def serve(listener: socket.socket, application: "WSGIApplication") -> None:
    """Serve an application on a socket that listens already; this does not return.

    Connections that clients have opened meanwhile are served first.
    """
    address, port = listener.getsockname()
    server = _Server(address, port, application, _Handler, fd=listener.fileno())
    listener.close()  # the server has its own copy of it
    server.serve_forever()
