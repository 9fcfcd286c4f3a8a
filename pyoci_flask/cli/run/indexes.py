"""Serves the indexes of a run with the application, and with the user's logins.

COMMAND never receives the credentials of the registry.
"""

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from pyoci_flask.cli.run.addresses import WITH_FALLBACK
from pyoci_flask.cli.run.allowed import Allowed, NotServedError
from pyoci_flask.cli.run.answers import answer
from pyoci_flask.cli.run.failures import Failures
from pyoci_flask.cli.run.logins import Logins, UsedLogin
from pyoci_flask.cli.run.target import TARGET, Target
from pyoci_flask.errors import LoginError, PyOCIError
from pyoci_flask.settings import PinnedIndex
from pyoci_flask.web.error_answers import status_of
from pyoci_flask.web.incoming import CREDENTIALS, ERROR_TEXT, FALLBACK

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger("pyoci.run")

_OF_CLIENT = frozenset({"HTTP_AUTHORIZATION", "HTTP_PROXY_AUTHORIZATION", "HTTP_COOKIE"})
_OF_PROXIES = ("HTTP_X_FORWARDED_", "HTTP_FORWARDED")


class Indexes:
    """WSGI middleware (PEP 3333) between a client of this run and the application."""

    def __init__(
        self,
        application: "WSGIApplication",
        allowed: Allowed,
        fallback: Callable[[PinnedIndex], str | None],
        logins: Logins,
        failures: Failures,
        outer: "WSGIApplication | None" = None,
    ) -> None:
        """Let `application` answer for what is allowed.

        `fallback` returns the URL of the index for what an index does not have. `outer` answers for
        other indexes, if this run is inside another one.
        """
        self._application = application
        self._allowed = allowed
        self._fallback = fallback
        self._logins = logins
        self._failures = failures
        self._outer = outer

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer one request."""
        target: Target = environ[TARGET]
        _keep_path_only(environ, target)
        try:
            index = self._allowed.index_of(environ)
            login = self._logins.find(index)
        except PyOCIError as error:
            if isinstance(error, NotServedError) and self._outer and target.host is not None:
                return self._outer(environ, start_response)
            if isinstance(error, LoginError):
                logger.error("%s", error)  # noqa: TRY400 - a traceback would add nothing
                self._failures.add("", str(error))
            return answer(environ, start_response, status_of(error), str(error))
        wants_fallback = target.host is not None and f"/{WITH_FALLBACK}" in environ["PATH_INFO"]
        environ[CREDENTIALS] = login.credentials
        environ[FALLBACK] = (lambda: self._fallback(index)) if wants_fallback else (lambda: None)

        def started(
            status: str,
            headers: list[tuple[str, str]],
            exc_info: "OptExcInfo | None" = None,
            /,
        ) -> Callable[[bytes], object]:
            number = int(status[:3])
            self._note(environ, number, index, login)
            if number == 401:
                # Clients would ask the user for a password, which would not be used.
                status = f"403{status[3:]}"
                headers = [pair for pair in headers if pair[0].lower() != "www-authenticate"]
            return start_response(status, headers, exc_info)

        return self._application(environ, started)

    def _note(
        self, environ: "WSGIEnvironment", status: int, index: PinnedIndex, login: UsedLogin
    ) -> None:
        text = environ.get(ERROR_TEXT)
        if text is None or not (status in {401, 403, 429} or status >= 500):
            return
        is_denied = status in {401, 403}
        self._failures.add(index.registry.address, text, login if is_denied else None)
        if is_denied:
            self._logins.forget(index)  # it may have expired


def _keep_path_only(environ: "WSGIEnvironment", target: Target) -> None:
    """Let the application read the path that was parsed, and nothing that is not for it."""
    for name in [one for one in environ if one in _OF_CLIENT or one.startswith(_OF_PROXIES)]:
        del environ[name]
    environ["SCRIPT_NAME"] = ""
    environ["PATH_INFO"] = unquote_to_bytes(target.path or "/").decode("latin-1")
    environ["QUERY_STRING"] = target.query or ""
    environ["REQUEST_URI"] = environ["RAW_URI"] = target.origin_form("GET")
    if target.host is not None:
        environ["HTTP_HOST"] = target.netloc
