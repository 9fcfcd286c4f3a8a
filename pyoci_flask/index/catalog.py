"""The list of a namespace's projects, where the registry has a catalog."""

from collections.abc import Sequence

from packaging.utils import NormalizedName, canonicalize_name

from pyoci_flask.errors import InvalidRequestError, NotFoundError
from pyoci_flask.index.names import ProjectName
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.tags import list_repositories

MOST_PROJECTS = 10_000


def list_projects(namespace: RepositoryCaller) -> Sequence[NormalizedName]:
    """List the projects directly below a namespace, sorted, `MOST_PROJECTS` at most.

    Repositories that hold something else are among them: telling would need a call for each.

    Raises:
        NotFoundError: the registry offers no list of its repositories.
    """
    repositories = list_repositories(namespace)
    registry = namespace.repository.registry.netloc
    if repositories is None:
        raise NotFoundError(
            f"{registry} offers no list of its repositories, so projects cannot be listed; ask "
            "for one by its name"
        )
    prefix = f"{namespace.repository.name}/"
    below = (name.removeprefix(prefix) for name in repositories if name.startswith(prefix))
    return sorted({canonicalize_name(name) for name in below if _is_project(name)})[:MOST_PROJECTS]


def _is_project(segment: str) -> bool:
    try:
        ProjectName(segment)
    except InvalidRequestError:
        return False
    return True
