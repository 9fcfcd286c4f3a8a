import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pyoci_flask.errors import (
    EgressError,
    RegistryError,
    RegistryTimeoutError,
    RegistryUnreachableError,
)
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.request import Request
from pyoci_flask.transport.session import Transport
from tests.patience import PATIENCE
from tests.unit.conftest import Callers
from tests.unit.doubles import LOOPBACK, Answer, http_double


@contextlib.contextmanager
def raw_server(serve: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """Accept one connection and hand it to `serve`, with the event that ends the test."""
    ending = threading.Event()

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                serve(connection, ending)

    with socket.create_server((LOOPBACK, 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,))
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        finally:
            ending.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture
def quick() -> Iterator[Transport]:
    made = Transport(network=Network(), pool_size=2, connect_timeout=1, read_timeout=0.5)
    yield made
    made.close()


def test_headers_that_trickle_in_end_with_the_read_time_out(quick: Transport) -> None:
    def trickle(connection: socket.socket, ending: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for number in itertools.count():
            connection.sendall(f"X-{number}: y\r\n".encode())
            if ending.wait(0.1):
                return

    with raw_server(trickle) as url:
        begun = time.monotonic()
        with pytest.raises(RegistryTimeoutError, match="did not answer in time"):
            quick.send(Request("GET", f"{url}/x", url))
        assert time.monotonic() - begun < PATIENCE


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(500)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 banana\r\n\r\n",
    ],
    ids=["500 headers", "100 kB header", "not HTTP", "no status"],
)
def test_head_that_is_no_answer_of_a_registry_is_its_fault(quick: Transport, head: bytes) -> None:
    def answer(connection: socket.socket, ending: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(head)
        connection.shutdown(socket.SHUT_WR)
        ending.wait(PATIENCE)

    with (
        raw_server(answer) as url,
        pytest.raises((RegistryUnreachableError, RegistryError, RegistryTimeoutError)),
    ):
        quick.send(Request("GET", f"{url}/x", url))


def test_connection_serves_the_next_call_after_a_deadline_was_kept(transport: Transport) -> None:
    with http_double(lambda _: Answer(body=b"yes")) as server:
        for _ in range(5):
            with transport.send(Request("GET", f"{server.url}/", server.url)) as reply:
                assert reply.read(10) == b"yes"
        assert {one.connection for one in server.received} == {0}


def test_headers_over_tls_pass_the_guard_too(
    tls_caller_of: Callers, certificate: tuple[object, object]
) -> None:
    del certificate  # the one that the transport trusts
    with pytest.raises(EgressError):
        tls_caller_of.transport.send(
            Request("GET", "https://169.254.169.254/", "https://169.254.169.254")
        )


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "2852039166", "0xa9fea9fe", "[::ffff:a9fe:a9fe]", "0.0.0.0"],
)
def test_proxy_is_never_asked_for_an_infrastructure_address(host: str) -> None:
    with http_double(lambda _: Answer()) as proxy:
        made = Transport(network=Network({"http": proxy.url}), pool_size=1, listed=lambda *_: True)
        with pytest.raises(EgressError):
            made.send(Request("GET", f"http://{host}/", "http://good.example"))
        made.close()
        assert proxy.received == []


@pytest.mark.parametrize("host", ["10.0.0.1", "127.1", "localhost", "x.localhost", "[::1]"])
def test_proxy_is_not_asked_for_a_private_address_where_those_are_denied(host: str) -> None:
    with http_double(lambda _: Answer()) as proxy:
        made = Transport(
            network=Network({"http": proxy.url}),
            pool_size=1,
            listed=lambda *_: True,
            private_networks=False,
        )
        with pytest.raises(EgressError, match="PYOCI_PRIVATE_NETWORKS"):
            made.send(Request("GET", f"http://{host}/", f"http://{host}"))
        made.close()
        assert proxy.received == []


def test_proxy_without_a_list_of_registries_is_not_used() -> None:
    with http_double(lambda _: Answer()) as proxy:
        made = Transport(network=Network({"http": proxy.url}), pool_size=1)
        with pytest.raises(EgressError, match="PYOCI_REGISTRIES"):
            made.send(Request("GET", "http://ghcr.test/", "http://ghcr.test"))
        made.close()
        assert proxy.received == []


def test_registry_that_no_proxy_names_needs_no_list() -> None:
    with http_double(lambda _: Answer()) as proxy, http_double(lambda _: Answer(204)) as server:
        made = Transport(network=Network({"http": proxy.url}, LOOPBACK), pool_size=1)
        with made.send(Request("GET", f"{server.url}/", server.url)) as reply:
            assert reply.status == 204
        made.close()
        assert proxy.received == []


def test_private_address_is_refused_and_not_connected_to_where_those_are_denied() -> None:
    with http_double(lambda _: Answer()) as server:
        made = Transport(network=Network(), pool_size=1, private_networks=False)
        for url in (server.url, server.url.replace(LOOPBACK, "localhost")):
            with pytest.raises(EgressError, match="PYOCI_PRIVATE_NETWORKS=deny"):
                made.send(Request("GET", f"{url}/", url, idempotent=True))
        made.close()
        assert server.received == []
