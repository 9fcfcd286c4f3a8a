"""Where the server listens, and what it refuses to listen on."""

import socket
from pathlib import Path

import pytest

from pyoci_flask.binding import bind_addresses, open_to_everyone, refuse_public
from pyoci_flask.errors import ConfigurationError
from pyoci_flask.settings import Settings

_STORAGE = Path("storage")
_OPEN = Settings(port=8080, storage=_STORAGE)
_GUARDED = Settings(port=0, storage=_STORAGE, storage_users=Path("users"))


def _listening(address: str) -> socket.socket:
    """A socket on this address of gunicorn's, bound as gunicorn binds it."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    sock = socket.socket(family)
    sock.bind((host.strip("[]"), int(port)))
    sock.listen()
    return sock


@pytest.mark.parametrize("settings", [Settings(port=0), _GUARDED], ids=["no storage", "with users"])
def test_what_is_not_open_to_everyone_is_served_to_the_network(settings: Settings) -> None:
    assert not open_to_everyone(settings)
    addresses = bind_addresses(settings)
    with _listening(addresses[0]) as listener:
        socket.create_connection(("127.0.0.1", listener.getsockname()[1])).close()
    assert {host.rpartition(":")[0] for host in addresses} <= {"[::]", "0.0.0.0"}


def test_storage_without_users_is_served_on_loopback_only() -> None:
    assert open_to_everyone(_OPEN)
    addresses = bind_addresses(_OPEN)
    assert addresses[0] == "127.0.0.1:8080"
    assert set(addresses) <= {"127.0.0.1:8080", "[::1]:8080"}


@pytest.mark.parametrize(
    "address",
    [
        ("127.0.0.1", 80),
        ("127.8.8.8", 80),
        ("::1", 80, 0, 0),
        ("::ffff:127.0.0.1", 80, 0, 0),
        ("localhost", 80),
        "/run/pyoci.sock",
        b"",
        3,
    ],
)
def test_loopback_addresses_and_local_sockets_are_let_through(address: object) -> None:
    refuse_public([address])


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "no.such.host.invalid"],
)
def test_addresses_of_the_network_are_refused_with_what_to_do(host: str) -> None:
    with pytest.raises(ConfigurationError, match="PYOCI_STORAGE_USERS") as caught:
        refuse_public([("127.0.0.1", 80), (host, 8080)])
    assert f"{host} port 8080" in str(caught.value)
