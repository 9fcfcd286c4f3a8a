"""Which registries share threads."""

import pytest

from pyoci_flask.oci.reference import Registry
from pyoci_flask.oci.shares import Share, Shares, host_of
from pyoci_flask.settings import Settings


@pytest.mark.parametrize(
    ("addresses", "host"),
    [
        (["ghcr.io", "GHCR.io:8443", "http://ghcr.io:81", "https://ghcr.io"], "ghcr.io"),
        (["docker.io", "registry-1.docker.io", "index.docker.io"], "docker.io"),
        (
            [
                *("127.0.0.1", "127.1:5000", "http://0x7f.1:5001", "127.0.0.2", "2130706433.:1"),
                *("http://[::1]:5000", "http://[::ffff:127.0.0.1]", "localhost:5000"),
            ],
            "localhost",
        ),
        (["192.0.2.7:1", "192.0.519:2", "http://[::ffff:192.0.2.7]:3"], "192.0.2.7"),
        (["http://[2001:db8::7]:1", "http://[2001:DB8:0::7]:2"], "2001:db8::7"),
    ],
)
def test_a_registry_is_its_host_however_it_is_written(addresses: list[str], host: str) -> None:
    found = [Registry.parse(one) for one in addresses]
    assert {host_of(one) for one in found if one is not None} == {host}


def _shares(**environ: str) -> Shares:
    return Settings.from_env(environ).shares


def _share(shares: Shares, address: str) -> Share:
    registry = Registry.parse(address)
    assert registry is not None
    return shares(registry)


def test_registries_that_are_named_one_by_one_have_a_share_each() -> None:
    shares = _shares(
        PYOCI_INDEX="http://localhost:5000/acme", PYOCI_REGISTRIES="ghcr.io,*.azurecr.io"
    )
    for named in ("ghcr.io", "GHCR.io:443", "http://127.0.0.1:5000"):
        assert _share(shares, named).is_named
    assert _share(shares, "ghcr.io") == _share(shares, "https://ghcr.io:443")
    assert not _share(shares, "localhost:6000").is_named
    others = {_share(shares, f"{name}.azurecr.io") for name in ("one", "two")}
    assert [one.is_named for one in others] == [False, False]
    assert {one.pool for one in others} == {"*"}


def test_a_port_that_is_named_makes_a_registry_of_its_own() -> None:
    shares = _shares(PYOCI_REGISTRIES="localhost:5000,localhost:5001,example.com:*")
    assert _share(shares, "127.0.0.1:5000") != _share(shares, "localhost:5001")
    assert _share(shares, "example.com:1") == _share(shares, "example.com:2")
    assert {_share(shares, f"localhost:{port}").pool for port in range(6000, 6070)} == {"*"}


def test_where_none_is_named_each_has_a_share() -> None:
    shares = _shares()
    assert _share(shares, "one.example").is_named
    assert _share(shares, "one.example").pool != _share(shares, "two.example").pool


def test_the_embedded_registry_is_named_where_there_is_one() -> None:
    shares = _shares(PYOCI_STORAGE="/tmp/packages")
    assert _share(shares, "embedded").is_named
    assert not _share(shares, "one.example").is_named
