"""The forward proxy of `run`: what it passes on, and what it does when something breaks."""

import base64
import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyoci_flask.cli.run.forward import Forward
from pyoci_flask.transport.network import Network
from tests.doubles import closed_port, silent_server
from tests.patience import PATIENCE
from tests.run_server import ask, connect, exchange, request, run_server
from tests.run_server import status_of as status
from tests.servers import self_signed
from tests.unit.doubles import Answer, HTTPDouble, http_double

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

DIRECT = Network()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with run_server(Forward(DIRECT)) as port:
        yield port


def _split(answer: bytes) -> tuple[list[bytes], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[1:], body


def _answering(answer: Answer) -> "contextlib.AbstractContextManager[HTTPDouble]":
    return http_double(lambda _: answer)


@contextlib.contextmanager
def _raw_server(reply: bytes, *, after: bytes = b"\r\n\r\n") -> Iterator[tuple[str, bytearray]]:
    """A server of one connection that sends `reply` once it has read `after`, and closes."""
    received = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as client:
                while after not in received:
                    chunk = client.recv(65536)
                    if not chunk:
                        return
                    received.extend(chunk)
                client.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", received
        # The thread ends even if no client has connected. One that has is served first.
        socket.create_connection(listener.getsockname()).close()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_headers_of_a_request_are_passed_on_and_those_for_the_proxy_are_not(port: int) -> None:
    with _answering(Answer()) as server:
        ask(
            port,
            "GET",
            f"{server.url}/a%2fb/../c;d//e?x=%7e&y",
            ("Proxy-Authorization", "Basic c2VjcmV0"),
            ("Proxy-Connection", "keep-alive"),
            ("Connection", "keep-alive, X-Private"),
            ("Keep-Alive", "timeout=5"),
            ("X-Private", "1"),
            ("TE", "trailers"),
            ("Upgrade", "h2c"),
            ("Cookie", "a=b"),
            ("Authorization", "Bearer for-the-server"),
            ("X_Odd", "kept"),
            ("X-Twice", "1"),
            ("X-Twice", "2"),
            ("Via", "1.1 other"),
        )
        (received,) = server.received
    assert received.target == "/a%2fb/../c;d//e?x=%7e&y"
    assert received.headers.items() == [
        ("Host", server.netloc),
        ("Cookie", "a=b"),
        ("Authorization", "Bearer for-the-server"),
        ("X_Odd", "kept"),
        ("X-Twice", "1"),
        ("X-Twice", "2"),
        ("Via", "1.1 other"),
        ("Via", "1.1 pyoci-flask"),
    ]


def test_a_response_is_passed_on_as_it_is(port: int) -> None:
    sent = [
        ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("Server", "other"),
        ("Set-Cookie", "a=1; Path=/"),
        ("Set-Cookie", "b=2"),
        ("Content-Encoding", "gzip"),
        ("Connection", "X-Private"),
        ("X-Private", "1"),
        ("Keep-Alive", "timeout=5"),
        ("X-Kept", "\xe9"),
    ]
    with _answering(Answer(206, b"\x1f\x8bnot really", sent)) as server:
        headers, body = _split(ask(port, "GET", f"{server.url}/", ("Range", "bytes=0-11")))
        assert server.received[0].headers["Range"] == "bytes=0-11"
    assert body == b"\x1f\x8bnot really"
    assert sorted(headers) == sorted(
        [
            b"Date: Sun, 06 Nov 1994 08:49:37 GMT",
            b"Server: other",
            b"Set-Cookie: a=1; Path=/",
            b"Set-Cookie: b=2",
            b"Content-Encoding: gzip",
            b"X-Kept: \xe9",
            b"Content-Length: 12",
            b"Via: 1.1 pyoci-flask",
            b"Connection: close",
        ]
    )


@pytest.mark.parametrize("code", [301, 302, 401, 404, 429, 500, 503])
def test_redirects_and_errors_are_passed_on_and_nothing_is_repeated(port: int, code: int) -> None:
    with _answering(Answer(code, b"text", {"Location": "/x", "Retry-After": "1"})) as server:
        answer = ask(port, "GET", f"{server.url}/")
        assert len(server.received) == 1
    assert status(answer) == code
    assert b"\r\nLocation: /x\r\n" in answer
    assert answer.endswith(b"\r\n\r\ntext")


def test_cookies_are_not_kept(port: int) -> None:
    with _answering(Answer(headers={"Set-Cookie": "a=1"})) as server:
        ask(port, "GET", f"{server.url}/")
        ask(port, "GET", f"{server.url}/")
        assert "Cookie" not in server.received[1].headers


@pytest.mark.parametrize("code", [204, 304])
def test_a_response_without_a_body_has_none(port: int, code: int) -> None:
    with _answering(Answer(code, headers={"ETag": '"x"'})) as server:
        headers, body = _split(ask(port, "GET", f"{server.url}/"))
    assert body == b""
    assert b'ETag: "x"' in headers
    assert b"Transfer-Encoding: chunked" not in headers


def test_the_response_to_head_keeps_the_length_of_the_body_that_get_would_have(port: int) -> None:
    with _raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 123\r\n\r\n") as (url, received):
        headers, body = _split(ask(port, "HEAD", url))
    assert received.startswith(b"HEAD / HTTP/1.1\r\n")
    assert b"Content-Length: 123" in headers
    assert body == b""


def test_chunks_arrive_one_by_one_and_trailers_are_dropped(port: int) -> None:
    go_on = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as other:
                other.recv(65536)
                other.sendall(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                    b"Content-Length: 3\r\n\r\n5\r\nfirst\r\n"
                )
                assert go_on.wait(PATIENCE)
                other.sendall(b"6\r\nsecond\r\n0\r\nX-Trailer: 1\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        with connect(port) as client:
            client.sendall(request("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/"))
            received = b""
            while b"first" not in received:
                received += client.recv(65536)
            go_on.set()
            received += b"".join(iter(lambda: client.recv(65536), b""))
        thread.join(PATIENCE)
    headers, body = _split(received)
    assert b"Transfer-Encoding: chunked" in headers
    assert not any(line.startswith((b"Content-Length", b"X-Trailer")) for line in headers)
    assert body == b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n"


def test_a_response_that_ends_with_the_connection_is_chunked(port: int) -> None:
    with _raw_server(b"HTTP/1.0 200 OK\r\n\r\nall of it") as (url, _):
        headers, body = _split(ask(port, "GET", url))
    assert b"Transfer-Encoding: chunked" in headers
    assert body == b"9\r\nall of it\r\n0\r\n\r\n"


def test_a_client_of_http_1_0_gets_no_chunks(port: int) -> None:
    with _raw_server(b"HTTP/1.0 200 OK\r\n\r\nall of it") as (url, _):
        headers, body = _split(exchange(port, f"GET {url}/ HTTP/1.0\r\n\r\n".encode()))
    assert b"Transfer-Encoding: chunked" not in headers
    assert body == b"all of it"


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nbegun",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\nxyz\r\n",
    ],
)
def test_the_client_notices_that_the_server_broke_off(
    port: int, reply: bytes, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with _raw_server(reply) as (url, _):
        headers, body = _split(ask(port, "GET", url))
    assert b"begun" in body
    if b"Content-Length: 100" in headers:
        assert len(body) < 100
    else:
        assert not body.endswith(b"0\r\n\r\n")
    assert "forwarding broke off" in caplog.text
    assert "Traceback" not in caplog.text
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("headers", "body", "length"),
    [
        ([("Content-Length", "9")], b"some body", "9"),
        ([("Content-Length", "0")], b"", "0"),
        ([("Transfer-Encoding", "chunked")], b"4\r\nsome\r\n5\r\n body\r\n0\r\n\r\n", None),
        ([("Content-Length", "9"), ("Expect", "100-continue")], b"some body", "9"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_the_body_of_a_request_is_passed_on(
    port: int, method: str, headers: list[tuple[str, str]], body: bytes, length: str | None
) -> None:
    end = b"0\r\n\r\n" if length is None else b"some body" if body else b"\r\n\r\n"
    with _raw_server(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", after=end) as (
        url,
        received,
    ):
        answer = ask(port, method, f"{url}/x", ("Content-Type", "text/x"), *headers, body=body)
    assert b" 201 Created\r\n" in answer
    sent, content = _split(bytes(received))
    assert received.startswith(f"{method} /x HTTP/1.1\r\n".encode())
    assert b"Content-Type: text/x" in sent
    assert (b"Transfer-Encoding: chunked" in sent) == (length is None)
    assert length is None or f"Content-Length: {length}".encode() in sent
    assert not any(line.startswith(b"Expect") for line in sent)
    assert content == (b"9\r\nsome body\r\n0\r\n\r\n" if length is None else body) or (
        length is None and content == b"4\r\nsome\r\n5\r\n body\r\n0\r\n\r\n"
    )


def test_a_request_without_a_body_has_none(port: int) -> None:
    with _raw_server(b"HTTP/1.1 204 No Content\r\n\r\n") as (url, received):
        assert status(ask(port, "POST", url)) == 204
    assert b"Content-Length" not in received
    assert b"Transfer-Encoding" not in received


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Length", "5"), ("Content-Length", "6")],
        [("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
        [("Content-Length", "-1")],
        [("Content-Length", "+1")],
        [("Content-Length", "1_0")],
        [("Transfer-Encoding", "gzip, chunked")],
        [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
        [("Transfer-Encoding", "identity")],
    ],
)
def test_a_request_whose_end_is_not_clear_is_not_forwarded(
    port: int, headers: list[tuple[str, str]]
) -> None:
    with _answering(Answer()) as server:
        answer = ask(port, "POST", f"{server.url}/", *headers)
        assert server.received == []
    assert status(answer) == 400
    assert answer.endswith(b"the length of its body is not clear)\n")


@pytest.mark.parametrize(
    "sent",
    [
        (("Content-Length", "100"), b"begun"),
        (("Transfer-Encoding", "chunked"), b"9\r\nbegun"),
        (("Transfer-Encoding", "chunked"), b"5\r\nbegun\r\n"),
    ],
)
def test_the_server_notices_that_the_client_broke_off(
    port: int, sent: tuple[tuple[str, str], bytes]
) -> None:
    header, body = sent
    with _raw_server(b"", after=b"never sent") as (url, received), connect(port) as client:
        client.sendall(request("POST", url, header, body=body))
        client.shutdown(socket.SHUT_WR)
        assert b" 400 " in client.recv(65536)
    assert not received.endswith(b"0\r\n\r\n")
    assert b"POST / HTTP/1.1" in received


def test_an_answer_before_the_end_of_the_body_is_passed_on(port: int) -> None:
    """A server may refuse an upload from its headers, and close the connection."""
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno\n"
    with _raw_server(refusal) as (url, _):
        body = bytes(8 * 1024 * 1024)
        with connect(port) as client, contextlib.suppress(ConnectionError):
            sending = threading.Thread(target=_send, args=(client, url, body))
            sending.start()
            answer = client.recv(65536)
            sending.join(PATIENCE)
    # The reset that follows the refusal may overtake it.
    assert status(answer) in {413, 502}


def _send(client: socket.socket, url: str, body: bytes) -> None:
    with contextlib.suppress(OSError):
        header = ("Content-Length", str(len(body)))
        client.sendall(request("POST", url, header, body=body))


def test_if_the_client_goes_away_the_other_connection_is_closed(port: int) -> None:
    closed = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as other:
                other.settimeout(PATIENCE)
                other.recv(65536)
                other.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
                try:
                    while True:
                        other.sendall(bytes(65536))
                except ConnectionError:
                    closed.set()

        thread = threading.Thread(target=serve)
        thread.start()
        with connect(port) as client:
            client.sendall(request("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/"))
            client.recv(1000)
        assert closed.wait(PATIENCE)
        thread.join(PATIENCE)


def test_a_host_that_cannot_be_reached_is_named(port: int) -> None:
    with closed_port() as url:
        answer = ask(port, "GET", f"{url}/secret-path")
    assert status(answer) == 502
    assert answer.endswith(f"could not reach {url.removeprefix('http://')}\n".encode())
    assert b"secret-path" not in answer


@pytest.mark.parametrize("host", ["does-not-exist.invalid", "a" * 70, "a..b", "256.256.256.256"])
def test_a_host_without_an_address_is_named(port: int, host: str) -> None:
    answer = ask(port, "GET", f"http://{host}/")
    assert status(answer) in {400, 502}
    assert b"pyoci-flask run" in answer


def test_a_server_that_does_not_answer_in_time_is_given_up() -> None:
    with silent_server() as url, run_server(Forward(DIRECT, (PATIENCE, 0.2))) as port:
        answer = ask(port, "GET", url)
    assert status(answer) == 504
    assert b"did not answer in time" in answer


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000 + b"\r\n\r\n",
    ],
)
def test_a_response_that_cannot_be_passed_on_is_a_bad_gateway(
    port: int, reply: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with _raw_server(reply) as (url, _):
        assert status(ask(port, "GET", url)) == 502
    assert capfd.readouterr() == ("", "")


def test_an_interim_response_100_is_skipped(port: int) -> None:
    reply = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with _raw_server(reply) as (url, _):
        assert ask(port, "GET", url).endswith(b"\r\n\r\nok")


@pytest.mark.parametrize(("method", "expected"), [("OPTIONS", "*"), ("GET", "/")])
def test_a_url_without_a_path_is_that_of_the_server(port: int, method: str, expected: str) -> None:
    with _raw_server(b"HTTP/1.1 204 No Content\r\n\r\n") as (url, received):
        ask(port, method, url)
    assert received.startswith(f"{method} {expected} HTTP/1.1\r\n".encode())


def test_a_request_to_the_proxy_itself_goes_round_once() -> None:
    asked = []

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        asked.append(environ["REQUEST_URI"])
        if environ["REQUEST_URI"].startswith("http"):
            return forward(environ, start_response)
        start_response("401 Unauthorized", [])
        return []

    forward = Forward(DIRECT)
    with run_server(application) as port:
        assert status(ask(port, "GET", f"http://127.0.0.1:{port}/a")) == 401
    assert asked == [f"http://127.0.0.1:{port}/a", "/a"]


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_the_users_own_proxy_is_asked_with_its_login(variable: str) -> None:
    with _answering(Answer(body=b"through")) as proxy:
        url = proxy.url.replace("http://", "http://bob:p%40ss%3Aword@")
        with run_server(Forward(Network.from_env({variable: url}))) as port:
            login = ("Proxy-Authorization", "Basic of-this-run")
            answer = ask(port, "GET", "http://a.example:81/%7e?b", login, ("X", "1"))
        (received,) = proxy.received
    assert answer.endswith(b"\r\n\r\nthrough")
    assert received.target == "http://a.example:81/%7e?b"
    assert received.headers.items() == [
        ("Host", "a.example:81"),
        ("X", "1"),
        ("Via", "1.1 pyoci-flask"),
        ("Proxy-Authorization", "Basic " + base64.b64encode(b"bob:p@ss:word").decode()),
    ]


def test_a_proxy_without_scheme_and_login_is_asked() -> None:
    with _answering(Answer(body=b"through")) as proxy:
        network = Network.from_env({"http_proxy": proxy.netloc})
        with run_server(Forward(network)) as port:
            assert ask(port, "GET", "http://a.example/").endswith(b"through")
        assert "Proxy-Authorization" not in proxy.received[0].headers


@pytest.mark.parametrize("excepted", ["127.0.0.1", "*", "a.example, 127.0.0.1"])
def test_the_users_own_proxy_is_not_asked_for_hosts_that_are_excepted(excepted: str) -> None:
    with _answering(Answer(body=b"direct")) as server, closed_port() as proxy:
        network = Network.from_env({"http_proxy": proxy, "no_proxy": excepted})
        with run_server(Forward(network)) as port:
            assert ask(port, "GET", f"{server.url}/").endswith(b"direct")


def test_a_proxy_that_refuses_its_login_is_not_mistaken_for_this_one() -> None:
    refusal = Answer(407, b"", {"Proxy-Authenticate": 'Basic realm="company"'})
    with _answering(refusal) as proxy:
        url = proxy.url.replace("http://", "http://bob:hidden-password@")
        with run_server(Forward(Network.from_env({"http_proxy": url}))) as port:
            answer = ask(port, "GET", "http://a.example/")
    assert status(answer) == 502
    assert b"asks for another user and password" in answer
    assert b"hidden-password" not in answer
    assert b"Proxy-Authenticate" not in answer


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1", "http://", "http://[::1", "://x"])
def test_a_proxy_of_another_kind_is_reported(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    with run_server(Forward(Network.from_env({"http_proxy": url}))) as port:
        answer = ask(port, "GET", "http://a.example/")
    assert status(answer) == 502
    assert b"the proxy in HTTP_PROXY or ALL_PROXY" in answer
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("trusted", [True, False])
def test_the_connection_to_a_proxy_with_tls_is_verified(
    tmp_path: Path,
    trusted: bool,
) -> None:
    certificate, key = self_signed(tmp_path)
    with http_double(lambda _: Answer(body=b"through"), (certificate, key)) as proxy:
        environ: Mapping[str, str] = {"http_proxy": proxy.url}
        extra = {"SSL_CERT_FILE": str(certificate)} if trusted else {}
        with run_server(Forward(Network.from_env({**environ, **extra}))) as port:
            answer = ask(port, "GET", "http://a.example/")
    assert status(answer) == (200 if trusted else 502)
