"""GET `{base}/{project}/json`: the legacy JSON API, which Renovate uses."""

import json
from collections.abc import Sequence
from typing import Any

from werkzeug.wrappers import Response

from pyoci_flask.index.fetch import Failures
from pyoci_flask.index.fields import home_among
from pyoci_flask.index.listing import newest_first
from pyoci_flask.index.names import version_of
from pyoci_flask.index.project import File, Project, format_time
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.releases import Release, find_release, preferred, releases_of
from pyoci_flask.index.versions import VersionFiles, VersionIndex
from pyoci_flask.oci.reference import Tag
from pyoci_flask.web.address import JsonAddress
from pyoci_flask.web.conditional import Page
from pyoci_flask.web.links import quote_segment
from pyoci_flask.web.services import services

_MOST_FAILURES = 5
"""Maximum number of versions that are listed without files if the registry fails to return them."""


def legacy_json(address: JsonAddress) -> Response:
    """Return the JSON document of a project or of one of its versions."""
    found = services()
    # Keep the spelling of the request, because the original PyOCI kept dots in repository names.
    name = quote_segment(address.project.text)
    page_url = f"{found.origin.index_url(address.base)}{name}/"
    repository, tags = found.versions.find_project(
        found.enter_project(address.base, address.project)
    )
    if address.version is None:
        failures = Failures(_MOST_FAILURES)
        project = found.read_project(repository, tags, failures)
        if failures.errors and not project.files:
            raise failures.errors[0]  # the failures are not limited to single versions
    else:
        # This project has only one version. As on PyPI, the document omits the others.
        project = _one_version(repository, tags, address.version)
    document = _document(project.name, releases_of(project), page_url)
    if address.version is not None:
        del document["releases"]
    return Page.of(json.dumps(document), "application/json").answer(vary="Authorization")


def _one_version(repository: ProjectRepository, tags: Sequence[str], version: str) -> Project:
    """Read only this version. This needs one call unless the version is cached."""
    versions = services().versions

    def read(part: ProjectRepository, version: str, tag: Tag) -> VersionFiles | VersionIndex | None:
        # Ignore other spellings of the version, because they have their own tags.
        recalled = versions.recall([part], version, lambda found: found[1].version == version)
        return recalled[1] if recalled else versions.read_tag(part, version, tag)

    known = [Release(version_of(tag), ()) for tag in newest_first(tags)]
    release = find_release(repository, tags, known, version, read)
    return Project(repository.project.normalized, (release.version,), release.files)


def _document(name: str, found: Sequence[Release], page_url: str) -> dict[str, Any]:
    """Return the document. `releases` contains all versions, but no files of unlisted versions.

    `info` and `urls` describe the preferred version, which the project's web page shows as well.
    Members without a value are left out, because some clients fail on null.
    """
    shown = preferred(found)
    releases = {
        release.version: [_file(file, page_url) for file in release.files] for release in found
    }
    info: dict[str, Any] = {"name": name}
    if shown is not None:
        info["version"] = shown.version
        files = shown.files
        urls = {label: url for file in files for label, url in file.project_urls.items()}
        home = next((file.home_page for file in files if file.home_page), None)
        known = {
            "summary": next((file.summary for file in files if file.summary), None),
            "home_page": home or home_among(urls.items()),
            "project_urls": urls,
            "requires_python": shown.requires_python,
        }
        info |= {member: value for member, value in known.items() if value}
    return {"info": info, "releases": releases, "urls": releases[shown.version] if shown else []}


def _file(file: File, page_url: str) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "filename": file.filename.text,
        "packagetype": "bdist_wheel" if file.filename.is_wheel else "sdist",
        "url": f"{page_url}{quote_segment(file.filename.text)}",
        "digests": {} if file.digest is None else {"sha256": file.digest.hex},
        "yanked": file.yanked is not None,
    }
    time = None if file.uploaded is None else format_time(file.uploaded)
    known = {
        "yanked_reason": file.yanked or None,
        "size": file.size,
        "upload_time": time and time.partition(".")[0],
        "upload_time_iso_8601": time,
        "requires_python": file.requires_python,
    }
    return entry | {member: value for member, value in known.items() if value is not None}
