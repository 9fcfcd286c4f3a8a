"""Turns exceptions into HTTP responses. No other module does this."""

import json
import logging
import re
from collections.abc import Callable, Mapping
from functools import partial

from flask import Flask, request
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed, NotFound
from werkzeug.http import HTTP_STATUS_CODES
from werkzeug.wrappers import Response

from pyoci_flask import errors
from pyoci_flask.common.redaction import redact
from pyoci_flask.errors import advised
from pyoci_flask.index.names import is_filename
from pyoci_flask.web.access_log import ENVIRON_REQUEST_ID
from pyoci_flask.web.incoming import ERROR_TEXT, sent_path, visit

ErrorPage = Callable[[int, str, Exception], Response]
"""Makes a page from a status, what happened (without secrets), and the exception."""

logger = logging.getLogger("pyoci.web")

_STATUS: Mapping[type[errors.PyOCIError], int] = {
    errors.InvalidRequestError: 400,
    errors.AuthenticationRequiredError: 401,
    errors.EgressError: 403,
    errors.CrossSiteError: 403,
    errors.RefusedError: 403,
    errors.LoginError: 403,
    errors.NotFoundError: 404,
    errors.UnsupportedError: 405,
    errors.NotAcceptableError: 406,
    errors.ClientTimeoutError: 408,
    errors.AlreadyExistsError: 409,
    errors.GoneError: 410,
    errors.PreconditionFailedError: 412,
    errors.PayloadTooLargeError: 413,
    errors.RateLimitedError: 429,
    errors.RegistryError: 502,
    errors.RegistryUnreachableError: 502,
    errors.TransferBrokenError: 502,
    errors.BusyError: 503,
    errors.RegistryTimeoutError: 504,
    errors.SpoolFullError: 507,
}

_SETTINGS = frozenset({"simple", "+simple", "pypi", "ui", "v2", "metrics"})
"""Path segments that are served only with a setting such as `PYOCI_INDEX`."""
_HTML = "text/html"
_SIMPLE = "application/vnd.pypi.simple"
PROBLEM_TYPE = "application/problem+json"
_REASON_LIMIT = 200
_DELAY = re.compile(r"[0-9]{1,9}|[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT")
"""A Retry-After value, which is a number of seconds or a date (RFC 9110, section 10.2.3)."""


class UnmatchedError(NotFound):
    """Nothing is served at this path. Caches may store the response."""

    advice = "Write the address of an index as /REGISTRY/NAMESPACE/, such as /ghcr.io/acme/"
    description = "nothing is served here; the page of a project is at /REGISTRY/NAMESPACE/PROJECT/"


def register_error_handlers(app: Flask, page: ErrorPage | None = None) -> None:
    """Handle every exception, expected or not. Browsers get `page`, and other clients get text."""
    app.register_error_handler(errors.PyOCIError, partial(_foreseen, page))
    app.register_error_handler(HTTPException, partial(_http, page))
    app.register_error_handler(InternalServerError, partial(_unforeseen, page))
    # Flask would log the same traceback a second time.
    app.log_exception = lambda _: None  # type: ignore[assignment, method-assign]  # a lambda in place of a method


def status_of(error: errors.PyOCIError) -> int:
    """Return the HTTP status of an error. Denials and rate limits keep the registry's status."""
    if isinstance(error, errors.DeniedError | errors.RateLimitedError):
        return error.status
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def challenge() -> str:
    """Return the challenge for Basic credentials (RFC 7617).

    A browser sends its credentials for a realm to every page of that realm, whatever link led to
    the page. So browsers get a separate realm for each registry origin. Otherwise they would send
    the password for one registry to another one, or to the same registry without TLS.
    """
    base = visit().base
    realm = f"PyOCI {base.registry.origin}" if base is not None and _is_browser() else "PyOCI"
    return f'Basic realm="{realm}", charset="UTF-8"'


def _is_browser() -> bool:
    """Return whether a browser requests a page, or a file that a page loads."""
    names_itself = "Mozilla/" in request.headers.get("User-Agent", "")
    return wants_page() or names_itself or "Sec-Fetch-Mode" in request.headers


def wants_page() -> bool:
    """Return whether the client prefers HTML, as browsers do and installers do not."""
    named = _accepted()
    best = max(named.values(), default=0)
    return named.get(_HTML, 0) == best > 0 and not any(name.startswith(_SIMPLE) for name in named)


def _accepted() -> dict[str, float]:
    return {name.lower(): quality for name, quality in request.accept_mimetypes}


def _foreseen(page: ErrorPage | None, error: errors.PyOCIError) -> Response:
    status = status_of(error)
    response = _answer(page, error.advice, str(error), status, error)
    if status == 401:
        response.headers["WWW-Authenticate"] = challenge()
    if status == 405:
        # The registry does not support the change, so only reading is allowed.
        response.headers["Allow"] = "GET, HEAD, OPTIONS"
    if isinstance(error, errors.RateLimitedError) and _DELAY.fullmatch(error.retry_after or ""):
        response.headers["Retry-After"] = error.retry_after or ""
    if isinstance(error, errors.BusyError):
        response.headers["Retry-After"] = "1"
    return response


def _http(page: ErrorPage | None, error: HTTPException) -> Response:
    advice = error.advice if isinstance(error, UnmatchedError) else ""
    if isinstance(error, MethodNotAllowed) and error.description == MethodNotAllowed.description:
        advice = "Check the address and the method; packages are sent to /REGISTRY/NAMESPACE/"
    response = _answer(page, advice, error.description or error.name, error.code or 500, error)
    for name, value in error.get_headers(request.environ):
        if name.lower() == "allow":
            response.headers[name] = value
    if isinstance(error, NotFound) and response.mimetype != _HTML and not _is_of_a_setting():
        response.headers["Cache-Control"] = "max-age=604800, public"
    return response


def _is_of_a_setting() -> bool:
    """Return whether another setting could make the server serve this path.

    One of these settings is `PYOCI_PATH`, so this reads the path as the client sent it.
    """
    sent = sent_path(request.environ) or request.path
    segments = [part for part in sent.split("/") if part]
    return not _SETTINGS.isdisjoint(segments) or (bool(segments) and is_filename(segments[-1]))


def _unforeseen(page: ErrorPage | None, error: InternalServerError) -> Response:
    number = request.environ.get(ENVIRON_REQUEST_ID, "-")
    logger.error("unexpected error in request %s", number, exc_info=error.original_exception)
    text = f"an unexpected error occurred; it was logged as {number}"
    return _answer(page, "", text, 500, error)


def _answer(
    page: ErrorPage | None, advice: str, message: str, status: int, error: Exception
) -> Response:
    """Return a response with a text or a page. The status line contains the reason as well.

    Some clients show only the status line (twine); others show RFC 9457 problem details (uv).
    """
    title = HTTP_STATUS_CODES.get(status, "Error")
    # Text quoted from a request or a registry may contain a credential.
    advice, message = redact(advice), redact(message)
    text = advised(advice, message)
    # `run` knows the login, so it says itself what to do about it.
    denied = isinstance(error, errors.AuthenticationRequiredError | errors.DeniedError)
    request.environ[ERROR_TEXT] = message if denied else text
    if _accepted().get(PROBLEM_TYPE, 0) > 0:
        body = json.dumps({"title": title, "status": status, "detail": text})
        response = Response(body, content_type=PROBLEM_TYPE)
    elif page is not None and wants_page():
        response = page(status, message, error)
    else:
        response = Response(f"{text}\n", content_type="text/plain; charset=utf-8")
    response.status = f"{status} {reason(text)}"
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Accept"
    return response


def reason(text: str) -> str:
    """Return the text as one line of printable ASCII (RFC 9112, section 4)."""
    line = "".join(char if " " <= char <= "~" else "?" for char in text)
    return line if len(line) <= _REASON_LIMIT else f"{line[: _REASON_LIMIT - 3]}..."
