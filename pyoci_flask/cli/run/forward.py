"""Forwards plain http requests of COMMAND that are not for an index of this run (RFC 9110, 7.6).

The parts of HTTP that a proxy must not change are passed on as they are. So this uses no client
that decodes bodies, follows redirects, repeats requests, keeps cookies or rewrites addresses.
"""

import http.client
import logging
import ssl
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from pyoci_flask.cli.run.answers import answer
from pyoci_flask.cli.run.target import HEADERS, TARGET, Target
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.request import BasicCredentials

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

logger = logging.getLogger("pyoci.run")

Headers = list[tuple[str, str]]

_HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authentication-info"),
        *("proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding"),
        "upgrade",
    }
)
_OF_REQUEST = frozenset({"content-length", "expect", "host"})
"""Headers of a request that are not copied. The server has already answered `Expect`."""
_VIA = ("Via", "1.1 pyoci-flask")
_CHUNK = 256 * 1024
_NO_PROXY = "because the proxy in HTTP_PROXY or ALL_PROXY is not an http or https URL"


class _UnusableRequestError(Exception):
    """The request is not valid, or its client went away. The text is for people."""


class _UnusableReplyError(Exception):
    """The other server cannot be asked, or its response cannot be passed on."""


class Forward:
    """A WSGI application that sends a request on, through the user's own proxy if there is one.

    Each request has a connection of its own: one that was kept may be closed by the other server
    just when it is used, and a POST must not be sent twice.
    """

    def __init__(self, network: Network, timeouts: tuple[float, float] = (30.0, 300.0)) -> None:
        """`timeouts` are the seconds to connect, and to wait for the next byte."""
        self._network = network
        self._connecting, self._reading = timeouts

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Forward one request; redirects and errors of the other server are passed on."""
        target: Target = environ[TARGET]
        host = target.netloc
        connection = None
        try:
            connection, address, own = self._route(environ["REQUEST_METHOD"], target)
            body, length = _body(environ)
            headers = [("Host", host), *_passed_on(environ[HEADERS], _OF_REQUEST), *own, *length]
            reply = self._ask(connection, environ["REQUEST_METHOD"], address, headers, body)
            passed_on = _reply_headers(reply)
        except (
            OSError,
            ValueError,
            http.client.HTTPException,
            _UnusableRequestError,
            _UnusableReplyError,
        ) as error:
            if connection is not None:
                connection.close()
            status, text = _explained(error, host)
            logger.warning("forwarding to %s failed: %s", host, type(error).__name__)
            return answer(environ, start_response, status, text)
        start_response(f"{reply.status} {reply.reason}", passed_on)
        return _Body(connection, reply)

    def _route(
        self, method: str, target: Target
    ) -> tuple[http.client.HTTPConnection, str, Headers]:
        """Return the connection to use, the target to request on it, and headers for the proxy."""
        url = f"http://{target.netloc}/"
        proxies = self._network.proxies_for(url)
        proxy = proxies.get("http") or proxies.get("all")
        path = target.origin_form(method)
        if proxy is None:
            host = (target.host or "").strip("[]")
            return http.client.HTTPConnection(host, target.port, self._connecting), path, []
        there = _parsed(proxy)
        absolute = f"http://{target.netloc}{'' if path == '*' else path}"
        return self._to_proxy(there), absolute, _login(there)

    def _to_proxy(self, proxy: SplitResult) -> http.client.HTTPConnection:
        if proxy.scheme == "http" and proxy.hostname:
            return http.client.HTTPConnection(proxy.hostname, proxy.port or 80, self._connecting)
        if proxy.scheme == "https" and proxy.hostname:
            bundle = Path(self._network.ca_bundle or DEFAULT_CA_BUNDLE_PATH)
            is_folder = bundle.is_dir()
            trust = ssl.create_default_context(
                cafile=None if is_folder else bundle, capath=bundle if is_folder else None
            )
            return http.client.HTTPSConnection(
                proxy.hostname, proxy.port or 443, timeout=self._connecting, context=trust
            )
        raise _UnusableReplyError(_NO_PROXY)

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        address: str,
        headers: Headers,
        body: Iterable[bytes] | None,
    ) -> http.client.HTTPResponse:
        connection.connect()
        connection.sock.settimeout(self._reading)
        connection.putrequest(method, address, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value.encode("latin-1"))
        is_chunked = any(name == "Transfer-Encoding" for name, _ in headers)
        # The server may have answered before it had read everything, for example with 413.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.endheaders(body, encode_chunked=is_chunked)
        reply = connection.getresponse()
        if reply.status < 200:
            raise _UnusableReplyError("because it sent an interim response that is not supported")
        if reply.status == 407:
            raise _UnusableReplyError(
                "because the proxy in HTTP_PROXY or ALL_PROXY asks for another user and password"
            )
        return reply


class _Body:
    """The body of a response, as it arrives."""

    def __init__(
        self, connection: http.client.HTTPConnection, reply: http.client.HTTPResponse
    ) -> None:
        self._connection = connection
        self._reply = reply

    def __iter__(self) -> Iterator[bytes]:
        """Return the pieces.

        Raises:
            ConnectionError: the other server broke off, so the client must see no proper end.
        """
        try:
            while chunk := self._reply.read1(_CHUNK):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error
        if self._reply.length:
            raise self._broken(http.client.IncompleteRead(b"", self._reply.length))

    def _broken(self, error: Exception) -> ConnectionError:
        logger.warning("forwarding broke off: %s", type(error).__name__)
        return ConnectionError("the other server broke off")

    def close(self) -> None:
        """Close the connection, also if the client went away before the end."""
        self._reply.close()
        self._connection.close()


def _explained(error: Exception, host: str) -> tuple[int, str]:
    """Return the status and the text of a failure, as RFC 9110 defines 502 and 504."""
    if isinstance(error, TimeoutError):
        return 504, f"pyoci-flask run: {host} did not answer in time"
    is_network = isinstance(error, OSError)  # a certificate that is not valid is a ValueError too
    if isinstance(error, _UnusableRequestError | ValueError) and not is_network:
        return 400, f"pyoci-flask run: the request cannot be forwarded ({error})"
    why = f" {error}" if isinstance(error, _UnusableReplyError) else ""
    return 502, f"pyoci-flask run could not reach {host}{why}"


def _parsed(proxy: str) -> SplitResult:
    try:
        parsed = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        _ = parsed.port
    except ValueError:
        raise _UnusableReplyError(_NO_PROXY) from None  # the URL may contain a password
    return parsed


def _login(proxy: SplitResult) -> Headers:
    """Return the header with the user name and the password in the URL of a proxy, if any."""
    if proxy.username is None:
        return []
    login = BasicCredentials(unquote(proxy.username), unquote(proxy.password or ""))
    return [("Proxy-Authorization", login.header)]


def _passed_on(headers: Iterable[tuple[str, str]], without: frozenset[str]) -> Headers:
    """Return the headers that are not only for this connection, and one that says so."""
    pairs = [(name, " ".join(value.splitlines())) for name, value in headers]
    named = ",".join(value for name, value in pairs if name.lower() == "connection")
    dropped = _HOP_BY_HOP | without | {name.strip().lower() for name in named.split(",")}
    kept = [pair for pair in pairs if pair[0].lower() not in dropped]
    return [*kept, _VIA]


def _reply_headers(reply: http.client.HTTPResponse) -> Headers:
    lengths = {length.strip() for length in reply.headers.get_all("Content-Length", [])}
    if reply.chunked:
        return _passed_on(reply.headers.items(), frozenset({"content-length"}))
    if len(lengths) > 1 or not all(length.isdecimal() for length in lengths):
        raise _UnusableReplyError("because the length of its response is not clear")
    return _passed_on(reply.headers.items(), frozenset())


def _body(environ: "WSGIEnvironment") -> tuple[Iterable[bytes] | None, Headers]:
    """Return the body of a request, and the headers that say where it ends (RFC 9112, 6.3)."""
    given = {name.lower() for name, _ in environ[HEADERS]}
    lengths = {
        value.strip() for name, value in environ[HEADERS] if name.lower() == "content-length"
    }
    if "transfer-encoding" in given:
        coding = environ.get("HTTP_TRANSFER_ENCODING", "").strip().lower()
        if coding != "chunked" or lengths:
            raise _UnusableRequestError("the length of its body is not clear")
        return _chunked(environ), [("Transfer-Encoding", "chunked")]
    if not lengths:
        return None, []
    length = lengths.pop()
    if lengths or not length.isdecimal():
        raise _UnusableRequestError("the length of its body is not clear")
    return _limited(environ, int(length)), [("Content-Length", length)]


def _chunked(environ: "WSGIEnvironment") -> Iterator[bytes]:
    stream = environ["wsgi.input"]
    try:
        while chunk := stream.read(_CHUNK):
            yield chunk
    except (OSError, ValueError) as error:
        raise _UnusableRequestError("its body broke off") from error


def _limited(environ: "WSGIEnvironment", left: int) -> Iterator[bytes]:
    stream = environ["wsgi.input"]
    while left:
        try:
            chunk = stream.read(min(left, _CHUNK))
        except OSError as error:
            raise _UnusableRequestError("its body broke off") from error
        if not chunk:
            raise _UnusableRequestError("its body broke off")
        left -= len(chunk)
        yield chunk
