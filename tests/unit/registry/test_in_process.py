import io
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import pytest
import requests

from pyoci_flask.registry.in_process import InProcessAdapter
from tests.patience import PATIENCE
from tests.unit.registry.client import Streamed

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ORIGIN = "http://in-process"


class Echo:
    """Answers with the request's body; remembers the environ."""

    def __init__(self, headers: Iterable[tuple[str, str]] = (), status: str = "200 OK") -> None:
        self.environ: WSGIEnvironment = {}
        self._headers = list(headers)
        self._status = status

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        self.environ = environ
        body = b"".join(iter(lambda: environ["wsgi.input"].read(64), b""))
        start(self._status, self._headers)
        return [body]


class Body:
    """An iterable that knows how much of it was taken, and whether it was closed."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.taken = 0
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.taken += 1
            yield chunk

    def close(self) -> None:
        self.closed += 1


def answering(
    body: Iterable[bytes], headers: Iterable[tuple[str, str]] = (), status: str = "200 OK"
) -> "WSGIApplication":
    def app(_: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        start(status, list(headers))
        return body

    return app


@pytest.fixture
def connect() -> Iterator[Callable[["WSGIApplication"], requests.Session]]:
    with requests.Session() as session:
        session.trust_env = False

        def connect_to(app: "WSGIApplication") -> requests.Session:
            session.mount(ORIGIN, InProcessAdapter(app))
            return session

        yield connect_to


Connect = Callable[["WSGIApplication"], requests.Session]


def test_the_environ_says_what_the_request_said(connect: Connect) -> None:
    app = Echo()

    connect(app).post(
        f"{ORIGIN}:8080/a%2Fb/%C3%BC?x=%2F&y",
        data=b"body",
        headers={"Content-Type": "text/x", "X-Some-Thing": "1"},
    )

    taken = {key: value for key, value in app.environ.items() if isinstance(value, str)}
    expected = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a/b/\xc3\xbc",
        "QUERY_STRING": "x=%2F&y",
        "SERVER_NAME": "in-process",
        "SERVER_PORT": "8080",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "in-process:8080",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "4",
        "HTTP_X_SOME_THING": "1",
        "wsgi.url_scheme": "http",
    }
    assert expected == {key: taken.get(key) for key in expected}
    assert "HTTP_CONTENT_TYPE" not in taken


def test_the_response_says_what_the_application_said(connect: Connect) -> None:
    app = answering([b"gr\xc3\xbc", b"n"], [("Content-Type", "text/plain; charset=utf-8")])

    response = connect(app).get(f"{ORIGIN}/x")

    assert (response.status_code, response.reason, response.ok) == (200, "OK", True)
    assert (response.text, response.encoding) == ("grün", "utf-8")
    assert response.url == f"{ORIGIN}/x"
    assert response.raw.closed


def test_headers_of_one_name_are_joined(connect: Connect) -> None:
    app = answering([], [("WWW-Authenticate", "Basic"), ("WWW-Authenticate", "Bearer x")])

    response = connect(app).get(ORIGIN)

    assert response.headers["www-authenticate"] == "Basic, Bearer x"


BODIES: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "bytes": lambda: b"body",
    "a file": lambda: io.BytesIO(b"body"),
    "a file of unknown length": lambda: Streamed([b"bo", b"dy"]),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_every_kind_of_body_arrives(connect: Connect, body: Callable[[], object]) -> None:
    app = Echo()
    sent = body()

    response = connect(app).put(ORIGIN, data=sent)  # type: ignore[arg-type]

    assert response.content == (b"" if sent is None else b"body")
    assert app.environ.get("CONTENT_LENGTH") == ("0" if sent is None else "4") or (
        app.environ["HTTP_TRANSFER_ENCODING"] == "chunked"
    )


def test_a_file_is_read_from_where_it_stands_and_left_open(connect: Connect) -> None:
    app = Echo()
    file = io.BytesIO(b"0123456789")
    file.seek(2)

    response = connect(app).put(ORIGIN, data=file)

    assert response.content == b"23456789"
    assert app.environ["CONTENT_LENGTH"] == "8"
    assert not file.closed


def test_an_answer_may_come_before_the_body_was_read(connect: Connect) -> None:
    file = io.BytesIO(b"0123456789")
    app = answering([b"too large"], status="413 Content Too Large")

    response = connect(app).put(ORIGIN, data=file)

    assert (response.status_code, response.text) == (413, "too large")
    assert file.tell() == 0


def test_the_body_is_read_as_the_application_asks_for_it(connect: Connect) -> None:
    asked: list[str] = []

    def chunks() -> Iterator[bytes]:
        for number in range(3):
            asked.append(f"sent {number}")
            yield b"x" * 262144

    def app(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        while environ["wsgi.input"].read(262144):
            asked.append("read")
        start("200 OK", [])
        return []

    connect(app).put(ORIGIN, data=Streamed(chunks()))

    assert asked == ["sent 0", "read", "sent 1", "read", "sent 2", "read"]


def test_the_response_is_made_as_it_is_read_and_closed_at_its_end(connect: Connect) -> None:
    body = Body([b"abc", b"", b"def"])

    response = connect(answering(body)).get(ORIGIN, stream=True)
    assert (body.taken, body.closed) == (1, 0)
    assert response.raw.read(2) == b"ab"
    assert (body.taken, body.closed) == (1, 0)

    assert b"".join(response.iter_content(2)) == b"cdef"
    assert body.closed == 1
    response.close()
    assert body.closed == 1


def test_a_response_that_is_not_read_is_closed(connect: Connect) -> None:
    body = Body([b"abc", b"def"])

    response = connect(answering(body)).get(ORIGIN, stream=True)
    response.raw.read(1)
    response.close()

    assert body.closed == 1
    assert body.taken == 1


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content")])
def test_a_response_without_a_body_keeps_its_headers(
    connect: Connect, method: str, status: str
) -> None:
    body = Body([])
    app = answering(body, [("Content-Length", "3")], status)

    response = connect(app).request(method, ORIGIN)

    assert (response.content, body.closed) == (b"", 1)
    assert response.headers["Content-Length"] == "3"


def test_a_response_that_ends_early_is_a_broken_one(connect: Connect) -> None:
    app = answering([b"abc"], [("Content-Length", "5")])

    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="3 bytes read"):
        connect(app).get(ORIGIN)


@pytest.mark.parametrize("error", [OSError("in the middle"), ValueError("in the middle")])
def test_an_application_that_fails_in_the_middle_breaks_the_response(
    connect: Connect, error: Exception
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"abc"
        raise error

    response = connect(answering(chunks())).get(ORIGIN, stream=True)

    assert response.status_code == 200
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="in the middle"):
        assert response.content


def test_an_application_that_fails_before_its_answer_is_no_connection(connect: Connect) -> None:
    def app(_environ: "WSGIEnvironment", _start: "StartResponse") -> Iterable[bytes]:
        raise ValueError("at once")

    with pytest.raises(requests.ConnectionError, match="ValueError") as raised:
        connect(app).get(ORIGIN)

    assert str(raised.value.__cause__) == "at once"


def test_an_application_that_fails_at_its_first_chunk_is_no_connection(connect: Connect) -> None:
    def chunks() -> Iterator[bytes]:
        raise OSError("at once")
        yield b""

    with pytest.raises(requests.ConnectionError, match="OSError"):
        connect(answering(chunks())).get(ORIGIN)


def test_redirects_are_followed_by_the_session(connect: Connect) -> None:
    def app(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/old":
            start("302 Found", [("Location", "/new")])
            return []
        start("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    assert connect(app).get(f"{ORIGIN}/old").text == "/new"


STREAM = """
import resource
import requests
from pyoci_flask.registry.in_process import InProcessAdapter

SIZE, CHUNK = 200_000_000, 262_144

class Zeros:
    def __init__(self):
        self.left = SIZE // CHUNK

    def __iter__(self):
        return iter(lambda: self.read(CHUNK), b"")

    def read(self, size):
        self.left -= 1
        return bytes(CHUNK) if self.left >= 0 else b""

def app(environ, start):
    while environ["wsgi.input"].read(CHUNK):
        pass
    start("200 OK", [])
    return Zeros()

session = requests.Session()
session.mount("http://x", InProcessAdapter(app))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
response = session.put("http://x/", data=Zeros(), stream=True)
received = sum(len(chunk) for chunk in response.iter_content(CHUNK))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(received // CHUNK == SIZE // CHUNK, (after - before) // 1024 < 16)
"""


def test_large_bodies_take_no_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STREAM], capture_output=True, text=True, check=True, timeout=PATIENCE
    )

    assert done.stdout == "True True\n"
