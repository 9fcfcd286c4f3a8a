"""The sockets on which gunicorn's threads wait for clients."""

import errno
import socket
import time
from collections.abc import Iterator

import pytest

from pyoci_flask.server.client_socket import ClientSocket, ClientStalledError
from pyoci_flask.server.connection import unmapped
from tests.patience import PATIENCE

_IDLE = 0.2


@pytest.fixture
def peers() -> Iterator[tuple[ClientSocket, socket.socket]]:
    """The server's end of a connection, and the client's."""
    ours, theirs = socket.socketpair()
    with ClientSocket(ours, _IDLE) as server, theirs:
        server.setblocking(True)
        yield server, theirs


def test_a_client_that_sends_nothing_ends_the_read(
    peers: tuple[ClientSocket, socket.socket],
) -> None:
    server, _ = peers
    with pytest.raises(TimeoutError) as caught:
        server.recv(10)
    assert isinstance(caught.value, ClientStalledError)
    assert caught.value.errno == errno.ECONNRESET
    assert server.stalled


def test_what_a_client_sends_is_read(peers: tuple[ClientSocket, socket.socket]) -> None:
    server, client = peers
    client.sendall(b"hello")
    assert server.recv(10) == b"hello"
    assert not server.stalled


def test_headers_that_drip_end_at_their_deadline(
    peers: tuple[ClientSocket, socket.socket],
) -> None:
    server, client = peers
    server.deadline = time.monotonic() + 2 * _IDLE
    started = time.monotonic()
    with pytest.raises(ClientStalledError):  # noqa: PT012 -- which byte is the last is not known
        while time.monotonic() - started < PATIENCE:
            client.sendall(b"x")
            server.recv(1)


def test_a_client_that_takes_nothing_ends_the_write(
    peers: tuple[ClientSocket, socket.socket],
) -> None:
    server, _ = peers
    with pytest.raises(ClientStalledError):
        server.sendall(bytes(50_000_000))
    assert server.stalled


def test_a_non_blocking_socket_stays_one(peers: tuple[ClientSocket, socket.socket]) -> None:
    server, _ = peers
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.recv(1)
    assert not server.stalled


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (("::ffff:192.0.2.7", 1234, 0, 0), ("192.0.2.7", 1234)),
        (("2001:db8::7", 1234, 0, 0), ("2001:db8::7", 1234, 0, 0)),
        (("192.0.2.7", 1234), ("192.0.2.7", 1234)),
        ("", ""),
    ],
)
def test_ipv4_clients_of_an_ipv6_socket_keep_their_ipv4_address(
    client: object, expected: object
) -> None:
    assert expected == unmapped(client)
