"""Links of pages and documents, and the public address of this server that they begin with.

`PYOCI_URL` says what the public address is; without it, the request does. Behind a proxy the
request contains only a part of it. What a proxy adds (`X-Forwarded-Host`, `X-Forwarded-Prefix`) is
trusted only if it comes from a proxy that gunicorn trusts: the addresses and networks of
`FORWARDED_ALLOW_IPS`. The scheme comes from gunicorn, which reads `X-Forwarded-Proto` under the
same condition.
"""

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from flask import request
from werkzeug.wrappers import Response

from pyoci_flask.common.redaction import redact
from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.settings import Settings
from pyoci_flask.web.address import Base

DEFAULT_PROXIES = "127.0.0.1,::1"
"""The default of gunicorn for `FORWARDED_ALLOW_IPS`."""

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


class PublicOrigin:
    """The address of this server, as the client of the current request sees it."""

    def __init__(self, settings: Settings, proxies: str) -> None:
        """`proxies` is the text of `FORWARDED_ALLOW_IPS`."""
        self._public = settings.url
        self._mounted = settings.path
        names = [part.strip() for part in proxies.split(",") if part.strip()]
        self._everybody = "*" in names
        self._networks = _networks(names)

    def path(self) -> str:
        """Return the path that all addresses of this server begin with, without a final slash."""
        if self._public is not None:
            return urlsplit(self._public).path
        mounted = request.root_path.rstrip("/")
        if not mounted.endswith(self._mounted):  # the request is outside of the sub-path
            mounted += self._mounted
        return self._forwarded("X-Forwarded-Prefix", _PREFIX) + mounted

    def url(self) -> str:
        """Return scheme, host and path, without a final slash.

        Raises:
            InvalidRequestError: the request has no usable Host.
        """
        if self._public is not None:
            return self._public
        host = self._forwarded("X-Forwarded-Host", _HOST) or request.host
        if not _HOST.fullmatch(host):
            raise InvalidRequestError("the Host header of this request is not a valid host name")
        return f"{request.scheme}://{host}{self.path()}"

    def index_url(self, base: Base) -> str:
        """Return the URL of an index.

        Raises:
            InvalidRequestError: the request has no usable Host.
        """
        return f"{self.url()}{base.path}/"

    def _forwarded(self, name: str, allowed: re.Pattern[str]) -> str:
        """Return what the nearest proxy wrote (the last value); empty if it is not trusted."""
        value = request.headers.get(name, "").rpartition(",")[2].strip().rstrip("/")
        return value if allowed.fullmatch(value) and self._is_proxy(request.remote_addr) else ""

    def _is_proxy(self, address: str | None) -> bool:
        # Over a Unix socket there is no address: gunicorn trusts all who can open it.
        if self._everybody or not address:
            return True
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(peer in network for network in self._networks)


def quote_segment(text: str) -> str:
    """Percent-encode one segment of a path."""
    return quote(text, safe="")


def redirect(location: str, status: int = 302) -> Response:
    """Redirect to an address; one that is relative to this one is right behind every proxy."""
    return Response(status=status, headers={"Location": location, "Cache-Control": "no-store"})


def redirect_to_slash(segment: str) -> Response:
    """Redirect to the address of the request with a slash at its end; `segment` is its last."""
    query = request.query_string.decode("latin-1")
    query = f"?{query}" if query else ""
    if redact(query) != query:
        query = ""  # it contains a credential, which must not be repeated
    return redirect(f"{quote_segment(segment)}/{query}", 301)


def _networks(names: Sequence[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    networks = []
    for name in names:
        try:
            networks.append(ipaddress.ip_network(name, strict=False))
        except ValueError:
            continue  # `*`; gunicorn does not start with other invalid values
    return networks
