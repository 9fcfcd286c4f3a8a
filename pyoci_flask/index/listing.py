"""List: the versions of a project and the files of the newest ones."""

from packaging.version import InvalidVersion, Version

from pyoci_flask.errors import AuthenticationRequiredError, DeniedError, NotFoundError
from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.index.names import version_of
from pyoci_flask.index.project import Project
from pyoci_flask.index.repository import Candidates, ProjectRepository, VersionIndex, read_version
from pyoci_flask.oci.reference import Tag
from pyoci_flask.oci.repository import list_tags


def find_project(candidates: Candidates) -> tuple[ProjectRepository, list[str]]:
    """Find the project's repository and its tags, in one call (and one per further page).

    Raises:
        NotFoundError: the registry has no such repository.
    """
    found = None
    for repository in candidates:
        try:
            tags = list_tags(repository.caller)
        except (AuthenticationRequiredError, DeniedError):
            if found is None:
                raise
            continue  # the project is there; that another spelling is denied says nothing
        if tags:
            return repository, tags
        if tags is not None and found is None:
            # Some registries list names that they do not know, and emptied ones, as empty.
            found = repository
    if found is not None:
        return found, []
    first = candidates[0]
    raise NotFoundError(
        f"{first.caller.repository.registry.netloc} has no project {first.project} "
        f"(no repository {first.caller.repository.name})"
    )


def list_files(
    repository: ProjectRepository, tags: list[str], pool: FetchPool, limit: int
) -> Project:
    """List the project, with the files of its `limit` newest versions (0 = all): one call each."""
    ordered = newest_first(tags)
    fetched = ordered[:limit] if limit else ordered

    origin = repository.caller.repository.registry.origin

    def fetch(tag: str) -> VersionIndex | None:
        return read_version(repository, version_of(tag), Tag(tag))

    listed = dict(zip(fetched, pool.map(origin, fetch, fetched), strict=True))
    files = [file for version in listed.values() if version for file in version.files]
    # Left out: what turned out to be no version, and versions that were deleted on a registry
    # that can only empty them. Of what was not fetched, what cannot be a version.
    versions = [
        version_of(tag)
        for tag in ordered
        if (bool((found := listed[tag]) and found.files) if tag in listed else _key(tag)[0])
    ]
    return Project(repository.project.normalized, tuple(versions), tuple(files))


def newest_first(tags: list[str]) -> list[str]:
    """Order tags by the versions they stand for (PEP 440); what is no version comes last."""
    return sorted(tags, key=_key, reverse=True)


def _key(tag: str) -> tuple[bool, Version, str]:
    try:
        return True, Version(version_of(tag)), tag
    except InvalidVersion:
        return False, _NO_VERSION, tag


_NO_VERSION = Version("0")
