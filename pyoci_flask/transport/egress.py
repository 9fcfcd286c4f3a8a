"""The egress guard: which addresses this server may connect to.

The path of a request specifies the host to call. Therefore the actual address of every connection
is checked, after name resolution. A check of the host's text would miss `127.1`, `0xa9fea9fe` and
every DNS name that resolves to a forbidden address.
"""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from pyoci_flask.common.memory import Memory
from pyoci_flask.errors import EgressError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure's host agent
        "192.0.0.192",  # Oracle Cloud
        "fd00:c1::a9fe:a9fe",  # Oracle Cloud over IPv6
        "fd00:42::42",  # Scaleway over IPv6
        "fd20:ce::254",  # Google Cloud over IPv6
    )
)
_METADATA_NETWORK = ipaddress.IPv6Network("fd00:ec2::/32")
"""AWS over IPv6: instance metadata, Pod identity, name server, time."""
_NAT64 = (
    ipaddress.IPv6Network("64:ff9b::/96"),  # RFC 6052
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # RFC 8215; its /96 parts are used in the same way
)
_SITE_LOCAL = ipaddress.IPv6Network("fec0::/10")
"""Private according to RFC 3513. RFC 3879 deprecated it, and Python treats it as global."""
_HOSTS = 4096
_HOSTS_BYTES = 2 * 1024 * 1024
"""Bounds of the memory of public hosts. A DNS name has at most 253 characters."""


def check_address(host: str, address: IPAddress) -> None:
    """Refuse addresses that no registry has: link-local, cloud metadata, multicast, unspecified.

    Raises:
        EgressError: `host` resolves to one of these addresses.
    """
    for candidate in _spellings(address):
        if (
            candidate.is_link_local
            or candidate.is_multicast
            or candidate.is_unspecified
            or candidate in _METADATA
            or candidate in _METADATA_NETWORK
        ):
            raise EgressError(
                f"{host} leads to {address}, an address of this server's own infrastructure; "
                "no registry is called there",
                advice=f"Use the address of a registry; check which address {host} resolves to",
            )


def is_private(address: IPAddress) -> bool:
    """Return whether an address is not part of the public internet."""
    reached = _spellings(address)[-1]
    return not reached.is_global or reached in _SITE_LOCAL


def _spellings(address: IPAddress) -> list[IPAddress]:
    """Return the address and any IPv4 addresses embedded in it. Packets reach the last one."""
    found: list[IPAddress] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour]
        if address.teredo is not None:
            inner.append(address.teredo[1])
        compatible = int(address) >> 32 == 0 and int(address) > 1
        if compatible or any(address in network for network in _NAT64):
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        found += [one for one in inner if one is not None]
    return found


def public_hosts() -> Memory[str, bool]:
    """Return a memory of hosts that have resolved to public addresses."""
    return Memory(entries=_HOSTS, max_bytes=_HOSTS_BYTES)


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """The addresses that one pool of connections may connect to."""

    public_hosts: Memory[str, bool]
    """The hosts that have resolved to public addresses. All pools share them."""
    private: bool
    """Whether loopback and private addresses are allowed."""
    why: str
    """The reason to state in an error if private addresses are not allowed."""

    def choose(self, host: str, found: Sequence[IPAddress]) -> Sequence[IPAddress]:
        """Return the addresses of `host` that may be connected to, in the given order.

        Raises:
            EgressError: one of the addresses is never allowed, or all are private and this pool
                does not allow private addresses.
        """
        for address in found:
            check_address(host, address)
        public = [address for address in found if not is_private(address)]
        if public:
            # A name that has both public and private addresses is treated as DNS rebinding.
            self.public_hosts.put(host, True)
            return public
        if not self.private:
            raise EgressError(
                f"{host} leads to the private address {found[0]}; {self.why}",
                advice=f"Ask the administrator of this server to allow {host}",
            )
        if host in self.public_hosts:
            raise EgressError(
                f"{host} was at a public address and now leads to the private address {found[0]}",
                advice=f"Check which address {host} resolves to (DNS), and start this "
                "program again",
            )
        return found


def literal(host: str) -> IPAddress | None:
    """Return the address that `host` spells in any form `connect` accepts, or None for a name."""
    bare = host.strip("[]").rstrip(".").lower()
    if bare == "localhost" or bare.endswith(".localhost"):
        return ipaddress.IPv4Address("127.0.0.1")
    try:
        found = socket.getaddrinfo(bare, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return ipaddress.ip_address(str(found[0][4][0]).partition("%")[0])


def resolve(host: str, port: int) -> list[tuple[IPAddress, tuple[object, ...]]]:
    """Resolve a name. Connect to the result, so that the name is not resolved a second time.

    Raises:
        OSError: the name is unknown or invalid.
    """
    try:
        found = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
    except UnicodeError as error:
        raise socket.gaierror(str(error)) from error
    return [
        (ipaddress.ip_address(str(sockaddr[0]).partition("%")[0]), (family, kind, proto, sockaddr))
        for family, kind, proto, _, sockaddr in found
    ]
