"""Forwards plain http requests of COMMAND that are not for an index of this run (RFC 9110, 7.6)."""

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import urllib3

from pyoci_flask.transport.network import Network

if TYPE_CHECKING:
    from _typeshed.wsgi import InputStream, StartResponse, WSGIEnvironment

logger = logging.getLogger("pyoci.run")

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_VIA = "1.1 pyoci-flask"
_CHUNK = 256 * 1024
_TIMEOUT = urllib3.Timeout(connect=30, read=300)


class Forward:
    """A WSGI application that sends a request on, through the user's own proxy if there is one."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._direct = urllib3.PoolManager(num_pools=20, maxsize=20)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Forward one request; redirects and errors of the other server are passed on."""
        url = environ["REQUEST_URI"]
        try:
            reply = self._pool(url).urlopen(
                environ["REQUEST_METHOD"],
                url,
                body=_body(environ),
                headers=_request_headers(environ),
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=_TIMEOUT,
            )
        except (urllib3.exceptions.HTTPError, ValueError, UnicodeError) as error:
            host = urlsplit(url).hostname
            logger.warning("forwarding to %s failed: %s", host, type(error).__name__)
            body = f"pyoci-flask run could not reach {host}\n".encode()
            start_response(
                "502 Bad Gateway",
                [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))],
            )
            return [body]
        headers = [
            (name, value)
            for name, value in reply.headers.iteritems()
            if name.lower() not in _dropped(reply.headers.get("Connection", ""))
        ]
        start_response(f"{reply.status} {reply.reason or ''}", [*headers, ("Via", _VIA)])
        return _Body(reply)

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxies = self._network.proxies_for(url)
        proxy = proxies.get("http") or proxies.get("all")
        return self._direct if proxy is None else urllib3.ProxyManager(proxy)


class _Body:
    def __init__(self, reply: urllib3.BaseHTTPResponse) -> None:
        self._reply = reply

    def __iter__(self) -> Iterator[bytes]:
        return self._reply.stream(_CHUNK, decode_content=False)

    def close(self) -> None:
        self._reply.close()


def _request_headers(environ: "WSGIEnvironment") -> dict[str, str]:
    dropped = _dropped(environ.get("HTTP_CONNECTION", ""))
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").title(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    if environ.get("CONTENT_TYPE"):
        headers["Content-Type"] = environ["CONTENT_TYPE"]
    if environ.get("CONTENT_LENGTH"):
        headers["Content-Length"] = environ["CONTENT_LENGTH"]
    kept = {name: value for name, value in headers.items() if name.lower() not in dropped}
    return {"User-Agent": urllib3.util.SKIP_HEADER, **kept, "Via": _VIA}


def _dropped(connection: str) -> frozenset[str]:
    return _HOP_BY_HOP | {name.strip().lower() for name in connection.split(",")}


def _body(environ: "WSGIEnvironment") -> Iterator[bytes] | None:
    left = int(environ.get("CONTENT_LENGTH") or 0)
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):
        return iter(lambda: stream.read(_CHUNK), b"")
    return _limited(stream, left) if left else None


def _limited(stream: "InputStream", left: int) -> Iterator[bytes]:
    while left and (chunk := stream.read(min(left, _CHUNK))):
        left -= len(chunk)
        yield chunk
