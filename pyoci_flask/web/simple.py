"""GET `{base}/{project}/`: the project page of the Simple API (PEP 503, 691, 700)."""

import json
from typing import Any

from flask import render_template, request
from packaging.version import InvalidVersion, Version
from werkzeug.wrappers import Response

from pyoci_flask.errors import NotAcceptableError
from pyoci_flask.index.listing import list_project
from pyoci_flask.index.project import File, Project, format_time
from pyoci_flask.web.address import ProjectAddress
from pyoci_flask.web.conditional import page
from pyoci_flask.web.links import file_href, quote_segment
from pyoci_flask.web.services import services

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
PLAIN_HTML = "text/html"
_ALIASES = {
    "application/vnd.pypi.simple.latest+json": JSON,
    "application/vnd.pypi.simple.latest+html": HTML,
}
_OFFERED = (PLAIN_HTML, JSON, HTML)


def project_page(address: ProjectAddress) -> Response:
    """Show a project's files."""
    if not address.slash:
        return redirect_to_slash(address.project.text)
    media_type = negotiate(request.headers.get("Accept"), request.args.get("format"))
    found = services()
    candidates = found.candidates(address.base, address.project)
    project = list_project(candidates, found.pool, found.settings.max_versions)
    if media_type == JSON:
        return page(json.dumps(project_json(project)), JSON, vary="Accept, Authorization")
    html = render_template("simple/project.html", project=project, files=project.files)
    return page(html, media_type, vary="Accept, Authorization")


def redirect_to_slash(segment: str) -> Response:
    """Redirect to the address with its slash; relative, so that no proxy's scheme is lost."""
    query = request.query_string.decode("latin-1")
    response = Response(status=301)
    response.headers["Location"] = f"{quote_segment(segment)}/{'?' if query else ''}{query}"
    response.headers["Cache-Control"] = "no-store"
    response.autocorrect_location_header = False
    return response


def negotiate(accept: str | None, wanted: str | None) -> str:
    """Choose a media type (PEP 691, Version + Format Selection).

    `wanted` is the `format` of the query, in which a `+` arrives as a space.

    Raises:
        NotAcceptableError: the client takes none of them.
    """
    if wanted is not None:
        kind = wanted.replace(" ", "+").strip().lower()
        kind = _ALIASES.get(kind, kind)
        if kind in _OFFERED:
            return kind
        raise NotAcceptableError(f"?format= must be one of {', '.join(_OFFERED)}")
    if accept is None or not accept.strip():
        return PLAIN_HTML
    best, quality = PLAIN_HTML, 0.0
    for kind in _OFFERED:
        names = [kind, *(alias for alias, target in _ALIASES.items() if target == kind)]
        offered = max(request.accept_mimetypes[name] for name in names)
        if offered > quality:
            best, quality = kind, float(offered)
    if quality <= 0:
        raise NotAcceptableError(f"a project page comes as {', '.join(_OFFERED)}")
    return best


def project_json(project: Project) -> dict[str, Any]:
    """Give the JSON form; 1.1 and later make every file's size mandatory."""
    complete = all(file.size is not None for file in project.files)
    document: dict[str, Any] = {
        "meta": {"api-version": "1.4" if complete else "1.0"},
        "name": project.name,
        "files": [_file_json(file) for file in project.files],
    }
    if complete:
        document["versions"] = [version for version in project.versions if _is_version(version)]
    return document


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _file_json(file: File) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "filename": file.filename.text,
        "url": file_href(file),
        "hashes": {} if file.digest is None else {"sha256": file.digest.hex},
        "yanked": (file.yanked or True) if file.yanked is not None else False,
    }
    if file.size is not None:
        entry["size"] = file.size
    if file.uploaded is not None:
        entry["upload-time"] = format_time(file.uploaded)
    if file.requires_python is not None:
        entry["requires-python"] = file.requires_python
    return entry
