"""The Simple API: project pages and the project list (PEP 503, 691, 700, 714)."""

import json
import re
from typing import Any

from flask import render_template, request
from werkzeug.wrappers import Response

from pyoci_flask.common.redaction import redact
from pyoci_flask.errors import DeniedError, NotFoundError
from pyoci_flask.index.listing import find_project, list_projects
from pyoci_flask.index.names import version_or_none
from pyoci_flask.index.project import File, Project, format_time
from pyoci_flask.index.releases import LISTED_VERSIONS, listed_of, releases_of
from pyoci_flask.web.address import ListAddress, ProjectAddress
from pyoci_flask.web.api.fallback import empty_falls_back, fallback, redirect_to_fallback
from pyoci_flask.web.api.negotiation import JSON, negotiate
from pyoci_flask.web.conditional import Page, page
from pyoci_flask.web.links import file_href, quote_segment
from pyoci_flask.web.services import services

_VARY = "Accept, Authorization"
_VERSION = "1.4"
_VERSION_WITHOUT_SIZES = "1.0"
"""From 1.1 on, the size of every file is mandatory."""

# These pips expect text under the key `dist-info-metadata` and crash on the object that PEP 691
# puts there, at every wheel (pip's issue 12042). PEP 714 renamed the key because of them; they do
# not know the new one, and without the old one they read the metadata out of the wheel.
_PIP_WITHOUT_ALIAS = re.compile(r"pip/(22\.3|23\.[01])(?![0-9])")


def project_page(address: ProjectAddress) -> Response:
    """Show a project's files, or lead to where it may be found."""
    if not address.slash:
        return redirect_to_slash(address.project.text)
    media_type = negotiate()
    found = services()
    candidates = found.candidates(address.base, address.project)
    caller = candidates[0].caller
    leaves = empty_falls_back(address)
    try:
        repository, tags = find_project(candidates, empty_is_found=not leaves)
    except (NotFoundError, DeniedError) as error:
        return fallback(address, caller, error)
    if leaves and not tags:
        return redirect_to_fallback(address, caller)
    project = found.project(repository, tags)
    announced = found.announced(repository, project.files)
    alias = not _PIP_WITHOUT_ALIAS.match(request.headers.get("User-Agent", ""))
    # What is the same for everybody, such as the HTML, is one page.
    variant = (media_type, announced, alias or media_type != JSON)
    shown = found.pages.get(
        project, variant, lambda: _render(project, announced, media_type, alias=alias)
    )
    return shown.answer(vary=_VARY)


def _render(project: Project, announced: frozenset[str], media_type: str, *, alias: bool) -> Page:
    if media_type == JSON:
        return Page.of(json.dumps(_project_json(project, announced, alias=alias)), JSON)
    html = render_template(
        "simple/project.html",
        api_version=_api_version(project),
        name=project.name,
        links=[(file, file_href(file), _core_metadata(file, announced)) for file in project.files],
    )
    return Page.of(html, media_type)


def list_page(address: ListAddress) -> Response:
    """Show the projects of a namespace, where the registry has a catalog."""
    if not address.slash:
        return redirect_to_slash(request.path.rstrip("/").rpartition("/")[2])
    media_type = negotiate()
    names = list_projects(services().caller(address.base))
    if media_type == JSON:
        document = {
            "meta": {"api-version": _VERSION},
            "projects": [{"name": name} for name in names],
        }
        return page(json.dumps(document), JSON, vary=_VARY)
    html = render_template("simple/list.html", api_version=_VERSION, names=names)
    return page(html, media_type, vary=_VARY)


def redirect_to_slash(segment: str) -> Response:
    """Redirect to the address with its slash; relative, so that no proxy's scheme is lost."""
    query = request.query_string.decode("latin-1")
    query = f"?{query}" if query else ""
    response = Response(status=301)
    response.headers["Location"] = (
        quote_segment(segment) + "/" + (query if redact(query) == query else "")
    )
    response.headers["Cache-Control"] = "no-store"
    response.autocorrect_location_header = False
    return response


def _api_version(project: Project) -> str:
    complete = all(file.size is not None for file in project.files)
    return _VERSION if complete else _VERSION_WITHOUT_SIZES


def _project_json(project: Project, announced: frozenset[str], *, alias: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "meta": {"api-version": _api_version(project)},
        "name": project.name,
        "files": [_file_json(file, announced, alias=alias) for file in project.files],
    }
    if document["meta"]["api-version"] != _VERSION_WITHOUT_SIZES:
        document["versions"] = [text for text in project.versions if version_or_none(text)]
        finals, others = listed_of(releases_of(project))
        if finals.listed + others.listed < finals.known + others.known:
            document[LISTED_VERSIONS] = {
                "final-releases": [finals.listed, finals.known],
                "pre-releases": [others.listed, others.known],
            }
    return document


def _file_json(file: File, announced: frozenset[str], *, alias: bool) -> dict[str, Any]:
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
    metadata = _core_metadata(file, announced)
    if metadata is not None:
        value = True if metadata == "true" else {"sha256": metadata.removeprefix("sha256=")}
        entry["core-metadata"] = value
        if alias:
            entry["dist-info-metadata"] = value
    return entry


def _core_metadata(file: File, announced: frozenset[str]) -> str | None:
    """The attribute's value (PEP 714): the digest, `true`, or None where it may not be had."""
    if not file.filename.is_wheel:
        return None
    if file.core_metadata is not None:
        return f"sha256={file.core_metadata.hex}"
    return "true" if file.filename.text in announced else None
