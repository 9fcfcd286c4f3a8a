"""The egress guard: which addresses this server may connect to.

The path of a request names the host to call, so the address that is really connected to is
checked, after name resolution, on every connection. Checking the text of the host would miss
`127.1`, `0xa9fea9fe` and every DNS name that resolves to such an address.
"""

import ipaddress
import socket
from typing import Any, cast

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from pyoci_flask.errors import EgressError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure's host agent
        "192.0.0.192",  # Oracle Cloud
        "fd00:ec2::254",  # AWS over IPv6
        "fd20:ce::254",  # Google Cloud over IPv6
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def check_address(host: str, address: IPAddress) -> None:
    """Refuse the addresses that no registry has: link-local, cloud metadata, multicast, none.

    Raises:
        EgressError: `host` resolved to such an address.
    """
    for candidate in _spellings(address):
        if (
            candidate.is_link_local
            or candidate.is_multicast
            or candidate.is_unspecified
            or candidate in _METADATA
        ):
            raise EgressError(
                f"{host} leads to {address}, an address of this server's own infrastructure; "
                "no registry is called there"
            )


def _spellings(address: IPAddress) -> list[IPAddress]:
    """The address and the IPv4 address that it may carry inside."""
    found: list[IPAddress] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour]
        if address.teredo is not None:
            inner.append(address.teredo[1])
        if address in _NAT64 or int(address) >> 32 == 0:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        found += [one for one in inner if one is not None]
    return found


def _connect(connection: HTTPConnection) -> socket.socket:
    """Resolve once, check, and connect to the very address that was checked."""
    host = connection._dns_host  # noqa: SLF001 - urllib3 keeps the name to resolve there
    timeout = connection.timeout
    try:
        found = socket.getaddrinfo(
            host.strip("[]"), connection.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
    except (OSError, UnicodeError) as error:
        reason = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
        raise NameResolutionError(connection.host, connection, reason) from error
    for *_, sockaddr in found:
        check_address(connection.host, ipaddress.ip_address(str(sockaddr[0]).partition("%")[0]))
    last: OSError | None = None
    for family, kind, proto, _, sockaddr in found:
        sock = socket.socket(family, kind, proto)
        try:
            for option in connection.socket_options or ():
                sock.setsockopt(*option)
            if isinstance(timeout, int | float):
                sock.settimeout(timeout)
            sock.connect(sockaddr)
        except OSError as error:
            sock.close()
            last = error
        else:
            return sock
    if isinstance(last, TimeoutError):
        raise ConnectTimeoutError(connection, f"{connection.host} did not answer") from last
    raise NewConnectionError(connection, f"no connection: {last}") from last


class _GuardedHTTPConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self)


class _GuardedHTTPSConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self)


class _GuardedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _GuardedHTTPConnection


class _GuardedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = cast("Any", _GuardedHTTPSConnection)


class GuardedAdapter(HTTPAdapter):
    """A pooled adapter of requests whose every direct connection passes the guard.

    A connection through a configured proxy goes to the proxy's own address, which is the
    operator's choice and not checked.
    """

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - requests' own
        """Build the pools out of guarded connections."""
        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = {"http": _GuardedHTTPPool, "https": _GuardedHTTPSPool}
