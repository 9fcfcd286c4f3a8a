"""Where the server listens, and what it refuses to listen on."""

import socket
from pathlib import Path

import pytest

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.server.start import bind_addresses, check_paths, open_to_everyone, refuse_public
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


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("127.0.0.1", "127.0.0.1:9000"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("[::1]", "[::1]:9000"),
        ("[::1]:8080", "[::1]:8080"),
        ("0.0.0.0:80", "0.0.0.0:80"),
        ("localhost", "localhost:9000"),
        ("unix:/run/pyoci/socket", "unix:/run/pyoci/socket"),
    ],
)
@pytest.mark.parametrize("storage", [None, "storage"])
def test_the_address_of_the_setting_is_the_only_one(
    text: str, bound: str, storage: str | None
) -> None:
    environ = {"PORT": "9000", "PYOCI_BIND": text, "PYOCI_STORAGE": storage or ""}
    assert bind_addresses(Settings.from_env(environ)) == [bound]


@pytest.mark.parametrize(
    "text",
    [
        *("8080", ":8080", "::1", "::1:8080", "[::1", "[127.0.0.1]", "[fe80::1%eth0]:80"),
        *("127.0.0.1:0", "127.0.0.1:99999", "127.0.0.1:http", "127.0.0.1,[::1]", "127.1"),
        *(
            "packages.example.com",
            "http://127.0.0.1",
            "unix:socket",
            "unix:",
            "unix:/run/",
            "fd://3",
        ),
    ],
)
def test_an_address_that_cannot_be_bound_stops_the_start_with_the_settings_name(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^PYOCI_BIND must be an IP address"):
        Settings.from_env({"PYOCI_BIND": text})


def test_a_socket_needs_an_existing_folder(tmp_path: Path) -> None:
    settings = Settings.from_env({"PYOCI_BIND": f"unix:{tmp_path}/missing/socket"})
    with pytest.raises(ConfigurationError, match=r"^PYOCI_BIND must name a socket in an existing"):
        check_paths(settings)
    check_paths(Settings.from_env({"PYOCI_BIND": f"unix:{tmp_path}/socket"}))


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
