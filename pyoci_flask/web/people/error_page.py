"""Errors as pages for people: what happened, and what to do about it."""

from dataclasses import dataclass

from flask import request
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.http import HTTP_STATUS_CODES
from werkzeug.wrappers import Response

from pyoci_flask import errors
from pyoci_flask.web.access import ENVIRON_REQUEST_ID
from pyoci_flask.web.address import Base
from pyoci_flask.web.people.frame import answer, render, setup_path
from pyoci_flask.web.request import sent_path, visit
from pyoci_flask.web.services import services

_GITHUB = (
    "ghcr.io takes personal access tokens (classic): with the scope read:packages to look and "
    "install, write:packages to publish, delete:packages to delete. Where the organisation uses "
    "single sign-on, the token has to be authorised for it."
)
_OTHER_CREDENTIALS = (
    "Your browser goes on sending the credentials that it has: to use others, open the page in a "
    "private window."
)
_SPELLING = "Look at the spelling of the address: registry, namespace, project."
_SIGN_IN = (
    "Load the page again, and give the user name and the token of your account at the registry. "
    "They are passed on to it and kept nowhere."
)
_ASK_THE_OPERATOR = (
    "Whoever runs this server decides which registries it calls (the settings PYOCI_REGISTRIES and "
    "PYOCI_PRIVATE_NETWORKS): ask them to add this one."
)
_HIDDEN = (
    "Registries hide from people what they may not see: look whether your account may read this "
    "project."
)
_ADDRESSES = (
    "An index has the address /REGISTRY/NAMESPACE/, such as /ghcr.io/acme/, and its page for "
    "people the same behind /ui/."
)
_WRONG = (
    "Look at the user name and the token: is it complete, and has it expired? A password of the "
    "registry's web site is rarely one for its API."
)
_RIGHTS = "The registry knows you, but your permissions for this namespace are not enough."
_USE_A_CLIENT = "Use pip, uv, twine or curl: they send what a browser's page may not."
_SLOWER = "Wait a few minutes. Signed in, most registries allow more than to strangers."
_HOST_AND_PORT = "Look at the host name and the port in the address."
_NUMBER = "Tell whoever runs this server the number of this request: it is in their log."
_LATER = "Try again in a while; if it lasts, look at the registry's own status page."


@dataclass(frozen=True, slots=True)
class _Advice:
    """A heading, and what somebody can do."""

    title: str
    steps: tuple[str, ...] = ()


_ADVICE: dict[type[Exception], _Advice] = {
    errors.InvalidRequestError: _Advice("This cannot be asked for", (_SPELLING,)),
    errors.AuthenticationRequiredError: _Advice("The registry asks who you are", (_SIGN_IN,)),
    errors.EgressError: _Advice(
        "This server does not call that registry", (_SPELLING, _ASK_THE_OPERATOR)
    ),
    errors.CrossSiteError: _Advice("This came from another site's page", (_USE_A_CLIENT,)),
    errors.NotFoundError: _Advice("There is no such thing here", (_SPELLING, _HIDDEN)),
    errors.RateLimitedError: _Advice("The registry asks to slow down", (_SLOWER,)),
    errors.RegistryUnreachableError: _Advice(
        "The registry cannot be reached", (_HOST_AND_PORT, _LATER)
    ),
    errors.RegistryTimeoutError: _Advice("The registry does not answer", (_LATER,)),
    errors.RegistryError: _Advice("The registry gave an answer that makes no sense", (_LATER,)),
    errors.BusyError: _Advice("Too many are waiting", ("Try again in a few seconds.",)),
    NotFound: _Advice("Nothing is served here", (_ADDRESSES,)),
    MethodNotAllowed: _Advice("That cannot be done here", (_USE_A_CLIENT,)),
}
_WRONG_CREDENTIALS = _Advice("The registry refused these credentials", (_WRONG,))
_TOO_FEW_RIGHTS = _Advice("These credentials may not do this", (_RIGHTS, _OTHER_CREDENTIALS))
_OUR_FAULT = _Advice("Something went wrong here", (_NUMBER,))


def error_page(status: int, text: str, error: Exception) -> Response:
    """Make the page; `text` holds no secrets."""
    advice = _advice(status, error)
    about_rights = isinstance(error, errors.AuthenticationRequiredError | errors.DeniedError)
    html = render(
        "error.html",
        status=status,
        name=HTTP_STATUS_CODES.get(status, "Error"),
        title=advice.title,
        text=text,
        steps=[*advice.steps, *([_GITHUB] if about_rights and text.startswith("ghcr.io ") else [])],
        setup=setup_path(_base()),
        request_id=request.environ.get(ENVIRON_REQUEST_ID, "-"),
    )
    return answer(html, status)


def _base() -> Base | None:
    """The index that the address names, if that can be told."""
    known = visit().base
    if known is not None:
        return known
    try:
        found = services().addresses.read(request.path, sent_path(request.environ))
    except errors.PyOCIError:
        return None
    return None if found is None else found.base


def _advice(status: int, error: Exception) -> _Advice:
    if isinstance(error, errors.DeniedError):
        return _WRONG_CREDENTIALS if status == 401 else _TOO_FEW_RIGHTS
    for kind in type(error).__mro__:
        if kind in _ADVICE:
            return _ADVICE[kind]
    return _OUR_FAULT if status >= 500 else _Advice("This did not work")
