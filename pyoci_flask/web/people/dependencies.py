"""Which dependencies of a package are in the same index, as far as that is known at no cost."""

import re
from collections.abc import Mapping

from packaging.utils import canonicalize_name

from pyoci_flask.errors import NotFoundError, PyOCIError
from pyoci_flask.index.details import Dependency, Details
from pyoci_flask.index.names import ProjectName
from pyoci_flask.web.address import Base
from pyoci_flask.web.people.snippets import Needs
from pyoci_flask.web.services import services

_MOST = 30
"""Maximum number of projects that are looked up for one page."""
_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(@?)")
"""The name at the start of a requirement, and the `@` before a URL (PEP 508)."""


def project_of(dependency: Dependency) -> str:
    """Return the normalised name of a required project. It is empty if no index is asked for it."""
    found = _NAME.match(dependency.requirement)
    return canonicalize_name(found[1]) if found and not found[2] else ""


def places_of(base: Base, details: Details) -> Mapping[str, bool]:
    """Return whether required projects are in this index, by name. Unknown ones are left out.

    The embedded registry is asked, because that costs little. For any other registry, this uses
    only what the caller has read recently, and makes no call.
    """
    required = [*details.dependencies]
    for extra in details.extras.values():
        required += extra
    names = list(dict.fromkeys(filter(None, map(project_of, required))))
    places = {name: _is_here(base, name) for name in names[:_MOST]}
    return {name: here for name, here in places.items() if here is not None}


def needs_of(details: Details | None, places: Mapping[str, bool]) -> Needs:
    """Return where the dependencies are that every installation of a version needs."""
    if details is None or details.left_out.get("dependencies"):
        return Needs.UNKNOWN
    found = {places.get(name) for name in filter(None, map(project_of, details.dependencies))}
    if not found:
        return Needs.NOTHING
    if None in found or len(found) > 1:
        return Needs.UNKNOWN
    return Needs.HERE if found == {True} else Needs.ELSEWHERE


def _is_here(base: Base, name: str) -> bool | None:
    """Return whether the index has a project, or None if that is not known."""
    versions = services().versions
    try:
        candidates = services().enter_project(base, ProjectName(name))
        if not versions.pool.is_in_process(base.registry):
            return True if versions.was_read(candidates[0]) else None
        # A project without versions is neither: its name belongs to this index.
        return True if versions.find_project(candidates)[1] else None
    except NotFoundError:
        return False
    except PyOCIError:
        return None
