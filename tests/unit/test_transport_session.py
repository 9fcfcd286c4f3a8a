import gzip
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyoci_flask.errors import (
    RegistryError,
    RegistryUnreachableError,
    TransferBrokenError,
)
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.reply import Reply
from pyoci_flask.transport.request import Request
from pyoci_flask.transport.session import USER_AGENT, Transport
from tests.doubles import closed_port
from tests.unit.doubles import Answer, http_double, in_turn
from tests.wsgi_adapter import WSGIAdapter

BUSY = Answer(503)


def _get(transport: Transport, url: str, *, idempotent: bool = False, **headers: str) -> Reply:
    return transport.send(Request("GET", f"{url}/x", url, headers, idempotent=idempotent))


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
        with pytest.raises(RegistryError, match="sent more than 4 bytes"):
            _get(transport, server.url).read(4)


def test_limit_counts_decoded_bytes(transport: Transport) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with http_double(lambda _: Answer(body=bomb, headers={"Content-Encoding": "gzip"})) as server:
        with pytest.raises(RegistryError, match="sent more than 1000000 bytes"):
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
            with transport.send(Request("GET", url, server.url)) as reply:
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


def test_configured_proxy_is_used_for_registries_of_a_list() -> None:
    with http_double(lambda _: Answer(body=b"via proxy")) as proxy:
        made = Transport(
            network=Network({"http": proxy.url}),
            pool_size=1,
            listed=lambda _, host, __: host == "registry.invalid",
        )
        with _get(made, "http://registry.invalid") as reply:
            assert reply.read(100) == b"via proxy"
        made.close()
        assert proxy.received[0].target == "http://registry.invalid/x"


def test_redirects_are_left_to_the_caller(transport: Transport) -> None:
    with http_double(lambda _: Answer(307, headers={"Location": "/elsewhere"})) as server:
        with _get(transport, server.url) as reply:
            assert reply.status == 307
        assert len(server.received) == 1


def test_body_is_sent_with_its_length_and_anew_for_each_try(transport: Transport) -> None:
    content = os.urandom(100_000)
    for body in (content, io.BytesIO(content)):
        with http_double(in_turn(BUSY, Answer(201))) as server:
            reply = transport.send(
                Request(
                    "PUT",
                    f"{server.url}/x",
                    server.url,
                    body=body,
                    length=len(content),
                    idempotent=True,
                )
            )
            assert reply.status == 201
            assert [one.body for one in server.received] == [content, content]
            for one in server.received:
                assert one.headers["Content-Length"] == "100000"
                assert one.headers["Transfer-Encoding"] is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_changing_call_without_a_body_says_so(transport: Transport, method: str) -> None:
    with http_double(lambda _: Answer()) as server:
        transport.send(Request(method, f"{server.url}/x", server.url)).close()
        assert server.received[0].headers["Content-Length"] == "0"


def _hello(_: object, start_response: "object") -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])  # type: ignore[operator]  # WSGI's
    return [b"mounted"]


def test_mounted_registry_is_reached_by_calls_on_its_behalf_only(transport: Transport) -> None:
    transport.mount("http://embedded", WSGIAdapter(_hello))
    with transport.send(Request("GET", "http://embedded/v2/", "http://embedded")) as own:
        assert own.read(10) == b"mounted"
    for foreign in ("https://ghcr.io", "http://embedded:80", "http://embedded.evil", ""):
        with pytest.raises(RegistryUnreachableError):
            transport.send(Request("GET", "http://embedded/v2/", foreign))


class _Calls:
    """An observer that keeps the end of each call."""

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
        made.send(Request("PUT", server.url, server.url, body=b"123")).close()
        assert calls.ends[1:] == [("PUT", 503, "NoneType", 3, 0)]
        with pytest.raises(RegistryUnreachableError):
            _get(made, server.url)
        assert calls.ends[2:] == [("GET", None, "ConnectionError", 0, 0)]
    made.close()
