"""Reads the current request, and keeps its state until its response begins."""

import base64
import re
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import quote

from flask import request

from pyoci_flask.common.redaction import (
    FIELD_LIMIT,
    REDACTED,
    field,
    holds_userinfo,
    shortened,
    without_userinfo,
)
from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.logs import one_line
from pyoci_flask.oci.shares import Share
from pyoci_flask.transport.request import BasicCredentials, BearerCredentials, Credentials
from pyoci_flask.web.address import Base

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

CREDENTIALS = "pyoci.credentials"
"""Key in the WSGI environ under which a middleware may put the credentials for the registry (or
None). They replace those of the request, which then prove something else."""
FALLBACK = "pyoci.fallback"
"""Key in the WSGI environ under which a middleware may put a function that returns the URL of the
index to use in place of `PYOCI_FALLBACK_INDEX`, or None for no such index."""
ERROR_TEXT = "pyoci.error"
"""Key in the WSGI environ under which a middleware finds the text of an error that was answered."""
_VISIT = "pyoci.visit"
_TOKEN = re.compile(r"[\x21-\x7e]+")
_ORIGIN = re.compile(r"\Ahttps?://[^/?]*", re.IGNORECASE)
# RFC 3986 section 3.3: the characters that a path may contain unencoded.
_PATH_SAFE = "/:@!$&'()*+,;="
# RFC 3986 section 3.2.2, and a port. A redacted host contains brackets and @ as well.
_HOST_SAFE = ":[]@"
_PATH_READ = 1300
_PATH_LIMIT = 2000


class Visit:
    """The index of a request, and the resources that it holds until its response begins."""

    def __init__(self) -> None:
        self.base: Base | None = None
        self.share: Share | None = None
        """Set while the request has a place at the gate."""
        self.listing = ExitStack()
        """Counts a large listing as being built until this is closed."""


def visit() -> Visit:
    """Return the state of the current request."""
    state: Visit = request.environ.setdefault(_VISIT, Visit())
    return state


def caller_credentials(bearer_username: str | None) -> Credentials | None:
    """Return the credentials with which the current request is to call the registry.

    Raises:
        InvalidRequestError: the Authorization header is malformed.
    """
    if CREDENTIALS in request.environ:
        chosen: Credentials | None = request.environ[CREDENTIALS]
        return chosen
    return read_credentials(request.headers.get("Authorization"), bearer_username)


def fallback_index(default: str | None) -> str | None:
    """Return the URL of the index for projects that the registry does not have, if any."""
    chosen: Callable[[], str | None] | None = request.environ.get(FALLBACK)
    return default if chosen is None else chosen()


def sent_path(environ: "WSGIEnvironment") -> str | None:
    """Return the path as the client sent it, without its query.

    Return None if the WSGI server does not provide that path. gunicorn and Werkzeug do.
    """
    sent = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    return _ORIGIN.sub("", sent.partition("?")[0], count=1) if isinstance(sent, str) else None


def safe_path(environ: "WSGIEnvironment") -> str:
    """Return the path of the request, redacted and encoded for `RequestRecord.path`."""
    text = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
    # The path was decoded once, so everything before an @ may be a password with slashes.
    shown = without_userinfo(text)
    target = str(environ.get("RAW_URI") or environ.get("QUERY_STRING", ""))
    if shown is text and ":" in text and holds_userinfo(target):
        # The password contains ? or #, so the @ after it is not in the path.
        return f"/{REDACTED}"
    path = quote(shown[:_PATH_READ].encode("latin-1", "replace"), safe=_PATH_SAFE)
    return shortened(path.replace(quote(REDACTED), REDACTED), _PATH_LIMIT) or "/"


def safe_host(environ: "WSGIEnvironment") -> str:
    """Return the Host header, redacted and encoded for `RequestRecord.host`."""
    host = field(str(environ.get("HTTP_HOST", "")))
    host = quote(host.encode("latin-1", "replace"), safe=_HOST_SAFE)
    return host[:FIELD_LIMIT] or "-"


def safe_user_agent(environ: "WSGIEnvironment") -> str:
    """Return the User-Agent, escaped for `RequestRecord.user_agent`."""
    text = shortened(str(environ.get("HTTP_USER_AGENT", "")))
    return one_line(text.replace("\\", "\\\\").replace('"', '\\"'))


def read_credentials(header: str | None, bearer_username: str | None) -> Credentials | None:
    """Read a `Basic` (RFC 7617) or `Bearer` (RFC 6750) header, or return None without credentials.

    If the user name is `bearer_username`, the password is used as a Bearer token.

    Raises:
        InvalidRequestError: the header has another scheme or is malformed.
    """
    if header is None or not header.strip():
        return None
    scheme, _, value = header.strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return _bearer(value)
    if scheme.lower() != "basic":
        raise InvalidRequestError(
            "the Authorization header must use Basic or Bearer",
            advice="Sign in with a user name and a token",
        )
    try:
        content = base64.b64decode(value, validate=True)
    except ValueError as error:
        raise InvalidRequestError(
            "the Basic credentials are not valid base64",
            advice="Check the client: it must send the user name and the token encoded as base64",
        ) from error
    try:
        pair = content.decode()
    except UnicodeDecodeError:
        # pip and twine send latin-1, whatever the challenge says (RFC 7617, section 2.1).
        pair = content.decode("latin-1")
    username, colon, password = pair.partition(":")
    if not colon or any(ord(char) < 32 or ord(char) == 127 for char in pair):
        raise InvalidRequestError(
            "the Basic credentials are not a valid user name and password",
            advice="Check the user name and the token: neither may contain control characters",
        )
    if not username and not password:
        return None
    if bearer_username is not None and username == bearer_username:
        return _bearer(password)
    return BasicCredentials(username, password)


def _bearer(token: str) -> BearerCredentials:
    if not _TOKEN.fullmatch(token):
        raise InvalidRequestError(
            "the Bearer token is empty or not printable ASCII", advice="Check the token"
        )
    return BearerCredentials(token)


def has_option(name: str, value: str, hint: str) -> bool:
    """Return whether the query contains `name=value`. The query may also omit `name`.

    Raises:
        InvalidRequestError: the query contains another value or several; the text ends with `hint`.
    """
    values = request.args.getlist(name)
    if values not in ([], [value]):
        raise InvalidRequestError(f"the value of {name} is invalid: {hint}")
    return bool(values)
