"""The HTTP server of `run`: Werkzeug's, on a free port of the loopback interface."""

import logging
import threading
from typing import TYPE_CHECKING, Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

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


def start_server(application: "WSGIApplication") -> BaseWSGIServer:
    """Serve an application on a thread that ends with this process; `port` of the result is free.

    Connections are accepted when this returns.
    """
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Handler)
    threading.Thread(target=server.serve_forever, name="server", daemon=True).start()
    return server
