"""The blueprint of the index. Its paths begin with a registry, `/simple/` or `/pypi/`."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from flask import Blueprint, current_app, request
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.wrappers import Response

from pyoci_flask.common.cross_site import is_cross_site
from pyoci_flask.common.redaction import shown
from pyoci_flask.errors import CrossSiteError, InvalidRequestError
from pyoci_flask.web.address import (
    FileAddress,
    JsonAddress,
    ListAddress,
    MetadataAddress,
    ProjectAddress,
    ReadAddress,
)
from pyoci_flask.web.api.changes import delete, patch
from pyoci_flask.web.api.files import core_metadata, download
from pyoci_flask.web.api.legacy import legacy_json
from pyoci_flask.web.api.simple import list_page, project_page
from pyoci_flask.web.api.upload import upload
from pyoci_flask.web.error_answers import UnmatchedError
from pyoci_flask.web.gate import STREAMS
from pyoci_flask.web.incoming import sent_path
from pyoci_flask.web.services import services

blueprint = Blueprint("index", __name__)

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_VIEWS: Mapping[type[ReadAddress], Callable[[Any], Response]] = {
    ListAddress: list_page,
    ProjectAddress: project_page,
    JsonAddress: legacy_json,
    FileAddress: download,
    MetadataAddress: core_metadata,
}


@blueprint.before_app_request
def refuse_other_sites() -> None:
    """Refuse requests that another site's page makes with the user's credentials."""
    if request.method not in _SAFE and is_cross_site(request, services().settings.url):
        origin = shown(request.headers.get("Origin", ""))
        raise CrossSiteError(
            f"this request comes from another site's page (Origin: {origin})",
            advice="Use pip, uv, twine or curl; a page of another site is not allowed to "
            "send this request",
        )


@blueprint.before_app_request
def refuse_other_methods() -> None:
    """Respond with 405 and the methods of this address, instead of those of the whole index."""
    if not isinstance(request.routing_exception, MethodNotAllowed):
        return
    adapter = current_app.create_url_adapter(request)
    rule = adapter.match(method="GET", return_rule=True)[0] if adapter is not None else None
    if rule is None or rule.endpoint.startswith(f"{blueprint.name}."):
        methods = _methods(request.path.lstrip("/"))
    else:
        methods = sorted(rule.methods or ())
    raise MethodNotAllowed(methods) if methods else UnmatchedError


@blueprint.after_app_request
def begin_answer(response: Response) -> Response:
    """Leave the gate, and record for the server whether the body comes from a registry.

    The server reads the rest of an upload or closes the connection, because PEP 3333 does not let
    applications control connections.
    """
    share = services().leave()
    if response.is_streamed:
        request.environ[STREAMS] = share
    return response


@blueprint.get("/<path:path>", provide_automatic_options=False)
def read(path: str) -> Response:
    """Handle GET and HEAD."""
    address = services().addresses.read(f"/{path}", sent_path(request.environ))
    if address is None:
        raise UnmatchedError
    return _VIEWS[type(address)](address)


@blueprint.post("/<path:path>", provide_automatic_options=False)
def publish(path: str) -> Response:
    """Handle an upload."""
    base = services().addresses.publish(f"/{path}", sent_path(request.environ))
    if base is None:
        raise UnmatchedError
    return upload(base)


@blueprint.route("/<path:path>", methods=["DELETE", "PATCH"], provide_automatic_options=False)
def change(path: str) -> Response:
    """Handle a deletion or a yank."""
    address = services().addresses.change(f"/{path}", sent_path(request.environ))
    if address is not None:
        return delete(address) if request.method == "DELETE" else patch(address)
    if services().addresses.read(f"/{path}", sent_path(request.environ)) is None:
        raise UnmatchedError
    raise MethodNotAllowed(
        _methods(path),
        "only a file or a version can be changed (.../PROJECT/FILENAME or .../PROJECT/VERSION)",
    )


@blueprint.route("/<path:path>", methods=["OPTIONS"])
def options(path: str) -> Response:
    """Return the methods of an address (RFC 9110, section 9.3.7) without calling the registry."""
    methods = _methods(path)
    if not methods:
        raise UnmatchedError
    return Response(headers={"Allow": ", ".join(methods)})


def _methods(path: str) -> list[str]:
    """Return the methods of an address that are known without calling the registry."""
    addresses = services().addresses
    methods: list[str] = []
    for parse, names in (
        (addresses.read, ("GET", "HEAD")),
        (addresses.publish, ("POST",)),
        (addresses.change, ("DELETE", "PATCH")),
    ):
        with suppress(InvalidRequestError):
            if parse(f"/{path}", sent_path(request.environ)) is not None:
                methods += names
    return [*methods, "OPTIONS"] if methods else []
