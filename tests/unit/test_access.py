import contextlib
import http.client
import logging
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import flask
import pytest

from pyoci_flask.logs import request_id
from pyoci_flask.web.access_log import AccessLog, RequestRecord
from tests.doubles import wsgi_server
from tests.patience import PATIENCE
from tests.wsgi_caller import Observer, access_lines

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

CHUNK = b"x" * 65536


def _flask_app() -> flask.Flask:
    app = flask.Flask(__name__)

    @app.get("/health")
    def health() -> str:
        return "well"

    @app.get("/id")
    def show_id() -> dict[str, str | None]:
        with ThreadPoolExecutor(1) as pool:
            on_pool = pool.submit(copy_context().run, request_id.get).result()
        return {
            "environ": flask.request.environ["pyoci.request_id"],
            "context": request_id.get(),
            "pool": on_pool,
        }

    @app.route("/echo", methods=["GET", "POST"])
    def echo() -> bytes:
        return flask.request.get_data()

    @app.get("/stream/<int:chunks>")
    def stream(chunks: int) -> flask.Response:
        return flask.Response(CHUNK for _ in range(chunks))

    @app.get("/breaks")
    def breaks() -> flask.Response:
        def body() -> Iterator[bytes]:
            yield CHUNK
            raise ZeroDivisionError

        return flask.Response(body())

    return app


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.fixture
def server(observer: Observer) -> Iterator[str]:
    with wsgi_server(AccessLog(_flask_app().wsgi_app, [observer])) as url:
        yield url


@pytest.fixture(autouse=True)
def _shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="pyoci.access")


def _ask(
    url: str,
    path: str,
    method: str = "GET",
    *,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response, response.read()


def test_request_is_logged_once_at_its_end(
    server: str, observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    _ask(server, "/echo?token=secret", "POST", body=b"12345", headers={"User-Agent": "pip/26.3"})
    observer.await_one()
    (record,) = access_lines(caplog)
    assert record.levelno == logging.INFO
    assert re.fullmatch(
        rf"status=200 method=POST path=/echo host={re.escape(urlsplit(server).netloc)}"
        r' user_agent="pip/26\.3"'
        r" duration_ms=\d+\.\d bytes_in=5 bytes_out=5",
        record.getMessage(),
    )


def test_observer_gets_the_record_of_the_request(server: str, observer: Observer) -> None:
    _ask(server, "/echo", "POST", body=b"12345", headers={"X-Request-Id": "r-1"})
    record = observer.await_one()
    assert record == RequestRecord(
        request_id="r-1",
        method="POST",
        path="/echo",
        host=urlsplit(server).netloc,
        user_agent="",
        status=200,
        aborted=False,
        error=None,
        duration=record.duration,
        bytes_in=5,
        bytes_out=5,
    )
    assert 0 < record.duration < 10


def test_health_probes_are_logged_at_debug(
    server: str, observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    _ask(server, "/health")
    observer.await_one()
    (record,) = access_lines(caplog)
    assert record.levelno == logging.DEBUG


def test_request_id_is_the_same_everywhere(server: str) -> None:
    response, body = _ask(server, "/id", headers={"X-Request-Id": "Az09._-"})
    assert response.headers.get_all("X-Request-Id") == ["Az09._-"]
    assert flask.json.loads(body) == {"environ": "Az09._-", "context": "Az09._-", "pool": "Az09._-"}


@pytest.mark.parametrize("sent", [None, "", "a b", "x" * 65, 'a"', "ä", "../x", "a;b"])
def test_unusable_request_id_is_replaced_by_a_new_one(server: str, sent: str | None) -> None:
    headers = {} if sent is None else {"X-Request-Id": sent}
    response, _ = _ask(server, "/id", headers=headers)
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["X-Request-Id"])


def test_each_request_has_an_id_of_its_own(server: str) -> None:
    ids = {_ask(server, "/health")[0].headers["X-Request-Id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/a%0Alevel=ERROR%1b%22", "/a%0Alevel=ERROR%1B%22"),
        ("/my%20pkg/%C3%A4", "/my%20pkg/%C3%A4"),
        ("/http%3A%2F%2Fu%3Asecret%40h%3A5000/ns/x/", "/http://[redacted]@h:5000/ns/x/"),
        ("/simple/zope.interface/?x=secret", "/simple/zope.interface/"),
    ],
)
def test_path_is_quoted_and_holds_no_secret(
    server: str,
    observer: Observer,
    caplog: pytest.LogCaptureFixture,
    path: str,
    logged: str,
) -> None:
    _ask(server, path)
    assert observer.await_one().path == logged
    (line,) = access_lines(caplog)
    assert f" path={logged} " in line.getMessage()
    assert line.getMessage().isprintable()


@pytest.mark.parametrize(
    ("sent", "logged"),
    [
        ("pypi.example.org", "pypi.example.org"),
        ("[::1]:8080", "[::1]:8080"),
        ("user:hunter2@pypi.example.org:8080", "[redacted]@pypi.example.org:8080"),
        ("user:hunter2", "[redacted]"),
        ('a status=500 "b', "a%20status=500%20%22b".replace("=", "%3D")),
        ("x" * 300, f"{'x' * 197}..."),
        ("\xe4" * 300, ("%E4" * 300)[:200]),
        ("", "-"),
    ],
)
def test_host_is_one_word_redacted_and_capped(
    server: str,
    observer: Observer,
    caplog: pytest.LogCaptureFixture,
    sent: str,
    logged: str,
) -> None:
    _ask(server, "/id", headers={"Host": sent})
    assert observer.await_one().host == logged
    (line,) = access_lines(caplog)
    assert f" host={logged} " in line.getMessage()


def test_user_agent_is_escaped_redacted_and_capped(
    server: str, observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    agent = 'a" status="500\t\x1b[2J Basic aHVudGVyMg== ' + "x" * 300
    _ask(server, "/id", headers={"User-Agent": agent})
    logged = observer.await_one().user_agent
    assert logged.startswith(r"a\" status=\"500\t\x1b[2J Basic [redacted] xxx")
    assert len(logged.replace('\\"', '"').replace(r"\t", "t").replace(r"\x1b", "e")) == 200
    (line,) = access_lines(caplog)
    assert line.getMessage().isprintable()


def test_streamed_body_is_counted_and_not_buffered(observer: Observer) -> None:
    first_sent, go_on = threading.Event(), threading.Event()

    def app(_: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "2")])

        def body() -> Iterator[bytes]:
            yield b"1"
            first_sent.set()
            assert go_on.wait(PATIENCE)
            yield b"2"

        return body()

    with wsgi_server(AccessLog(app, [observer])) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", "/")
            response = connection.getresponse()
            assert response.read(1) == b"1"
            assert first_sent.wait(PATIENCE)
            assert observer.records == []
            go_on.set()
            assert response.read() == b"2"
        record = observer.await_one()
    assert record.bytes_out == 2
    assert not record.aborted


@pytest.mark.filterwarnings("error")
def test_client_that_goes_away_marks_the_request_aborted(
    server: str, observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    address = urlsplit(server)
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE) as client:
        client.sendall(b"GET /stream/10000 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1000)
        # Reset instead of an orderly end: the next send of the server fails.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    record = observer.await_one()
    assert record.aborted
    assert record.error is None
    assert record.status == 200
    assert 0 < record.bytes_out < 10000 * len(CHUNK)
    (line,) = access_lines(caplog)
    assert line.getMessage().endswith(" aborted=true")


def test_exception_amid_the_body_marks_the_request_aborted(
    server: str, observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.suppress(http.client.HTTPException, OSError):
        _ask(server, "/breaks")
    record = observer.await_one()
    assert isinstance(record.error, ZeroDivisionError)
    assert (record.status, record.aborted, record.bytes_out) == (200, True, len(CHUNK))
    (line,) = access_lines(caplog)
    assert line.getMessage().endswith(" aborted=true error=ZeroDivisionError")


def test_head_request_is_whole_without_a_body(server: str, observer: Observer) -> None:
    response, _ = _ask(server, "/stream/3", "HEAD")
    assert response.status == 200
    record = observer.await_one()
    assert (record.method, record.bytes_out, record.aborted) == ("HEAD", 0, False)


@pytest.mark.parametrize(
    "read",
    [
        lambda stream: stream.read(),
        lambda stream: stream.read(3) + stream.read(100),
        lambda stream: stream.readline() + stream.readline(100),
        lambda stream: b"".join(stream.readlines()),
        lambda stream: b"".join(stream),
    ],
)
def test_each_way_of_reading_the_body_is_counted(
    observer: Observer, read: Callable[[object], bytes]
) -> None:
    def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        taken = read(environ["wsgi.input"])
        start_response("200 OK", [])
        return [taken]

    # A server whose input ends with the body, as that of gunicorn does.
    def ending(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        environ["wsgi.input"] = flask.Request(environ).stream
        return AccessLog(app, [observer])(environ, start_response)

    with wsgi_server(ending) as url:
        _, body = _ask(url, "/", "POST", body=b"line 1\nline 2\n")
    assert body == b"line 1\nline 2\n"
    assert observer.await_one().bytes_in == 14
