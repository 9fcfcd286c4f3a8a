"""List: the versions of a project and the files of the newest ones."""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from packaging.version import Version

from pyoci_flask.errors import AuthenticationRequiredError, DeniedError, NotFoundError
from pyoci_flask.index.names import version_of, version_or_none
from pyoci_flask.index.project import Project
from pyoci_flask.index.repository import Candidates, ProjectRepository, Skipped, VersionFiles
from pyoci_flask.oci.repository import list_tags

logger = logging.getLogger("pyoci.index")

_MOST_TAGS = 40_000
"""Tags of a project. Each takes some 400 bytes while they are put in order."""


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
            return repository, _first(repository, tags)
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


def _first(repository: ProjectRepository, tags: list[str]) -> list[str]:
    if len(tags) <= _MOST_TAGS:
        return tags
    logger.warning(
        "%s has %d tags: those after the first %d are left out",
        repository.caller.repository,
        len(tags),
        _MOST_TAGS,
    )
    return tags[:_MOST_TAGS]


Read = Callable[[Sequence[str]], Mapping[str, VersionFiles | Skipped | None]]
"""Reads the versions of these tags, in this order where not all fit; None for what is no version
of a package."""


def list_files(
    repository: ProjectRepository, tags: Sequence[str], read: Read, limit: int
) -> Project:
    """List the project, with the files of `limit` versions (0 = all), see `first_to_list`."""
    ordered = newest_first(tags)
    wanted = first_to_list(ordered)
    listed = read(wanted[:limit] if limit else wanted)
    read_ones = [one for tag in ordered if isinstance(one := listed.get(tag), VersionFiles)]
    # Left out: what turned out to be no version, and versions that were deleted on a registry
    # that can only empty them. Of what was not fetched, what cannot be a version.
    versions = [
        version_of(tag)
        for tag in ordered
        if (_is_shown(listed[tag]) if tag in listed else _key(tag)[0])
    ]
    return Project(
        repository.project.normalized,
        tuple(versions),
        tuple(file for one in read_ones for file in one.files),
        tuple(version_of(tag) for tag in ordered if _is_too_large(listed.get(tag))),
        sum(one.weight for one in read_ones),
    )


def _is_shown(found: VersionFiles | Skipped | None) -> bool:
    return bool(found.files) if isinstance(found, VersionFiles) else _is_too_large(found)


def _is_too_large(found: VersionFiles | Skipped | None) -> bool:
    return isinstance(found, Skipped) and found.is_version


def newest_first(tags: Sequence[str]) -> list[str]:
    """Order tags by the versions they stand for (PEP 440); what is no version comes last."""
    return sorted(tags, key=_key, reverse=True)


def first_to_list(ordered: Sequence[str]) -> list[str]:
    """Order tags, which are newest first, by which are listed where not all are.

    It is the newest first, but of any number of first ones half at least are final releases, if
    there are so many: installers take no others unless they are told, so pre-releases must not
    take their place. What is no version comes last.
    """
    finals = deque(tag for tag in ordered if _is_final(tag))
    others = deque(tag for tag in ordered if not _is_final(tag))
    found: list[str] = []
    taken = 0
    while finals and others:
        short = 2 * taken < len(found) + 1
        if short or _key(finals[0]) > _key(others[0]):
            found.append(finals.popleft())
            taken += 1
        else:
            found.append(others.popleft())
    return [*found, *finals, *others]


def _is_final(tag: str) -> bool:
    """Whether it is a version and no pre-release: post releases and local versions are final."""
    is_version, version, _ = _key(tag)
    return is_version and not version.is_prerelease


@lru_cache(maxsize=4096)
def _key(tag: str) -> tuple[bool, Version, str]:
    version = version_or_none(version_of(tag))
    return version is not None, version or _NO_VERSION, tag


_NO_VERSION = Version("0")
