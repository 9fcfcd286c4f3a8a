import pytest

from pyoci_flask.web.proxies import DEFAULT_PROXIES, Proxies


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "client"),
    [
        (DEFAULT_PROXIES, "192.0.2.7", "", "192.0.2.7"),
        (DEFAULT_PROXIES, "192.0.2.7", "10.9.9.9", "192.0.2.7"),
        (DEFAULT_PROXIES, "127.0.0.1", "", "127.0.0.1"),
        (DEFAULT_PROXIES, "127.0.0.1", "10.9.9.9, 192.0.2.7", "192.0.2.7"),
        (DEFAULT_PROXIES, "::1", "2001:db8::7", "2001:db8::7"),
        ("127.0.0.1,10.0.0.0/8", "127.0.0.1", "9.9.9.9, 192.0.2.7, 10.1.2.3", "192.0.2.7"),
        ("127.0.0.1,10.0.0.0/8", "127.0.0.1", "10.1.2.3, 10.1.2.4", "10.1.2.3"),
        ("*", "203.0.113.9", "9.9.9.9, 192.0.2.7", "192.0.2.7"),
        (DEFAULT_PROXIES, "", "192.0.2.7", "192.0.2.7"),
        (DEFAULT_PROXIES, "", "", None),
        (DEFAULT_PROXIES, None, "", None),
        (DEFAULT_PROXIES, "127.0.0.1", "192.0.2.7:4711", "192.0.2.7"),
        (DEFAULT_PROXIES, "127.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        (DEFAULT_PROXIES, "127.0.0.1", "evil\u2028 user=root", "127.0.0.1"),
        (DEFAULT_PROXIES, "127.0.0.1", "fe80::1%evil user=root", "127.0.0.1"),
        (DEFAULT_PROXIES, "not an address", "192.0.2.7", None),
        (DEFAULT_PROXIES, "127.0.0.1", "1.2.3.4, " * 100_000 + "192.0.2.7", "192.0.2.7"),
    ],
)
def test_the_client_is_the_last_hop_that_is_not_a_trusted_proxy(
    proxies: str, peer: str | None, forwarded: str, client: str | None
) -> None:
    assert Proxies(proxies).client_address(peer, forwarded) == client
