"""Recognises requests that the index and the registry refuse because another site's page sent them.

A browser sends the credentials that it stores for a site with every request to that site, even if
another site's page makes the request.
"""

import ipaddress
import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from werkzeug.wrappers import Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PORTS = {"http": "80", "https": "443"}
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^][:@/\\?#,\s]+)(?::([0-9]{1,5}))?")

_REFUSAL = (
    "this server does not require a password, so it can be reached only by the local names "
    "localhost, 127.0.0.1 and [::1]. To allow other names, set PYOCI_STORAGE_USERS to an htpasswd "
    "file, or PYOCI_URL to the server's public address"
)


class Headers(Protocol):
    """The headers of a request, whose names are not case-sensitive."""

    def get(self, name: str, /) -> str | None:
        """Return the value of a header, or None if it is missing."""
        ...


class ReceivedRequest(Protocol):
    """What a request says about the page that sent it."""

    @property
    def headers(self) -> Headers:
        """The headers."""
        ...

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        ...


def is_cross_site(request: ReceivedRequest, public_url: str | None = None) -> bool:
    """Return whether a page of another origin (RFC 6454) made a browser send the request.

    `public_url` is another address of this server, besides the one in the request.
    """
    if (request.headers.get("Sec-Fetch-Site") or "").lower() in {"cross-site", "same-site"}:
        return True
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    public = urlsplit(public_url or "")
    own = {
        _origin(request.scheme, request.headers.get("Host") or ""),
        _origin(public.scheme, public.netloc),
    }
    scheme, _, netloc = origin.partition("://")
    page = _origin(scheme, netloc)
    return page is None or page not in own


class LocalHosts:
    """WSGI middleware that refuses requests unless `Host` is a name of this machine.

    A server without passwords listens only on loopback addresses. A web page can reach it if the
    page's own host name resolves to 127.0.0.1 (DNS rebinding). The browser then treats the page and
    the server as one origin, but its requests contain that host name.
    """

    def __init__(self, app: "WSGIApplication", public_url: str | None) -> None:
        """Serve `app` under loopback names, and under the host of `public_url` if it is set."""
        self._app = app
        self._public = urlsplit(public_url or "").hostname

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Pass the request on, or refuse it (PEP 3333)."""
        path = environ.get("PATH_INFO", "")
        # Browsers always send a Host. A request without one is from another program.
        if path == "/health" or "HTTP_HOST" not in environ or self._is_own(environ["HTTP_HOST"]):
            return self._app(environ, start_response)
        if path == "/v2" or path.startswith("/v2/"):
            document = {"errors": [{"code": "DENIED", "message": _REFUSAL}]}
            text, kind = json.dumps(document), "application/json"
        else:
            text, kind = f"{_REFUSAL}\n", "text/plain; charset=utf-8"
        headers = {
            "Cache-Control": "no-store",
            "Vary": "Authorization",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(text, 403, headers, content_type=kind)(environ, start_response)

    def _is_own(self, netloc: str) -> bool:
        match = _HOST.fullmatch(netloc.lower())
        if match is None:
            return False
        host = match[1].strip("[]").removesuffix(".")
        if host in {"localhost", self._public}:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _origin(scheme: str, netloc: str) -> tuple[str, str, str] | None:
    """Return scheme, host and port in a uniform spelling, or None if no web page can have them."""
    scheme = scheme.lower()
    match = _HOST.fullmatch(netloc.lower())
    if match is None or scheme not in _PORTS:
        return None
    return scheme, match[1], match[2] or _PORTS[scheme]
