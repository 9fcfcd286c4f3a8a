"""A small application with telemetry, served on a socket, and the registry that it calls."""

import contextlib
import http.client
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import flask

from pyoci_flask.oci.shares import Share
from pyoci_flask.settings import Settings
from pyoci_flask.telemetry import start
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.observe import CallLog
from pyoci_flask.transport.request import Request
from pyoci_flask.transport.session import Transport
from pyoci_flask.web.access_log import AccessLog, RequestObserver, RequestRecord
from pyoci_flask.web.gate import NoPlaceError
from tests.doubles import wsgi_server
from tests.patience import PATIENCE
from tests.servers import wait_until

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from pyoci_flask.telemetry.pipeline import Telemetry

AUTHORIZATION = "Bearer collector-hunter2"
SIGNALS = {"/v1/traces", "/v1/metrics", "/v1/logs"}
CHUNK = b"x" * 65536


def telemetry_settings(collector_url: str) -> Settings:
    """Every setting that telemetry has."""
    return Settings(
        otlp_endpoint=collector_url,
        otlp_auth=AUTHORIZATION,
        deployment_environment="staging",
        container_app_name="pyoci-app",
        container_app_revision="pyoci-app--rev1",
        container_app_replica_name="pyoci-app--rev1-abc",
    )


@dataclass(frozen=True, slots=True)
class Served:
    url: str
    registry: str
    telemetry: "Telemetry"
    observers: Sequence[RequestObserver]
    app: flask.Flask

    def ask(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)
        body = b"12345" if method == "POST" else None
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read()


class _UnderWay:
    """Counts unfinished requests: a client has its response before the server is done.

    It wraps the observer of the telemetry, which therefore runs first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def request_started(self, _: "WSGIEnvironment") -> Callable[[RequestRecord], None]:
        with self._lock:
            self._count += 1
        return self._ended

    def none(self) -> bool:
        return self._count == 0

    def _ended(self, _: RequestRecord) -> None:
        with self._lock:
            self._count -= 1


@contextlib.contextmanager
def serve(settings: Settings) -> Iterator[Served]:
    """Serve the application until the block ends; then its telemetry has been sent."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    with wsgi_server(_registry) as registry, contextlib.ExitStack() as ending:
        ending.callback(root.setLevel, level)
        app = _application(registry)
        telemetry = start(settings, app)
        assert telemetry is not None
        ending.callback(telemetry.shutdown)
        transport = Transport(
            network=Network(), pool_size=8, observers=[CallLog(), telemetry.call_observer]
        )
        ending.callback(transport.close)
        app.extensions["transport"] = transport
        under_way = _UnderWay()
        observers = [telemetry.request_observer, under_way]
        url = ending.enter_context(wsgi_server(AccessLog(app.wsgi_app, observers)))
        yield Served(url, registry, telemetry, observers, app)
        wait_until(under_way.none)


def _application(registry: str) -> flask.Flask:
    app = flask.Flask(__name__)

    def call(path: str) -> int:
        transport: Transport = app.extensions["transport"]
        url = f"{registry.replace('://', '://user:hunter2@')}{path}?sig=hunter2"
        with transport.send(Request("GET", url, registry)) as reply:
            reply.read(100)
            return reply.status

    @app.get("/fan/<int:calls>")
    def fan(calls: int) -> list[int]:
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(copy_context().run, call, f"/v2/{i}") for i in range(calls)]
            return [future.result() for future in futures]

    @app.get("/call/<name>")
    def one_call(name: str) -> list[int]:
        return [call(f"/v2/{name}")]

    @app.get("/stream")
    def stream() -> flask.Response:
        def body() -> Iterator[bytes]:
            yield b"first"
            call("/v2/amid-the-body")
            yield b"last"

        return flask.Response(body())

    @app.get("/endless")
    def endless() -> flask.Response:
        return flask.Response(CHUNK for _ in range(10_000))

    @app.get("/breaks")
    def breaks() -> flask.Response:
        def body() -> Iterator[bytes]:
            yield CHUNK
            raise ZeroDivisionError("hunter2")

        return flask.Response(body())

    @app.get("/logs")
    def logs() -> str:
        logging.getLogger("pyoci.test").warning("sent %s", "Authorization: Basic aHVudGVyMg==")
        try:
            raise ValueError("https://user:hunter2@ghcr.io/")
        except ValueError:
            logging.getLogger("pyoci.test").exception("failed")
        return ""

    @app.post("/upload")
    def upload() -> str:
        return str(len(flask.request.get_data()))

    @app.get("/raises")
    def raises() -> str:
        raise ValueError("https://user:hunter2@ghcr.io/")

    @app.get("/postponed")
    def postponed() -> str:
        raise NoPlaceError(Share("ghcr.io"), lambda: 1)

    @app.get("/fails")
    def fails() -> flask.Response:
        return flask.Response("broken", 503)

    return app


def _registry(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    status = "404 Not Found" if environ["PATH_INFO"].endswith("missing") else "200 OK"
    start_response(status, [("Content-Length", "5")])
    return [b"hello"]
