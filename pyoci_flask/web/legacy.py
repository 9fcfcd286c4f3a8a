"""GET `{base}/{project}/json`: the legacy JSON API, as Renovate reads it."""

import json
import logging
from typing import Any

from packaging.metadata import RawMetadata
from werkzeug.wrappers import Response

from pyoci_flask.errors import NotFoundError
from pyoci_flask.index.core_metadata import stored_metadata
from pyoci_flask.index.fields import TooManyFieldsError, parse_fields
from pyoci_flask.index.listing import find_project
from pyoci_flask.index.project import File, Project, format_time
from pyoci_flask.index.releases import find_release, releases_of
from pyoci_flask.index.repository import ProjectRepository
from pyoci_flask.web.address import JsonAddress
from pyoci_flask.web.conditional import page
from pyoci_flask.web.links import file_href, project_url
from pyoci_flask.web.services import services

logger = logging.getLogger("pyoci.web")


def legacy_json(address: JsonAddress) -> Response:
    """Answer the document."""
    found = services()
    page_url = project_url(address.base, address.project)
    candidates = found.candidates(address.base, address.project)
    repository, tags = find_project(candidates)
    project = found.project(repository, tags)
    if address.version is not None:
        release = find_release(repository, releases_of(project), address.version)
        # As a project with this version only; as on PyPI, other versions are not told of.
        project = Project(project.name, (release.version,), release.files)
    document = _document(project, page_url, _newest_metadata(repository, project))
    if address.version is not None:
        del document["releases"]
    return page(json.dumps(document), "application/json", vary="Authorization")


def _newest_metadata(repository: ProjectRepository, project: Project) -> RawMetadata:
    """The core metadata of the newest version, where a file of it has them stored."""
    for file in project.files:
        if file.version == project.versions[0] and file.core_metadata is not None:
            try:
                return parse_fields(stored_metadata(repository.caller, file.core_metadata))
            except (NotFoundError, TooManyFieldsError) as error:
                logger.warning("%s: %s", file.filename.text, error)
                break
    return {}


def _document(project: Project, page_url: str, metadata: RawMetadata) -> dict[str, Any]:
    """Every version stands in `releases`, those beyond the listed ones without their files.

    Members that are not known are left out rather than null, which readers stumble over.
    """
    releases: dict[str, list[dict[str, Any]]] = {version: [] for version in project.versions}
    for file in project.files:
        releases.setdefault(file.version, []).append(_file(file, page_url))
    info: dict[str, Any] = {"name": project.name}
    newest = project.versions[0] if project.versions else None
    if newest is not None:
        info["version"] = newest
        files = [file for file in project.files if file.version == newest]
        urls = {label: url for file in files for label, url in file.project_urls.items()}
        urls = urls or metadata.get("project_urls", {})
        home = next((url for label, url in urls.items() if _is_home(label)), None)
        python = next((file.requires_python for file in files if file.requires_python), None)
        known = {
            "summary": metadata.get("summary"),
            "home_page": metadata.get("home_page") or home,
            "project_urls": urls,
            "requires_python": python or metadata.get("requires_python"),
        }
        info |= {member: value for member, value in known.items() if value}
    return {"info": info, "releases": releases, "urls": releases.get(newest or "", [])}


def _is_home(label: str) -> bool:
    """Well-known labels (core metadata, Well-known Project URLs) compare without punctuation."""
    return "".join(char for char in label.lower() if char.isalnum()) == "homepage"


def _file(file: File, page_url: str) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "filename": file.filename.text,
        "packagetype": "bdist_wheel" if file.filename.is_wheel else "sdist",
        "url": f"{page_url}{file_href(file)}",
        "digests": {} if file.digest is None else {"sha256": file.digest.hex},
        "yanked": file.yanked is not None,
    }
    if file.yanked:
        entry["yanked_reason"] = file.yanked
    if file.size is not None:
        entry["size"] = file.size
    if file.uploaded is not None:
        text = format_time(file.uploaded)
        entry["upload_time"] = text.partition(".")[0]
        entry["upload_time_iso_8601"] = text
    if file.requires_python is not None:
        entry["requires_python"] = file.requires_python
    return entry
