"""The Simple API: project pages and the project list (PEPs 503, 691, 700 and 714)."""

import json
import re
from functools import lru_cache
from typing import Any

from flask import render_template, request
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header
from werkzeug.wrappers import Response

from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    NotAcceptableError,
    NotFoundError,
)
from pyoci_flask.index.listing import list_projects
from pyoci_flask.index.names import version_or_none
from pyoci_flask.index.project import File, Project, format_time
from pyoci_flask.index.releases import LISTED_VERSIONS, listed_of, releases_of
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.web.address import ListAddress, ProjectAddress
from pyoci_flask.web.conditional import Page
from pyoci_flask.web.fallback import fallback_url, falls_back, may_be_hidden
from pyoci_flask.web.links import quote_segment, redirect, redirect_to_slash
from pyoci_flask.web.services import services

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
PLAIN_HTML = "text/html"

_NAMES = {
    PLAIN_HTML: (PLAIN_HTML,),
    JSON: (JSON, "application/vnd.pypi.simple.latest+json"),
    HTML: (HTML, "application/vnd.pypi.simple.latest+html"),
}
"""The available media types in order of preference, each with all of its names."""

_LONGEST_ACCEPT = 2000
"""Characters of an Accept header that are read. Browsers send at most about 150."""

_VARY = "Accept, Authorization"
_VERSION = "1.4"
_VERSION_WITHOUT_SIZES = "1.0"
"""Since 1.1, the size of every file is mandatory."""

# These versions of pip expect `dist-info-metadata` to be text, and crash on every wheel for which
# it is an object, as PEP 691 requires (pip's issue 12042). PEP 714 renamed the key because of them.
# They do not know the new key, and read the metadata from the wheel if the old key is missing.
_PIP_WITHOUT_ALIAS = re.compile(r"pip/(22\.3|23\.[01])(?![0-9])")


def project_page(address: ProjectAddress) -> Response:
    """Return the page of a project, or redirect to the fallback index."""
    if not address.slash:
        return redirect_to_slash(address.project.text)
    media_type = negotiate()
    found = services()
    candidates = found.enter_project(address.base, address.project)
    caller = candidates[0].caller
    may_leave = request.method == "GET" and falls_back(address.project)
    leaves = may_leave and found.settings.fallback_empty
    try:
        repository, tags = found.versions.find_project(candidates, empty_is_found=not leaves)
    except NotFoundError:
        if not may_leave:
            raise
        return _redirect_to_fallback(address, caller)
    except DeniedError:
        if not may_leave or caller.credentials is None or not found.settings.fallback_denied:
            raise
        return _redirect_to_fallback(address, caller)
    if leaves and not tags:
        return _redirect_to_fallback(address, caller)
    project = found.read_project(repository, tags)
    announced = found.find_announced(repository, project.files)
    alias = not _PIP_WITHOUT_ALIAS.match(request.headers.get("User-Agent", ""))
    # `alias` changes only the JSON, so all clients share one page of HTML.
    variant = (media_type, announced, alias or media_type != JSON)
    shown = found.pages.of(project).get_or_make(
        variant, lambda: _render(project, announced, media_type, alias=alias)
    )
    return shown.answer(vary=_VARY)


def _redirect_to_fallback(address: ProjectAddress, caller: RepositoryCaller) -> Response:
    """Redirect a project page to the fallback index.

    Raises:
        AuthenticationRequiredError: the project may be private and visible only with
            credentials.
    """
    if may_be_hidden(caller.repository, caller.credentials):
        name = address.project.normalized
        raise AuthenticationRequiredError(
            f"{caller.repository.registry.netloc} requires credentials. {name} may be a private "
            "project, so it is not looked up in the fallback index without them",
            advice="Sign in with your user name and a token for the registry",
        )
    return redirect(fallback_url(address.project))


def _render(project: Project, announced: frozenset[str], media_type: str, *, alias: bool) -> Page:
    if media_type == JSON:
        return Page.of(json.dumps(_project_json(project, announced, alias=alias)), JSON)
    html = render_template(
        "simple/project.html",
        api_version=_api_version(project),
        name=project.name,
        links=[
            (file, quote_segment(file.filename.text), _core_metadata(file, announced))
            for file in project.files
        ],
    )
    return Page.of(html, media_type)


def list_page(address: ListAddress) -> Response:
    """Return the list of the projects in a namespace, if the registry has a catalog."""
    if not address.slash:
        return redirect_to_slash(request.path.rstrip("/").rpartition("/")[2])
    media_type = negotiate()
    names = list_projects(services().enter_namespace(address.base))
    if media_type == JSON:
        document = {
            "meta": {"api-version": _VERSION},
            "projects": [{"name": name} for name in names],
        }
        return Page.of(json.dumps(document), JSON).answer(vary=_VARY)
    html = render_template("simple/list.html", api_version=_VERSION, names=names)
    return Page.of(html, media_type).answer(vary=_VARY)


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
        releases = releases_of(project)
        if not all(release.files for release in releases):
            finals, others = listed_of(releases)
            document[LISTED_VERSIONS] = {
                "final-releases": [finals.listed, finals.known],
                "pre-releases": [others.listed, others.known],
            }
    return document


def _file_json(file: File, announced: frozenset[str], *, alias: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "filename": file.filename.text,
        "url": quote_segment(file.filename.text),
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
    """Return the attribute's value (PEP 714): a digest, `true`, or None if there is no metadata."""
    if not file.filename.is_wheel:
        return None
    if file.core_metadata is not None:
        return f"sha256={file.core_metadata.hex}"
    return "true" if file.filename.text in announced else None


def negotiate() -> str:
    """Choose the media type by `?format=` or by Accept (PEP 691, Version + Format Selection).

    Raises:
        NotAcceptableError: the client accepts none of the available types.
    """
    # A literal + in a query arrives as a space.
    name = request.args.get("format", "").strip().replace(" ", "+").lower()
    if name:
        for kind, names in _NAMES.items():
            if name in names:
                return kind
        raise NotAcceptableError(f"?format= must be one of {', '.join(_NAMES)}")
    preferred = _preferred(request.headers.get("Accept", "")[:_LONGEST_ACCEPT])
    if preferred is None:
        raise NotAcceptableError(f"the pages of this index are available as {', '.join(_NAMES)}")
    return preferred


@lru_cache(maxsize=64)
def _preferred(header: str) -> str | None:
    """Return the best type that an Accept header allows, or None. Clients use only a few values."""
    if not header.strip():
        return PLAIN_HTML
    # None of the types has parameters, so `text/html; charset=utf-8` counts as text/html.
    accept = MIMEAccept(
        (value.partition(";")[0].strip(), quality)
        for value, quality in parse_accept_header(header, MIMEAccept)
    )
    named = {name.lower(): quality for name, quality in reversed(accept)}
    qualities = {
        # An alias counts only if it is in the header. Ranges such as text/* match the type itself.
        kind: max([accept.quality(kind), *(named.get(alias, 0) for alias in aliases)])
        for kind, (_, *aliases) in _NAMES.items()
    }
    best = max(qualities, key=lambda kind: qualities[kind])
    return best if qualities[best] > 0 else None
