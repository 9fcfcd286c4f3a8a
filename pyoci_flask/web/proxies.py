"""Which proxies in front of this server are trusted, and the address of the client behind them."""

import ipaddress
from collections.abc import Sequence

DEFAULT_PROXIES = "127.0.0.1,::1"
"""gunicorn's default for `FORWARDED_ALLOW_IPS`."""

_READ = 1000
"""Characters at the end of X-Forwarded-For that are read."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Proxies:
    """The addresses whose forwarded headers are believed."""

    def __init__(self, text: str) -> None:
        """`text` is that of `FORWARDED_ALLOW_IPS`."""
        names = [part.strip() for part in text.split(",") if part.strip()]
        self._everybody = "*" in names
        self._networks = _networks(names)

    def trusts(self, address: str | None) -> bool:
        """Return whether a request from this address comes from a trusted proxy."""
        # A Unix socket has no peer address. gunicorn trusts every process that can open the socket.
        if self._everybody or not address:
            return True
        peer = _parsed(address)
        return peer is not None and self._lists(peer)

    def client_address(self, peer: str | None, forwarded_for: str) -> str | None:
        """Return the address of the client, or None if it is not known.

        `peer` is the address of the connection, `forwarded_for` the text of `X-Forwarded-For`. Each
        proxy adds the address from which it received the request, so the last address that is not
        one of a trusted proxy is the client's. Everything before it may be forged.
        """
        found = None if peer is None else _parsed(peer)
        if not self.trusts(peer):
            return None if found is None else str(found)
        for part in reversed(forwarded_for[-_READ:].split(",")):
            hop = _parsed(part)
            if hop is None:
                break
            found = hop
            if self._everybody or not self._lists(hop):
                break
        return None if found is None else str(found)

    def _lists(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def _networks(names: Sequence[str]) -> list[_Network]:
    networks = []
    for name in names:
        try:
            networks.append(ipaddress.ip_network(name, strict=False))
        except ValueError:
            continue  # `*`; gunicorn does not start with other invalid values
    return networks


def _parsed(text: str) -> _Address | None:
    """Parse an address. Some proxies add the port of the client, which is left out."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # The text of an IPv6 zone is free.
    return None if getattr(address, "scope_id", None) else address
