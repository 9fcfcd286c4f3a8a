"""List: the versions of a project and the files of the newest ones."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from packaging.version import Version

from pyoci_flask.errors import AuthenticationRequiredError, DeniedError, NotFoundError
from pyoci_flask.index.names import version_of, version_or_none
from pyoci_flask.index.project import Project
from pyoci_flask.index.repository import Candidates, ProjectRepository, VersionIndex
from pyoci_flask.oci.repository import list_tags


def find_project(
    candidates: Candidates, *, empty_is_found: bool = True
) -> tuple[ProjectRepository, list[str]]:
    """Find the project's repository and its tags, in one call (and one per further page).

    If `empty_is_found` is false, a repository without tags does not show that the project exists:
    a denial of another spelling of the name is then raised.

    Raises:
        NotFoundError: the registry has no such repository.
    """
    found = None
    for repository in candidates:
        try:
            tags = list_tags(repository.caller)
        except (AuthenticationRequiredError, DeniedError):
            if found is None or not empty_is_found:
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


Read = Callable[[Sequence[str]], Mapping[str, VersionIndex | None]]
"""Reads the versions of these tags; None for what is no version of a package."""


def list_files(
    repository: ProjectRepository, tags: Sequence[str], read: Read, limit: int
) -> Project:
    """List the project, with the files of its `limit` newest versions (0 = all)."""
    ordered = newest_first(tags)
    listed = read(ordered[:limit] if limit else ordered)
    files = [file for tag in ordered if (found := listed.get(tag)) for file in found.files]
    # Left out: what turned out to be no version, and versions that were deleted on a registry
    # that can only empty them. Of what was not fetched, what cannot be a version.
    versions = [
        version_of(tag)
        for tag in ordered
        if (bool((found := listed[tag]) and found.files) if tag in listed else _key(tag)[0])
    ]
    return Project(repository.project.normalized, tuple(versions), tuple(files))


def newest_first(tags: Sequence[str]) -> list[str]:
    """Order tags by the versions they stand for (PEP 440); what is no version comes last."""
    return sorted(tags, key=_key, reverse=True)


@lru_cache(maxsize=4096)
def _key(tag: str) -> tuple[bool, Version, str]:
    version = version_or_none(version_of(tag))
    return version is not None, version or _NO_VERSION, tag


_NO_VERSION = Version("0")
