"""Which addresses the server may listen on.

On `PYOCI_BIND`; without it everywhere, or on the loopback interface while nobody is asked for a
password.
"""

import ipaddress
import socket
from collections.abc import Iterable

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.settings import Settings


def open_to_everyone(settings: Settings) -> bool:
    """Tell whether whoever reaches the server may publish to and delete from its own registry."""
    return settings.storage is not None and settings.storage_users is None


def bind_addresses(settings: Settings) -> list[str]:
    """Where to listen, as gunicorn's `bind` takes it: IPv4 always, IPv6 where there is any."""
    if settings.bind is not None:
        return [settings.bind]
    if open_to_everyone(settings):
        hosts = ["127.0.0.1"] if _takes_ipv4("::1") is None else ["127.0.0.1", "[::1]"]
    else:
        takes_ipv4 = _takes_ipv4("::")
        hosts = [] if takes_ipv4 is None else ["[::]"]
        if not takes_ipv4:
            hosts.append("0.0.0.0")  # noqa: S104 -- serving the network is the purpose
    return [f"{host}:{settings.port}" for host in hosts]


def refuse_public(addresses: Iterable[object]) -> None:
    """Refuse to listen on the network.

    Args:
        addresses: (host, port, ...) for TCP, anything else for other sockets, which are local.

    Raises:
        ConfigurationError: one of them is not of the loopback interface.
    """
    for address in addresses:
        if isinstance(address, tuple) and not _is_loopback(str(address[0])):
            raise ConfigurationError(
                "PYOCI_STORAGE without PYOCI_STORAGE_USERS lets everyone publish and delete, so it "
                f"is served on a loopback address only, not on {address[0]} port {address[1]}: "
                "set PYOCI_STORAGE_USERS to an htpasswd file, or set PYOCI_BIND=127.0.0.1"
            )


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return False
    addresses = [ipaddress.ip_address(info[4][0]) for info in found]
    return all((getattr(a, "ipv4_mapped", None) or a).is_loopback for a in addresses)


def _takes_ipv4(host: str) -> bool | None:
    """Tell whether a socket on this IPv6 address takes IPv4 too; None where there is no IPv6.

    `net.ipv6.bindv6only` decides it, and gunicorn leaves it at that.
    """
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind((host, 0))
            return not probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    except OSError:
        return None
