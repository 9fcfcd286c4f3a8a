"""Links in pages and documents, and the public address of this server with which they begin.

The public address is `PYOCI_URL`. Without this setting, it is derived from the request. Behind a
proxy, the request itself contains only a part of the address. The headers that a proxy adds
(`X-Forwarded-Host`, `X-Forwarded-Prefix`) are used only if gunicorn trusts the proxy, which means
that `FORWARDED_ALLOW_IPS` contains its address. The scheme comes from gunicorn, which reads
`X-Forwarded-Proto` under the same condition.
"""

import re
from urllib.parse import quote, urlsplit

from flask import request
from werkzeug.wrappers import Response

from pyoci_flask.common.redaction import redact
from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.settings import Settings
from pyoci_flask.web.address import Base
from pyoci_flask.web.proxies import Proxies

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


class PublicOrigin:
    """The address of this server, as the client of the current request sees it."""

    def __init__(self, settings: Settings, proxies: str) -> None:
        """`proxies` is the text of `FORWARDED_ALLOW_IPS`."""
        self._public = settings.url
        self._mounted = settings.path
        self.proxies = Proxies(proxies)

    def path(self) -> str:
        """Return the path with which all addresses of this server begin, without a final slash."""
        if self._public is not None:
            return urlsplit(self._public).path
        mounted = request.root_path.rstrip("/")
        if not mounted.endswith(self._mounted):  # the request is outside of the sub-path
            mounted += self._mounted
        return self._forwarded("X-Forwarded-Prefix", _PREFIX) + mounted

    def url(self) -> str:
        """Return the scheme, host and path, without a final slash.

        Raises:
            InvalidRequestError: the request has no valid Host header.
        """
        if self._public is not None:
            return self._public
        host = self._forwarded("X-Forwarded-Host", _HOST) or request.host
        if not _HOST.fullmatch(host):
            raise InvalidRequestError(
                "the Host header of this request is not a valid host name",
                advice="Use the host name of this server in the address",
            )
        return f"{request.scheme}://{host}{self.path()}"

    def index_url(self, base: Base) -> str:
        """Return the URL of an index.

        Raises:
            InvalidRequestError: the request has no valid Host header.
        """
        return f"{self.url()}{base.path}/"

    def _forwarded(self, name: str, allowed: re.Pattern[str]) -> str:
        """Return the last value, which the nearest proxy added, or "" if it is not trusted."""
        value = request.headers.get(name, "").rpartition(",")[2].strip().rstrip("/")
        return (
            value if allowed.fullmatch(value) and self.proxies.trusts(request.remote_addr) else ""
        )


def quote_segment(text: str) -> str:
    """Percent-encode one segment of a path."""
    return quote(text, safe="")


def redirect(location: str, status: int = 302) -> Response:
    """Redirect to a location. A relative location is correct behind every proxy."""
    return Response(status=status, headers={"Location": location, "Cache-Control": "no-store"})


def redirect_to_slash(segment: str) -> Response:
    """Redirect to the same path with a trailing slash. `segment` is its last segment."""
    query = request.query_string.decode("latin-1")
    query = f"?{query}" if query else ""
    if redact(query) != query:
        query = ""  # it contains a credential, which must not be repeated
    return redirect(f"{quote_segment(segment)}/{query}", 301)
