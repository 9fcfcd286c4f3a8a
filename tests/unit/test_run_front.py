"""Who may use the server of `run`, and what malformed requests do to it."""

import base64
import socket
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pytest

from pyoci_flask.cli.run.front import Front
from pyoci_flask.cli.run.target import TARGET
from tests.patience import PATIENCE
from tests.run_server import LOGIN, PROXY_LOGIN, SECRET, ask, connect, exchange, request, run_server
from tests.run_server import status_of as status

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

INDEX = "http://run.pyoci.invalid/ghcr.io/acme/"


def _saying(text: bytes) -> "WSGIApplication":
    def application(_: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", str(len(text)))])
        return [text]

    return application


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with run_server(Front(SECRET, _saying(b"index"), _saying(b"forwarded"))) as port:
        yield port


def _basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


WRONG = [
    "",
    "Basic",
    "Basic !",
    "Bearer " + SECRET,
    SECRET,
    LOGIN.replace("Basic", "Digest"),
    LOGIN + "x",
    LOGIN[:-1],
    f"{LOGIN}, {LOGIN}",
    _basic("run:"),
    _basic("run:other"),
    _basic(f"other:{SECRET}"),
    _basic(f"run:{SECRET}\n"),
    _basic(f"run:{SECRET.upper()}"),
    _basic("alice:password-for-the-registry"),
]


@pytest.mark.parametrize("header", [None, *WRONG])
@pytest.mark.parametrize("target", [INDEX, "http://other.example/", "http://127.0.0.1/"])
def test_a_proxy_asks_for_the_secret(port: int, target: str, header: str | None) -> None:
    headers = [] if header is None else [("Proxy-Authorization", header)]
    answer = ask(port, "GET", target, *headers, ("Authorization", LOGIN), ("Cookie", SECRET))
    assert status(answer) == 407
    assert b'\r\nProxy-Authenticate: Basic realm="pyoci-flask run", charset="UTF-8"\r\n' in answer
    assert b"WWW-Authenticate" not in answer
    assert SECRET.encode() not in answer


@pytest.mark.parametrize("header", [None, *WRONG])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_publish_address_asks_for_the_secret(port: int, method: str, header: str | None) -> None:
    headers = [] if header is None else [("Authorization", header)]
    answer = ask(port, method, "/ghcr.io/acme/", *headers, PROXY_LOGIN)
    assert status(answer) == 401
    assert b"\r\nWWW-Authenticate: Basic " in answer
    assert b"Proxy-Authenticate" not in answer


def test_a_page_of_a_browser_does_not_know_the_secret(port: int) -> None:
    page = [("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site")]
    answer = ask(port, "POST", "/ghcr.io/acme/", *page, ("Cookie", f"secret={SECRET}"))
    assert status(answer) == 401
    assert b"Access-Control" not in answer
    assert status(ask(port, "OPTIONS", "/ghcr.io/acme/", *page)) == 401


@pytest.mark.parametrize("name", ["Proxy_Authorization", "Proxy-Authorization-", "X-Authorization"])
def test_a_header_with_a_similar_name_does_not_count(port: int, name: str) -> None:
    assert status(ask(port, "GET", INDEX, (name, LOGIN))) == 407


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (INDEX, b"index"),
        (INDEX.upper(), b"index"),
        ("http://run.pyoci.invalid:80/", b"index"),
        ("http://run.pyoci.invalid./", b"index"),
        ("http://run.pyoci.invalid", b"index"),
        ("http://run.pyoci.invalid.evil.example/", b"forwarded"),
        ("http://evil.example/run.pyoci.invalid", b"forwarded"),
        ("http://evil.example?http://run.pyoci.invalid/", b"forwarded"),
        ("http://xrun.pyoci.invalid/", b"forwarded"),
    ],
)
def test_the_host_of_the_url_decides_what_is_forwarded(
    port: int, target: str, expected: bytes
) -> None:
    assert ask(port, "GET", target, PROXY_LOGIN).endswith(b"\r\n\r\n" + expected)


def test_the_scheme_of_the_login_is_written_in_any_case(port: int) -> None:
    written = LOGIN.replace("Basic ", "bAsIc   ")
    assert status(ask(port, "GET", INDEX, ("proxy-authorization", written))) == 200
    assert ask(port, "GET", "/x", ("AUTHORIZATION", written)).endswith(b"\r\n\r\nindex")


@pytest.mark.parametrize("number", [8080, 443, 1])
def test_the_fixed_host_is_never_asked_elsewhere(port: int, number: int) -> None:
    answer = ask(port, "GET", f"http://run.pyoci.invalid:{number}/", PROXY_LOGIN)
    assert status(answer) == 403
    assert b"http://run.pyoci.invalid, with no port" in answer


def test_tunnels_are_refused_with_and_without_the_secret(port: int) -> None:
    assert status(ask(port, "CONNECT", "a.example:443")) == 407
    answer = ask(port, "CONNECT", "a.example:443", PROXY_LOGIN)
    assert status(answer) == 405
    assert b"\r\nAllow: GET, HEAD, POST\r\n" in answer


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PROPFIND", "get"])
def test_every_method_needs_the_secret(port: int, method: str) -> None:
    assert status(ask(port, method, INDEX)) == 407
    assert status(ask(port, method, INDEX, PROXY_LOGIN)) == 200


def test_the_text_of_an_error_is_in_the_form_that_the_client_asks_for(port: int) -> None:
    answer = ask(port, "GET", "/x", ("Accept", "application/problem+json"))
    assert b'{"title": "Unauthorized", "status": 401, "detail": "this address belongs' in answer
    assert b"HTTP/1.1 401 this address belongs to a `pyoci-flask run`" in answer


def test_the_target_is_parsed_before_the_application_reads_the_request() -> None:
    found = []

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        found.append(environ[TARGET])
        start_response("204 No Content", [])
        return []

    with run_server(application) as port:
        ask(port, "GET", "http://A.example:81/b%2Fc?d")
    assert (found[0].netloc, found[0].path, found[0].query) == ("a.example:81", "/b%2Fc", "d")


MALFORMED = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) + b"\r\n\r\n",
    "an empty line": b"\r\n\r\n\r\n",
    "spaces": b"   \r\n\r\n",
    "one word": b"GET\r\n\r\n",
    "four words": b"GET / x HTTP/1.1\r\n\r\n",
    "an odd version": b"GET / HTTP/1.x\r\n\r\n",
    "a large version": b"GET / HTTP/" + b"9" * 5000 + b".1\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "a broken address": b"GET http://[::1 HTTP/1.1\r\n\r\n",
    "another broken address": b"GET http://[v1.x]/ HTTP/1.1\r\n\r\n",
    "bytes that are not ASCII": b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
    "a host that changes when it is normalised": "GET http://a\uff0fb/ HTTP/1.1\r\n\r\n".encode(),
    "a line of a megabyte": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
    "a header of a megabyte": b"GET / HTTP/1.1\r\nA: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "ten thousand headers": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
    "a line without a colon": b"GET / HTTP/1.1\r\nabc\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
    "a line feed of another system": b"GET / HTTP/1.1\nA: b\n\n",
    "a negative length": b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "a length that is no number": b"POST / HTTP/1.1\r\nContent-Length: abc\r\n\r\n",
    "a broken chunk": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_malformed_requests_are_refused_and_nothing_is_printed(
    port: int, sent: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with connect(port) as client:
        try:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        except OSError:
            answer = b""  # it was refused before all of it was read
    assert b" 200 " not in answer
    assert len(answer) < len(sent) + 2000
    assert b"Traceback" not in answer
    assert status(ask(port, "GET", INDEX, PROXY_LOGIN)) == 200
    assert capfd.readouterr() == ("", "")


def test_clients_that_leave_early_are_not_reported(
    port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = request("GET", INDEX, PROXY_LOGIN)
    for length in range(0, len(whole), 7):
        with connect(port) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sendall(whole[:length])
    assert exchange(port, whole).endswith(b"index")
    assert capfd.readouterr() == ("", "")


def test_an_unexpected_error_is_logged_and_not_printed(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def application(*_: object) -> Iterable[bytes]:
        raise LookupError("a fault of ours")

    with run_server(application) as port:
        assert status(ask(port, "GET", "/")) == 500
    assert "a fault of ours" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_a_slow_client_is_given_up_and_does_not_hold_up_others(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyoci_flask.cli.run.server._Handler.timeout", 0.2)
    with connect(port) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nA: ")
        assert status(ask(port, "GET", INDEX, PROXY_LOGIN)) == 200
        assert slow.recv(1000) == b""


def test_only_so_many_connections_are_served_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyoci_flask.cli.run.server._MOST_CONNECTIONS", 2)
    arrived, go_on = threading.Semaphore(0), threading.Event()
    running = []

    def application(_: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        running.append(threading.current_thread())
        arrived.release()
        assert go_on.wait(PATIENCE)
        start_response("204 No Content", [])
        return []

    with run_server(application) as port:
        clients = [connect(port) for _ in range(3)]
        for client in clients:
            client.sendall(request("GET", "/"))
        for _ in range(2):
            assert arrived.acquire(timeout=PATIENCE)
        assert not arrived.acquire(timeout=0.3)
        go_on.set()
        for client in clients:
            with client:
                assert client.recv(1000).startswith(b"HTTP/1.1 204")
    assert len(running) == 3
