"""One URL for all packages: redirects to the fallback index for projects of other people.

`docs/dependency-confusion.md` explains each of the conditions. Somebody who can make this server
redirect the name of a private project decides what is installed under that name.
"""

from fnmatch import fnmatchcase

from flask import request
from werkzeug.wrappers import Response

from pyoci_flask.errors import AuthenticationRequiredError, DeniedError, NotFoundError
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.transport.request import Scope
from pyoci_flask.web.address import ProjectAddress
from pyoci_flask.web.services import services


def fallback(
    address: ProjectAddress, caller: RepositoryCaller, error: NotFoundError | DeniedError
) -> Response:
    """Redirect a project page to the fallback index, or raise `error` if that is not safe.

    Raises:
        AuthenticationRequiredError: see `redirect_to_fallback`.
    """
    if not _falls_back(address) or (
        isinstance(error, DeniedError)
        and (caller.credentials is None or not services().settings.fallback_denied)
    ):
        raise error
    return redirect_to_fallback(address, caller)


def empty_falls_back(address: ProjectAddress) -> bool:
    """Return whether to redirect a project page without versions to the fallback index."""
    return services().settings.fallback_empty and _falls_back(address)


def _falls_back(address: ProjectAddress) -> bool:
    settings = services().settings
    name = address.project.normalized
    return (
        settings.fallback_index is not None
        and request.method == "GET"
        and not any(fnmatchcase(name, pattern) for pattern in settings.fallback_exclude)
    )


def redirect_to_fallback(address: ProjectAddress, caller: RepositoryCaller) -> Response:
    """Redirect a project page to the fallback index.

    Raises:
        AuthenticationRequiredError: the project may be private, and visible only with
            credentials.
    """
    found = services()
    name = address.project.normalized
    origin, scope = caller.repository.registry.origin, Scope(caller.repository.name, "pull")
    if caller.credentials is None and found.authenticator.wants_token(origin, scope):
        raise AuthenticationRequiredError(
            f"{caller.repository.registry.netloc} asks for credentials: without them, {name} may "
            "be a private project that cannot be seen, so it is not looked up elsewhere"
        )
    response = Response(status=302)
    response.headers["Location"] = f"{found.settings.fallback_index}/{name}/"
    response.headers["Cache-Control"] = "no-store"
    return response
