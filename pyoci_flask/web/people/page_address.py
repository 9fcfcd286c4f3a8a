"""The addresses of the web pages, which are those of the index with `/ui` in front.

Below a project, `versions/` is the page of its versions, `{version}/` a page about one version, and
`{version}/files/` the page of its files.
"""

from dataclasses import dataclass
from typing import Literal

from flask import request

from pyoci_flask.index.names import is_filename, version_or_none
from pyoci_flask.web.address import ListAddress, ProjectAddress
from pyoci_flask.web.error_answers import UnmatchedError
from pyoci_flask.web.incoming import sent_path
from pyoci_flask.web.services import services

Tab = Literal["description", "files", "versions"]
"""The pages of a project."""


@dataclass(frozen=True, slots=True)
class ProjectPage:
    """A page of a project. `version` is None if the address names no version."""

    address: ProjectAddress
    tab: Tab = "description"
    version: str | None = None

    @property
    def project_href(self) -> str:
        """The relative link from this page to the first page of the project."""
        return "../" * ((self.version is not None) + (self.tab != "description")) or "./"


def read_page(path: str) -> ListAddress | ProjectPage:
    """Return the page that is at a path below `/ui/`.

    Raises:
        UnmatchedError: nothing is served there.
        PyOCIError: the path is not valid, or its registry is not allowed.
    """
    above, _, last = path.rstrip("/").rpartition("/")
    if last == "versions":
        project = _project(path, above)
        if project is not None:
            return ProjectPage(project, "versions")
    above_version, _, version = above.rpartition("/")
    if last == "files" and _names_version(above_version, version):
        project = _project(path, above_version)
        if project is not None:
            return ProjectPage(project, "files", version)
    if _names_version(above, last):
        project = _project(path, above)
        if project is not None:
            return ProjectPage(project, version=last)
    address = services().addresses.read(path, sent_path(request.environ))
    if isinstance(address, ProjectAddress):
        return ProjectPage(address)
    if not isinstance(address, ListAddress):
        raise UnmatchedError
    return address


def _names_version(above: str, segment: str) -> bool:
    """Return whether the segment of a path that is below `above` is the place of a version.

    If the end of the namespace is unknown, a segment that is not a version may be a project.
    """
    certain = "/+simple/" in above or above.startswith("/simple/")
    return version_or_none(segment) is not None or (certain and not is_filename(segment))


def _project(path: str, above: str) -> ProjectAddress | None:
    project = services().addresses.read(f"{above}/", sent_path(request.environ))
    if not isinstance(project, ProjectAddress):
        return None
    return ProjectAddress(project.base, project.project, path.endswith("/"))
