"""What an error page offers instead of a project or a version that does not exist."""

from collections.abc import Sequence
from dataclasses import dataclass

from flask import request

from pyoci_flask.errors import NotFoundError, PyOCIError, VersionNotFoundError
from pyoci_flask.index.names import version_or_none
from pyoci_flask.oci.reference import Repository
from pyoci_flask.web.address import (
    FileAddress,
    JsonAddress,
    ListAddress,
    MetadataAddress,
    ProjectAddress,
)
from pyoci_flask.web.error_answers import UnmatchedError
from pyoci_flask.web.fallback import fallback_url, falls_back, may_be_hidden
from pyoci_flask.web.incoming import caller_credentials, sent_path
from pyoci_flask.web.links import quote_segment
from pyoci_flask.web.people.frame import browse_path
from pyoci_flask.web.people.page_address import ProjectPage, read_page
from pyoci_flask.web.services import services

_MOST_VERSIONS = 5
"""Maximum number of versions that are offered: those next to the requested one, and the newest."""

_OfProject = ProjectAddress | FileAddress | MetadataAddress | JsonAddress


@dataclass(frozen=True, slots=True)
class Instead:
    """Links to what exists, all of them paths on this server except `public`."""

    project: str
    """The name of the project that was requested."""
    index: str
    """The page of the index, which has the search."""
    project_href: str = ""
    """The page of the project, if it exists."""
    versions: Sequence[tuple[str, str]] = ()
    """Versions of the project that exist, each with its page, newest first."""
    public: str = ""
    """The project's address in the fallback index, if installers would be redirected there."""


def instead_of(error: Exception) -> Instead | None:
    """Return what to offer for the request that raised `error`. This calls no registry."""
    if not isinstance(error, NotFoundError):
        return None
    try:
        address = _address()
        if address is None:
            return None
        index = f"{services().origin.path()}{browse_path(address.base)}"
        project = address.project
        href = f"{index}{quote_segment(project.text)}/"
        if isinstance(error, VersionNotFoundError):
            near = _near(error.wanted, error.versions)
            pages = [(version, f"{href}{quote_segment(version)}/") for version in near]
            return Instead(project.text, index, href, pages)
        # A file may be missing because its project is. Only the page of the project can tell.
        known = "" if isinstance(address, ProjectAddress) else href
        public = fallback_url(project) if _is_public(address) else ""
        return Instead(project.text, index, known, public=public)
    except (PyOCIError, UnmatchedError):
        return None


def _address() -> _OfProject | None:
    if request.path.startswith("/ui/"):
        page = read_page(request.path.removeprefix("/ui"))
        return page.address if isinstance(page, ProjectPage) else None
    address = services().addresses.read(request.path, sent_path(request.environ))
    return None if address is None or isinstance(address, ListAddress) else address


def _is_public(address: _OfProject) -> bool:
    """Return whether an installer would be redirected to the fallback index."""
    if not isinstance(address, ProjectAddress) or not falls_back(address.project):
        return False
    first = Repository(
        address.base.registry, f"{address.base.namespace}/{address.project.spellings[0]}"
    )
    return not may_be_hidden(first, caller_credentials(services().settings.bearer_username))


def _near(wanted: str, versions: Sequence[str]) -> list[str]:
    """Return the versions next to the requested one and the newest ones, newest first."""
    parsed = {one: version for one in versions if (version := version_or_none(one)) is not None}
    ordered = sorted(parsed, key=lambda one: parsed[one], reverse=True)
    target = version_or_none(wanted)
    if target is None or len(ordered) <= _MOST_VERSIONS:
        return ordered[:_MOST_VERSIONS]
    newer = sum(version > target for version in parsed.values())
    kept = {*range(max(0, newer - 1), min(newer + 1, len(ordered)))}
    for number in range(len(ordered)):
        if len(kept) == _MOST_VERSIONS:
            break
        kept.add(number)
    return [ordered[number] for number in sorted(kept)]
