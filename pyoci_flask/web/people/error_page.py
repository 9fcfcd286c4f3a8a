"""The error page, which says what happened and what to do about it."""

from collections.abc import Mapping

from flask import request
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.http import HTTP_STATUS_CODES
from werkzeug.wrappers import Response

from pyoci_flask import errors
from pyoci_flask.common.redaction import redact
from pyoci_flask.web.access_log import ENVIRON_REQUEST_ID
from pyoci_flask.web.address import Base
from pyoci_flask.web.incoming import sent_path, visit
from pyoci_flask.web.people.error_links import instead_of
from pyoci_flask.web.people.frame import answer, setup_path
from pyoci_flask.web.services import services

_GITHUB = (
    "ghcr.io accepts personal access tokens (classic). They need the scope read:packages to browse "
    "and install, write:packages to publish, and delete:packages to delete. If your organisation "
    "uses single sign-on, authorise the token for it."
)
_SPELLING = "Check the spelling of the registry, the namespace and the project in the address."
_USE_A_CLIENT = (
    "Use pip, uv, twine or curl. A page in a browser is not allowed to send this request."
)
_LATER = "Try again later. If the problem lasts, look at the status page of the registry."


_Advice = tuple[str, ...]
"""A heading; what to do, unless the error itself says it; and further steps."""

_ADVICE: Mapping[type[Exception], _Advice] = {
    errors.InvalidRequestError: ("This request is not valid", _SPELLING),
    errors.AuthenticationRequiredError: (
        "The registry requires credentials",
        (
            "Reload the page and enter the user name and the token of your account at the "
            "registry. They are passed on to the registry and never stored."
        ),
    ),
    errors.EgressError: (
        "This server does not call that registry",
        _SPELLING,
        (
            "The administrator of this server decides which registries it calls (with the "
            "settings PYOCI_REGISTRIES and PYOCI_PRIVATE_NETWORKS). Ask for this registry to be "
            "added."
        ),
    ),
    errors.CrossSiteError: ("This request came from another site", _USE_A_CLIENT),
    errors.VersionNotFoundError: ("This version does not exist",),
    errors.NotFoundError: (
        "There is no such thing here",
        _SPELLING,
        (
            "Registries hide what you have no permission to see. Check whether your account is "
            "allowed to read this project."
        ),
    ),
    errors.RateLimitedError: (
        "The registry received too many requests",
        "Wait a few minutes. Most registries allow more requests to users who are signed in.",
    ),
    errors.RegistryUnreachableError: (
        "The registry cannot be reached",
        "Check the host name and the port in the address.",
        _LATER,
    ),
    errors.RegistryTimeoutError: ("The registry does not respond", _LATER),
    errors.RegistryError: ("The registry sent an invalid response", _LATER),
    errors.BusyError: ("Too many requests are waiting", "Try again in a few seconds."),
    NotFound: (
        "This page does not exist",
        (
            "The address of an index is /REGISTRY/NAMESPACE/, for example /ghcr.io/acme/. Put /ui "
            "before it to browse the index: /ui/ghcr.io/acme/."
        ),
    ),
    MethodNotAllowed: ("This action is not possible here", _USE_A_CLIENT),
}
_WRONG_CREDENTIALS = (
    "The registry refused these credentials",
    "Check the user name and the token. Is the token complete? Has it expired?",
    "The password for the web site of a registry rarely works for its API.",
)
_TOO_FEW_RIGHTS = (
    "These credentials do not permit this",
    "Use credentials that have permissions for this namespace.",
    (
        "The registry accepted your credentials, but denied this. Your browser keeps sending them. "
        "To use others, open this page in a private window."
    ),
)
_NOBODY_MAY = (
    "The registry does not permit this",
    "Ask the administrator of the registry who may do this.",
)
_OUR_FAULT = (
    "Something went wrong here",
    "Send the request ID below to the administrator of this server, who can find it in the log.",
)


def error_page(status: int, text: str, error: Exception) -> Response:
    """Return the page. `text` says what happened, and must not contain secrets."""
    title, *steps = _advice(status, error)
    first = steps.pop(0) if steps else ""
    own = redact(getattr(error, "advice", ""))
    # A person signs in by reloading the page, which the error does not know.
    if own and not isinstance(error, errors.AuthenticationRequiredError):
        first = f"{own}{'' if own.endswith('?') else '.'}"
    about_rights = isinstance(error, errors.AuthenticationRequiredError | errors.DeniedError)
    if about_rights and text.startswith("ghcr.io "):
        steps.append(_GITHUB)
    return answer(
        "error.html",
        status,
        name=HTTP_STATUS_CODES.get(status, "Error"),
        title=title,
        first=first,
        text=text,
        steps=steps,
        setup=setup_path(_base()),
        instead=instead_of(error),
        request_id=request.environ.get(ENVIRON_REQUEST_ID, "-"),
    )


def _base() -> Base | None:
    """Return the index to which the requested address belongs, or None."""
    known = visit().base
    if known is not None:
        return known
    try:
        found = services().addresses.read(request.path, sent_path(request.environ))
    except errors.PyOCIError:
        return None
    return None if found is None else found.base


def _advice(status: int, error: Exception) -> _Advice:
    if isinstance(error, errors.DeniedError) and "Authorization" not in request.headers:
        return _NOBODY_MAY
    if isinstance(error, errors.DeniedError):
        return _WRONG_CREDENTIALS if status == 401 else _TOO_FEW_RIGHTS
    other = _OUR_FAULT if status >= 500 else ("This did not work",)
    return next((_ADVICE[kind] for kind in type(error).__mro__ if kind in _ADVICE), other)
