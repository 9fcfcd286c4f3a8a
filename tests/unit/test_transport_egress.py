import ipaddress
import subprocess
import sys
from pathlib import Path

import pytest

from pyoci_flask.common.memory import Memory
from pyoci_flask.errors import EgressError, RegistryError, RegistryUnreachableError
from pyoci_flask.transport.egress import (
    EgressPolicy,
    check_address,
    is_private,
    literal,
    public_hosts,
)
from pyoci_flask.transport.request import Request
from pyoci_flask.transport.session import Transport
from tests.patience import PATIENCE
from tests.unit.doubles import Answer, http_double

FORBIDDEN = [
    "169.254.169.254",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "0.0.0.0",
    "224.0.0.1",
    "239.255.255.255",
    "::",
    "fe80::1",
    "ff02::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd00:c1::a9fe:a9fe",
    "fd00:42::42",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::ffff:100.100.100.200",
    "::ffff:0.0.0.0",
    "64:ff9b::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "::169.254.169.254",
]
ALLOWED = [
    "127.0.0.1",
    "10.0.0.1",
    "192.168.1.1",
    "172.16.0.1",
    "140.82.121.34",
    "169.253.255.255",
    "169.255.0.0",
    "::1",
    "fd00::1",
    "2606:50c0:8000::154",
    "::ffff:127.0.0.1",
    "64:ff9b::140.82.121.34",
    "2002:8c52:7922::1",
]


@pytest.mark.parametrize("text", FORBIDDEN)
def test_infrastructure_address_is_refused_however_it_is_written(text: str) -> None:
    with pytest.raises(EgressError, match=r"^some\.host leads to .* no registry is called there"):
        check_address("some.host", ipaddress.ip_address(text))


def test_address_inside_of_a_teredo_address_is_refused() -> None:
    hidden = int(ipaddress.ip_address("169.254.169.254")) ^ 0xFFFFFFFF
    teredo = ipaddress.IPv6Address((0x20010000 << 96) | hidden)
    with pytest.raises(EgressError):
        check_address("some.host", teredo)


@pytest.mark.parametrize("text", ALLOWED)
def test_other_address_may_be_called(text: str) -> None:
    check_address("some.host", ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "0xa9.254.169.0xfe",
        "0",
        "0x0",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[fe80::1]",
        "[::]",
    ],
)
def test_odd_spelling_in_a_url_is_refused_before_any_connection(
    transport: Transport, host: str
) -> None:
    url = f"http://{host}:1"
    with pytest.raises(EgressError):
        transport.send(Request("GET", f"{url}/latest/", url, idempotent=True))


def test_loopback_is_reached_in_an_odd_spelling(transport: Transport) -> None:
    with http_double(lambda _: Answer(body=b"yes")) as server:
        url = f"http://127.1:{server.netloc.rpartition(':')[2]}"
        with transport.send(Request("GET", f"{url}/", url)) as reply:
            assert reply.read(10) == b"yes"


def test_host_header_keeps_the_name_that_was_asked_for(transport: Transport) -> None:
    with http_double(lambda _: Answer()) as server:
        url = f"http://localhost:{server.netloc.rpartition(':')[2]}"
        transport.send(Request("GET", f"{url}/", url)).close()
        assert server.received[0].headers["Host"] == url.removeprefix("http://")


@pytest.mark.parametrize("host", ["no-such-name.invalid", "a" * 64 + ".invalid"])
def test_name_that_does_not_resolve_is_unreachable(transport: Transport, host: str) -> None:
    with pytest.raises(RegistryUnreachableError):
        transport.send(Request("GET", f"http://{host}/", f"http://{host}"))


def test_name_that_no_resolver_takes_is_no_address(transport: Transport) -> None:
    with pytest.raises(RegistryError, match="not an address that can be called"):
        transport.send(Request("GET", "http://xn--ä.invalid/", "http://x"))


PUBLIC = [
    "140.82.121.34",
    "2606:50c0:8000::154",
    "::ffff:140.82.121.34",
    "64:ff9b::140.82.121.34",
    "2002:8c52:7922::1",
]
PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "fc00::1",
    "fd00::1",
    "fec0::1",
    "2001:db8::1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::127.0.0.1",
    "2002:7f00:1::",
    "2002:a00:1::1",
]


def _policy(*, private: bool, sightings: Memory[str, bool] | None = None) -> EgressPolicy:
    return EgressPolicy(
        public_hosts() if sightings is None else sightings, private, "those are refused"
    )


def _choose(policy: EgressPolicy, host: str, *texts: str) -> list[str]:
    return [str(one) for one in policy.choose(host, [ipaddress.ip_address(t) for t in texts])]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_address_is_told_from_private_ones(text: str) -> None:
    assert not is_private(ipaddress.ip_address(text))
    assert len(_choose(_policy(private=False), "a.example", text)) == 1


@pytest.mark.parametrize("text", PRIVATE)
def test_private_address_is_refused_where_only_public_ones_are_allowed(text: str) -> None:
    assert is_private(ipaddress.ip_address(text))
    with pytest.raises(EgressError, match=r"^a\.example leads to the private .*those are refused"):
        _choose(_policy(private=False), "a.example", text)
    assert len(_choose(_policy(private=True), "a.example", text)) == 1


def test_of_public_and_private_addresses_of_a_name_only_the_public_are_connected_to() -> None:
    policy = _policy(private=True)
    found = _choose(policy, "mixed.example", "127.0.0.1", "140.82.121.34", "::1")
    assert found == ["140.82.121.34"]


def test_name_that_was_public_never_leads_to_a_private_address_again() -> None:
    policy = _policy(private=True)
    _choose(policy, "rebinding.example", "140.82.121.34")
    for _ in range(2):
        with pytest.raises(EgressError, match="was at a public address and now leads to the pri"):
            _choose(policy, "rebinding.example", "127.0.0.1")
    assert _choose(policy, "rebinding.example", "140.82.121.35") == ["140.82.121.35"]
    assert _choose(policy, "other.example", "127.0.0.1") == ["127.0.0.1"]


def test_pools_share_what_they_have_seen() -> None:
    sightings = public_hosts()
    _choose(_policy(private=False, sightings=sightings), "rebinding.example", "140.82.121.34")
    with pytest.raises(EgressError):
        _choose(_policy(private=True, sightings=sightings), "rebinding.example", "127.0.0.1")


def test_private_name_that_becomes_public_may_be_called() -> None:
    policy = _policy(private=True)
    _choose(policy, "moving.example", "10.0.0.1")
    assert "moving.example" not in policy.public_hosts
    _choose(policy, "moving.example", "140.82.121.34")
    assert "moving.example" in policy.public_hosts


def test_sightings_are_bounded_and_forget_the_longest_unseen() -> None:
    sightings = public_hosts()
    for number in range(4097):
        sightings.put(f"{number}.example", True)
    assert "0.example" not in sightings
    assert "1.example" in sightings
    assert "4096.example" in sightings


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("LOCALHOST.", "127.0.0.1"),
        ("x.localhost", "127.0.0.1"),
        ("ghcr.io", None),
        ("localhost.example", None),
        ("", None),
        ("a" * 70, None),
    ],
)
def test_address_in_place_of_a_name_is_seen_in_every_spelling(
    host: str, address: str | None
) -> None:
    found = literal(host)
    assert (None if found is None else str(found)) == address


_RESOLVE = """
import sys
from pyoci_flask.errors import PyOCIError, RegistryUnreachableError
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.request import Request
from pyoci_flask.transport.session import Transport

url = sys.argv[1]
transport = Transport(network=Network(), pool_size=1, connect_timeout=2, read_timeout=2)
try:
    with transport.send(Request("GET", url, url)) as reply:
        print(reply.read(100).decode())
except RegistryUnreachableError:
    print("unreachable")
except PyOCIError as error:
    print(type(error).__name__)
"""


def _call_with_hosts(tmp_path: Path, hosts: str, url: str) -> str:
    """Call the URL in a process of its own, with a hosts file of its own."""
    file = tmp_path / "hosts"
    file.write_text(hosts)
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    try:
        # Containers often forbid it.
        subprocess.run([*namespace, script, str(file), "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system lets no process have a hosts file of its own")
    done = subprocess.run(
        [*namespace, script, str(file), sys.executable, "-c", _RESOLVE, url],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.stdout.strip()


def test_name_with_one_forbidden_address_among_others_is_refused(tmp_path: Path) -> None:
    with http_double(lambda _: Answer(body=b"reached")) as server:
        port = server.netloc.rpartition(":")[2]
        hosts = "127.0.0.1 mixed.test\n169.254.169.254 mixed.test\n127.0.0.1 good.test\n"
        assert _call_with_hosts(tmp_path, hosts, f"http://good.test:{port}") == "reached"
        assert _call_with_hosts(tmp_path, hosts, f"http://mixed.test:{port}") == "EgressError"
        assert len(server.received) == 1


def test_addresses_of_a_name_are_tried_in_turn(tmp_path: Path) -> None:
    with http_double(lambda _: Answer(body=b"reached")) as server:
        port = server.netloc.rpartition(":")[2]
        hosts = "127.0.0.3 two.test\n127.0.0.1 two.test\n127.0.0.3 one.test\n"
        assert _call_with_hosts(tmp_path, hosts, f"http://two.test:{port}") == "reached"
        one = _call_with_hosts(tmp_path, hosts, f"http://one.test:{port}")
        assert one == "unreachable"
