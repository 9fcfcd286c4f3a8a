import gzip
import io
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyoci_flask.errors import (
    RegistryError,
    RegistryTimeoutError,
    RegistryUnreachableError,
    TransferBrokenError,
)
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.session import USER_AGENT, Reply, Transport
from pyoci_flask.transport.wsgi import WSGIAdapter
from tests.doubles import closed_port, silent_server
from tests.unit.doubles import Answer, Received, http_double, in_turn

BUSY = Answer(503)


def _get(transport: Transport, url: str, *, idempotent: bool = False, **headers: str) -> Reply:
    return transport.send("GET", f"{url}/x", registry=url, headers=headers, idempotent=idempotent)


@pytest.fixture
def hasty() -> Iterator[Transport]:
    """A transport that waits for a fifth of a second only."""
    made = Transport(network=Network(), pool_size=4, connect_timeout=0.2, read_timeout=0.2)
    yield made
    made.close()


def test_request_carries_its_headers_and_nothing_of_ours_but_two(transport: Transport) -> None:
    with http_double(lambda _: Answer()) as server:
        _get(transport, server.url, Accept="x/y").close()
        assert dict(server.received[0].headers) == {
            "Host": server.netloc,
            "User-Agent": USER_AGENT,
            "Accept-Encoding": "identity",
            "Accept": "x/y",
        }


def test_reply_has_status_headers_body_and_what_it_was_asked_with(transport: Transport) -> None:
    with http_double(lambda _: Answer(404, b"nothing", {"X-Some": "thing"})) as server:
        with _get(transport, server.url, Authorization="Basic eDp5") as reply:
            assert (reply.status, reply.headers["x-some"]) == (404, "thing")
            assert reply.read(7) == b"nothing"
        assert (reply.url, reply.authorization) == (f"{server.url}/x", "Basic eDp5")


def test_body_over_the_limit_is_refused(transport: Transport) -> None:
    with http_double(lambda _: Answer(body=b"12345")) as server:
        assert _get(transport, server.url).read(5) == b"12345"
        with pytest.raises(RegistryError, match="sent over 4 bytes"):
            _get(transport, server.url).read(4)


def test_limit_counts_decoded_bytes(transport: Transport) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with http_double(lambda _: Answer(body=bomb, headers={"Content-Encoding": "gzip"})) as server:
        with pytest.raises(RegistryError, match="sent over 1000000 bytes"):
            _get(transport, server.url).read(1_000_000)
        small = gzip.compress(b"small")
    with http_double(lambda _: Answer(body=small, headers={"Content-Encoding": "gzip"})) as server:
        assert _get(transport, server.url).read(5) == b"small"


def test_streamed_body_is_not_unpacked(transport: Transport) -> None:
    packed = gzip.compress(b"a source distribution" * 1000)
    with http_double(lambda _: Answer(body=packed, headers={"Content-Encoding": "gzip"})) as server:
        assert b"".join(_get(transport, server.url).chunks()) == packed


@pytest.mark.parametrize("stream", [True, False])
def test_body_that_ends_early_is_a_broken_transfer(transport: Transport, stream: bool) -> None:
    with http_double(lambda _: Answer(body=b"x" * 1000, sent=400)) as server:
        reply = _get(transport, server.url)
        with pytest.raises(TransferBrokenError, match=f"^{server.netloc} broke off"):
            b"".join(reply.chunks()) if stream else reply.read(5000)


def test_connection_is_used_again_after_a_body_was_read(transport: Transport) -> None:
    with http_double(lambda _: Answer(body=b"x")) as server:
        for _ in range(5):
            with _get(transport, server.url) as reply:
                assert reply.read(10) == b"x"
        assert {one.connection for one in server.received} == {0}


def test_connection_is_used_again_after_a_small_body_was_left(transport: Transport) -> None:
    with http_double(lambda _: Answer(404, b"x" * 1000)) as server:
        for _ in range(5):
            _get(transport, server.url).close()
        assert {one.connection for one in server.received} == {0}


def test_connection_is_closed_when_a_large_body_is_left(transport: Transport) -> None:
    with http_double(lambda _: Answer(body=bytes(2_000_000))) as server:
        reply = _get(transport, server.url)
        next(reply.chunks())
        reply.close()
        with _get(transport, server.url) as again:
            assert len(again.read(3_000_000)) == 2_000_000
        assert [one.connection for one in server.received] == [0, 1]


def test_one_transport_serves_many_threads(transport: Transport) -> None:
    with http_double(lambda received: Answer(body=received.target.encode())) as server:

        def ask(number: int) -> bytes:
            url = f"{server.url}/{number}"
            with transport.send("GET", url, registry=server.url, headers={}) as reply:
                return reply.read(100)

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask, range(200)))
        assert answers == [f"/{number}".encode() for number in range(200)]
        assert len({one.connection for one in server.received}) <= 16


def test_cookies_are_never_sent_back(transport: Transport) -> None:
    with http_double(lambda _: Answer(headers={"Set-Cookie": "sid=secret; Path=/"})) as server:
        for _ in range(3):
            _get(transport, server.url).close()
        assert [one.headers["Cookie"] for one in server.received] == [None] * 3


def test_netrc_and_proxies_of_the_process_are_not_used(
    transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login server password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    with closed_port() as proxy, http_double(lambda _: Answer()) as server:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("HTTP_PROXY", proxy)
        _get(transport, server.url).close()
        _get(transport, server.url, Authorization="Bearer mine").close()
        assert [one.authorization for one in server.received] == [None, "Bearer mine"]


def test_configured_proxy_is_used() -> None:
    with http_double(lambda _: Answer(body=b"via proxy")) as proxy:
        made = Transport(network=Network({"http": proxy.url}), pool_size=1)
        with _get(made, "http://registry.invalid") as reply:
            assert reply.read(100) == b"via proxy"
        made.close()
        assert proxy.received[0].target == "http://registry.invalid/x"


def test_redirects_are_left_to_the_caller(transport: Transport) -> None:
    with http_double(lambda _: Answer(307, headers={"Location": "/elsewhere"})) as server:
        with _get(transport, server.url) as reply:
            assert reply.status == 307
        assert len(server.received) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_idempotent_call_is_tried_again(transport: Transport, status: int) -> None:
    with http_double(in_turn(Answer(status), Answer(body=b"now"))) as server:
        with _get(transport, server.url, idempotent=True) as reply:
            assert (reply.status, reply.read(10)) == (200, b"now")
        assert len(server.received) == 2


def test_idempotent_call_is_tried_three_times_and_the_last_answer_counts(
    transport: Transport,
) -> None:
    with http_double(in_turn(BUSY, BUSY, Answer(503, b"third"), Answer())) as server:
        with _get(transport, server.url, idempotent=True) as reply:
            assert (reply.status, reply.read(10)) == (503, b"third")
        assert len(server.received) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 501])
def test_final_answer_is_not_asked_for_again(transport: Transport, status: int) -> None:
    with http_double(lambda _: Answer(status)) as server:
        _get(transport, server.url, idempotent=True).close()
        assert len(server.received) == 1


def test_other_calls_are_tried_once(transport: Transport) -> None:
    with http_double(lambda _: BUSY) as server:
        assert _get(transport, server.url).status == 503
        assert len(server.received) == 1
    with http_double(lambda _: Answer(reset=True)) as server:
        with pytest.raises(RegistryUnreachableError):
            _get(transport, server.url)
        assert len(server.received) == 1


def test_reset_connection_is_tried_again(transport: Transport) -> None:
    with http_double(in_turn(Answer(reset=True), Answer(body=b"now"))) as server:
        with _get(transport, server.url, idempotent=True) as reply:
            assert reply.read(10) == b"now"
        assert len(server.received) == 2


def test_kept_connection_that_the_server_closed_is_replaced(transport: Transport) -> None:
    with http_double(in_turn(Answer(), Answer(reset=True), Answer(body=b"now"))) as server:
        _get(transport, server.url).close()
        with _get(transport, server.url, idempotent=True) as reply:
            assert reply.read(10) == b"now"


def test_short_retry_after_is_waited_for(transport: Transport) -> None:
    with http_double(in_turn(Answer(429, headers={"Retry-After": "1"}), Answer())) as server:
        start = time.monotonic()
        assert _get(transport, server.url, idempotent=True).status == 200
        assert time.monotonic() - start >= 1


@pytest.mark.parametrize("value", ["4", "86400", "Wed, 21 Oct 2099 07:28:00 GMT", "x", "-1", "²"])
def test_long_retry_after_is_left_to_the_client(transport: Transport, value: str) -> None:
    with http_double(lambda _: Answer(429, headers={"Retry-After": value})) as server:
        with _get(transport, server.url, idempotent=True) as reply:
            assert (reply.status, reply.headers["Retry-After"]) == (429, value)
        assert len(server.received) == 1


def test_body_is_sent_with_its_length_and_anew_for_each_try(transport: Transport) -> None:
    content = os.urandom(100_000)
    for body in (content, io.BytesIO(content)):
        with http_double(in_turn(BUSY, Answer(201))) as server:
            reply = transport.send(
                "PUT",
                f"{server.url}/x",
                registry=server.url,
                headers={},
                body=body,
                length=len(content),
                idempotent=True,
            )
            assert reply.status == 201
            assert [one.body for one in server.received] == [content, content]
            for one in server.received:
                assert one.headers["Content-Length"] == "100000"
                assert one.headers["Transfer-Encoding"] is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_changing_call_without_a_body_says_so(transport: Transport, method: str) -> None:
    with http_double(lambda _: Answer()) as server:
        transport.send(method, f"{server.url}/x", registry=server.url, headers={}).close()
        assert server.received[0].headers["Content-Length"] == "0"


def test_port_that_nobody_listens_on_is_unreachable(transport: Transport) -> None:
    with closed_port() as url, pytest.raises(RegistryUnreachableError, match=url[7:]):
        _get(transport, url)


def test_server_that_does_not_answer_is_a_timeout_and_not_tried_again(hasty: Transport) -> None:
    with silent_server() as url:
        start = time.monotonic()
        with pytest.raises(RegistryTimeoutError, match=f"{url[7:]} did not answer in time"):
            _get(hasty, url, idempotent=True)
        assert 0.2 <= time.monotonic() - start < 2


def test_patience_replaces_the_read_timeout(hasty: Transport) -> None:
    go_on = threading.Event()

    def slow(_: Received) -> Answer:
        go_on.wait(0.5)
        return Answer(body=b"late")

    with http_double(slow) as server:
        reply = hasty.send("GET", server.url, registry=server.url, headers={}, patience=10)
        with reply:
            assert reply.read(10) == b"late"


def test_body_that_stops_arriving_is_a_timeout(hasty: Transport) -> None:
    go_on = threading.Event()
    with http_double(lambda _: Answer(body=b"x" * 10, pause=go_on)) as server:
        reply = _get(hasty, server.url)
        with pytest.raises(RegistryTimeoutError, match="stopped sending"):
            reply.read(100)
        go_on.set()


def test_connection_that_is_not_accepted_is_unreachable(hasty: Transport) -> None:
    with socket.socket() as full, socket.socket() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting.connect(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        with pytest.raises((RegistryUnreachableError, RegistryTimeoutError), match="in time"):
            _get(hasty, url)


def test_certificate_is_checked(transport: Transport, certificate: tuple[Path, Path]) -> None:
    with (
        http_double(lambda _: Answer(), certificate) as server,
        pytest.raises(RegistryUnreachableError, match="its certificate or TLS was not accepted"),
    ):
        _get(transport, server.url)


def test_certificate_of_the_configured_authority_is_accepted(
    certificate: tuple[Path, Path],
) -> None:
    made = Transport(network=Network(ca_bundle=str(certificate[0])), pool_size=1)
    with http_double(lambda _: Answer(body=b"secure"), certificate) as server:
        with _get(made, server.url) as reply:
            assert reply.read(10) == b"secure"
        made.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 9999 x\r\n\r\n",
        b"",
    ],
)
def test_answer_that_is_no_http_is_no_answer(transport: Transport, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises((RegistryUnreachableError, RegistryError)):
            _get(transport, f"http://127.0.0.1:{listener.getsockname()[1]}").read(100)
        thread.join()


def _hello(_: object, start_response: "object") -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])  # type: ignore[operator]
    return [b"mounted"]


def test_mounted_registry_is_reached_by_calls_on_its_behalf_only(transport: Transport) -> None:
    transport.mount("http://embedded", WSGIAdapter(_hello))
    with transport.send(
        "GET", "http://embedded/v2/", registry="http://embedded", headers={}
    ) as own:
        assert own.read(10) == b"mounted"
    for foreign in ("https://ghcr.io", "http://embedded:80", "http://embedded.evil", ""):
        with pytest.raises(RegistryUnreachableError):
            transport.send("GET", "http://embedded/v2/", registry=foreign, headers={})


class _Calls:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, int | None, str, int, int]] = []

    def call_started(self, method: str, url: str) -> "_Call":
        del url
        return _Call(method, self.ends)


class _Call:
    def __init__(self, method: str, ends: list[tuple[str, int | None, str, int, int]]) -> None:
        self._method = method
        self._ends = ends

    def finished(
        self, *, status: int | None, error: BaseException | None, sent: int, received: int
    ) -> None:
        self._ends.append((self._method, status, type(error).__name__, sent, received))


def test_observers_are_told_once_of_each_exchange() -> None:
    calls = _Calls()
    made = Transport(network=Network(), pool_size=1, observers=[calls])
    with http_double(in_turn(Answer(body=b"12345"), BUSY, Answer(reset=True))) as server:
        with _get(made, server.url) as reply:
            reply.read(10)
        assert calls.ends == [("GET", 200, "NoneType", 0, 5)]
        made.send("PUT", server.url, registry=server.url, headers={}, body=b"123").close()
        assert calls.ends[1:] == [("PUT", 503, "NoneType", 3, 0)]
        with pytest.raises(RegistryUnreachableError):
            _get(made, server.url)
        assert calls.ends[2:] == [("GET", None, "ConnectionError", 0, 0)]
    made.close()
