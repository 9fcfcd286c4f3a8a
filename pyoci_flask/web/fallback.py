"""Which projects may be looked up in the fallback index, for installers and on pages.

`docs/dependency-confusion.md` explains each of the conditions. Anyone who can make this server
refer to another index for a private project decides what is installed under that name.
"""

from fnmatch import fnmatchcase

from pyoci_flask.index.names import ProjectName
from pyoci_flask.oci.reference import Repository
from pyoci_flask.transport.request import Credentials, Scope
from pyoci_flask.web.incoming import fallback_index
from pyoci_flask.web.services import services


def falls_back(project: ProjectName) -> bool:
    """Return whether a project that is not found may be looked up in the fallback index."""
    settings = services().settings
    return fallback_index(settings.fallback_index) is not None and not any(
        fnmatchcase(project.normalized, pattern) for pattern in settings.fallback_exclude
    )


def may_be_hidden(repository: Repository, credentials: Credentials | None) -> bool:
    """Return whether a repository that was not found may be private.

    If so, the request has no credentials, and the registry shows the repository only with them.
    """
    return credentials is None and services().authenticator.wants_token(
        repository.registry.origin, Scope(repository.name, "pull")
    )


def fallback_url(project: ProjectName) -> str:
    """Return the address of a project in the fallback index, if there is one."""
    settings = services().settings
    return f"{fallback_index(settings.fallback_index)}/{project.normalized}/"
