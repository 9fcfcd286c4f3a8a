"""What stands in front of the application in `run`: who may use it, and for what.

COMMAND runs code of many authors, such as build scripts of dependencies. It may use only what the
user named, and it never receives the credentials of the registry.
"""

import base64
import hmac
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pyoci_flask.cli.run.addresses import HOST, USER
from pyoci_flask.cli.run.failures import Failures
from pyoci_flask.cli.run.logins import Logins
from pyoci_flask.errors import LoginError, PyOCIError, RefusedError
from pyoci_flask.settings import PinnedIndex
from pyoci_flask.web.error_answers import status_of
from pyoci_flask.web.incoming import CREDENTIALS, ERROR_TEXT, FALLBACK, sent_path
from pyoci_flask.web.paths import AddressParser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_NOT_PASSED_ON = ("HTTP_AUTHORIZATION", "HTTP_PROXY_AUTHORIZATION", "HTTP_COOKIE")
_FORWARDED = ("HTTP_X_FORWARDED_", "HTTP_FORWARDED")


class _NotServedError(RefusedError):
    """The address is not that of an index of this run."""


class Front:
    """WSGI middleware (PEP 3333) that serves the indexes of one run, and forwards other requests.

    A request with an absolute URL is one to a proxy (RFC 9112, section 3.2.2). Every other request
    is one to a publish address.
    """

    def __init__(
        self,
        secret: str,
        application: Callable[[], "WSGIApplication"],
        forward: "WSGIApplication",
        addresses: AddressParser,
        indexes: Collection[PinnedIndex],
        fallback: Callable[[PinnedIndex], str | None],
        logins: Logins,
        failures: Failures,
        *,
        publish: bool,
        has_outer: bool = False,
    ) -> None:
        """Serve `indexes`; `has_outer`: `forward` reaches a run that may serve others."""
        self._authorization = f"{USER}:{secret}".encode()
        self._application = application
        self._forward = forward
        self._addresses = addresses
        self._indexes = frozenset(indexes)
        self._fallback = fallback
        self._logins = logins
        self._failures = failures
        self._publish = publish
        self._has_outer = has_outer

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer one request."""
        target = urlsplit(environ["REQUEST_URI"])
        if environ["REQUEST_METHOD"] == "CONNECT":
            target = target._replace(scheme="http", netloc="")
        is_proxied = bool(target.scheme)
        header = "HTTP_PROXY_AUTHORIZATION" if is_proxied else "HTTP_AUTHORIZATION"
        if not self._knows_secret(environ.get(header, "")):
            return _unknown(start_response, is_proxied=is_proxied)
        if environ["REQUEST_METHOD"] == "CONNECT":
            text = "this proxy forwards plain http only; https goes without it"
            return _answer(start_response, "405 Method Not Allowed", text, ("Allow", "GET"))
        if is_proxied and (target.hostname != HOST or target.port not in {None, 80}):
            return self._forward(environ, start_response)
        return self._serve(environ, start_response, is_proxied=is_proxied)

    def _serve(
        self, environ: "WSGIEnvironment", start_response: "StartResponse", *, is_proxied: bool
    ) -> Iterable[bytes]:
        try:
            index = self._index(environ)
            login = self._logins.find(index)
        except PyOCIError as error:
            if isinstance(error, _NotServedError) and is_proxied and self._has_outer:
                return self._forward(environ, start_response)
            if isinstance(error, LoginError):
                self._failures.add("", str(error))
            return _answer(start_response, f"{status_of(error)} Refused", str(error))
        for name in [name for name in environ if name.startswith(_FORWARDED)]:
            del environ[name]
        for name in _NOT_PASSED_ON:
            environ.pop(name, None)
        wants_fallback = is_proxied and "/+simple/" in environ["PATH_INFO"]
        environ[CREDENTIALS] = login.credentials
        environ[FALLBACK] = (lambda: self._fallback(index)) if wants_fallback else (lambda: None)

        def started(status: str, headers: list[tuple[str, str]], *rest: object) -> object:
            number = int(status[:3])
            text = environ.get(ERROR_TEXT)
            if text is not None and self._is_failure(number):
                self._failures.add(index.registry.address, text, login)
                self._logins.forget(index)
            return start_response(status, headers, *rest)  # type: ignore[arg-type] # passed on

        return self._application()(environ, started)  # type: ignore[arg-type] # the same function

    def _index(self, environ: "WSGIEnvironment") -> PinnedIndex:
        method, path, sent = environ["REQUEST_METHOD"], environ["PATH_INFO"], sent_path(environ)
        path = path.encode("latin-1").decode("utf-8", "replace")
        if method in {"GET", "HEAD"}:
            address = self._addresses.read(path, sent)
            base = None if address is None else address.base
        elif method == "POST" and self._publish:
            base = self._addresses.publish(path, sent)
        elif method == "POST":
            raise RefusedError(
                "this run only reads: to publish, start it as `pyoci-flask run --publish ...`"
            )
        else:
            raise RefusedError(f"{method[:20]} is not allowed under `pyoci-flask run`")
        index = None if base is None else PinnedIndex(base.registry, base.namespace)
        if index not in self._indexes:
            named = ", ".join(sorted(f"{i.registry.address}/{i.namespace}" for i in self._indexes))
            raise _NotServedError(
                f"this run serves only {named}: name other indexes by --index or in pyproject.toml"
            )
        return index

    def _is_failure(self, status: int) -> bool:
        return status in {401, 403, 429} or status >= 500

    def _knows_secret(self, header: str) -> bool:
        scheme, _, value = header.strip().partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(value.strip(), validate=True)
        except ValueError:
            return False
        return hmac.compare_digest(given, self._authorization)


def _unknown(start_response: "StartResponse", *, is_proxied: bool) -> Iterable[bytes]:
    text = "this address belongs to one run of `pyoci-flask run`, and needs its user and secret"
    challenge = 'Basic realm="pyoci-flask run", charset="UTF-8"'
    if is_proxied:
        header = "Proxy-Authenticate", challenge
        return _answer(start_response, "407 Proxy Authentication Required", text, header)
    return _answer(start_response, "401 Unauthorized", text, ("WWW-Authenticate", challenge))


def _answer(
    start_response: "StartResponse", status: str, text: str, *headers: tuple[str, str]
) -> Iterable[bytes]:
    body = f"{text}\n".encode()
    start_response(
        status,
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            *headers,
        ],
    )
    return [body]
