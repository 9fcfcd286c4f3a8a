import contextlib
import io
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyoci_flask.errors import (
    RateLimitedError,
    RegistryError,
    RegistryTimeoutError,
    RegistryUnreachableError,
)
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.reply import Reply
from pyoci_flask.transport.request import Request
from pyoci_flask.transport.session import Transport
from tests.doubles import closed_port
from tests.patience import PATIENCE
from tests.servers import wait_until
from tests.unit.doubles import Answer, Received, http_double, in_turn
from tests.wsgi_adapter import WSGIAdapter

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

BUSY = Answer(503)


def _get(transport: Transport, url: str, *, idempotent: bool = False, **headers: str) -> Reply:
    return transport.send(Request("GET", f"{url}/x", url, headers, idempotent=idempotent))


@pytest.fixture
def hasty() -> Iterator[Transport]:
    """A transport that waits for a fifth of a second only."""
    made = Transport(network=Network(), pool_size=4, connect_timeout=0.2, read_timeout=0.2)
    yield made
    made.close()


@pytest.fixture
def patient() -> Iterator[Transport]:
    """A transport with a time-out that a server which answers at once meets on a slow machine."""
    made = Transport(network=Network(), pool_size=4, connect_timeout=2, read_timeout=2)
    yield made
    made.close()


@pytest.mark.parametrize(
    "answer",
    [Answer(408), Answer(429), Answer(503, headers={"Retry-After": "0"}), Answer(500)],
)
def test_call_that_may_not_wait_is_tried_once(transport: Transport, answer: Answer) -> None:
    with http_double(lambda _: answer) as server:
        request = Request("GET", f"{server.url}/x", server.url, idempotent=True, may_wait=False)
        with transport.send(request) as reply:
            assert reply.status == answer.status
        assert len(server.received) == 1


def test_call_that_may_not_wait_gives_up_at_once_where_others_wait(transport: Transport) -> None:
    with http_double(lambda _: Answer(429, headers={"Retry-After": "60"})) as server:
        request = Request("GET", f"{server.url}/x", server.url, idempotent=True, may_wait=False)
        transport.send(request).close()
        with pytest.raises(RateLimitedError) as caught:
            transport.send(request)
        assert caught.value.retry_after is not None
        assert len(server.received) == 1


def test_lost_connection_of_a_call_that_may_not_wait_is_final(transport: Transport) -> None:
    with http_double(lambda _: Answer(reset=True)) as server:
        request = Request("GET", f"{server.url}/x", server.url, idempotent=True, may_wait=False)
        with pytest.raises(RegistryUnreachableError):
            transport.send(request)
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


def test_a_mounted_registry_is_asked_once(transport: Transport) -> None:
    asked = []

    def busy(_: object, start_response: "StartResponse") -> list[bytes]:
        asked.append(1)
        start_response("503 Service Unavailable", [])
        return []

    transport.mount("http://embedded", WSGIAdapter(busy))
    assert _get(transport, "http://embedded", idempotent=True).status == 503
    assert len(asked) == 1


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


def test_port_that_nobody_listens_on_is_unreachable(transport: Transport) -> None:
    with closed_port() as url, pytest.raises(RegistryUnreachableError, match=url[7:]):
        _get(transport, url)


def test_server_that_does_not_answer_is_a_timeout_and_not_tried_again(hasty: Transport) -> None:
    go_on = threading.Event()

    def hang(_: Received) -> Answer:
        go_on.wait(PATIENCE)
        return Answer()

    with http_double(hang) as server:
        start = time.monotonic()
        with pytest.raises(RegistryTimeoutError, match=f"{server.netloc} did not answer in time"):
            _get(hasty, server.url, idempotent=True)
        assert time.monotonic() - start >= 0.2
        wait_until(lambda: len(server.received) == 1)
        go_on.set()
    assert len(server.received) == 1


def test_patience_replaces_the_read_timeout(hasty: Transport) -> None:
    go_on = threading.Event()

    def slow(_: Received) -> Answer:
        go_on.wait(0.5)
        return Answer(body=b"late")

    with http_double(slow) as server:
        reply = hasty.send(Request("GET", server.url, server.url, patience=PATIENCE))
        with reply:
            assert reply.read(10) == b"late"


@pytest.mark.slow
def test_body_that_stops_arriving_is_a_timeout(patient: Transport) -> None:
    go_on = threading.Event()
    with http_double(lambda _: Answer(body=b"x" * 10, pause=go_on)) as server:
        reply = _get(patient, server.url)
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
        pytest.raises(RegistryUnreachableError, match="its certificate is not trusted"),
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


def test_server_that_pauses_while_it_takes_a_body_is_waited_for(hasty: Transport) -> None:
    length = 30_000_000  # more than sockets keep
    body = io.BytesIO(bytes(length))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                request = connection.makefile("rb")
                while request.readline().strip():
                    pass  # the headers
                threading.Event().wait(0.7)  # more than the times to connect and to answer
                if len(request.read(length)) == length:
                    connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with hasty.send(
            Request("PUT", url, url, body=body, length=length, patience=PATIENCE)
        ) as reply:
            assert reply.status == 201
        thread.join()


@pytest.mark.slow
def test_document_without_a_length_that_trickles_is_not_taken_for_whole(patient: Transport) -> None:
    gone = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(10_000)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while not gone.wait(0.05):
                    connection.sendall(b"x")

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(RegistryTimeoutError, match="took too long"):
            _get(patient, url).read(10_000)
        gone.set()
        thread.join()
