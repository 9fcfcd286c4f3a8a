"""List the projects of a namespace, the versions of a project, and the newest versions' files."""

import logging
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from functools import lru_cache
from heapq import nlargest
from itertools import groupby

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    InvalidRequestError,
    NotFoundError,
)
from pyoci_flask.index.names import ProjectName, version_of, version_or_none
from pyoci_flask.index.project import Project
from pyoci_flask.index.project_repository import Candidates, ProjectRepository
from pyoci_flask.index.versions import Skipped, VersionFiles
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.tags import list_repositories

logger = logging.getLogger("pyoci.index")

PROBE = ProjectName("pyoci-probe")
"""What `check --write` publishes. Some registries never delete its repository, so this name is
reserved: no list contains it, and it has no page."""
MOST_PROJECTS = 10_000
_MOST_TAGS = 40_000
"""Maximum number of tags of a project. Each takes some 400 bytes while the tags are sorted."""
_VERSION = re.compile(
    r"v?(?:(?P<epoch>[0-9]{1,9})_(?=[0-9]))?"
    r"(?P<release>[0-9]{1,18}(?:\.[0-9]{1,18}){0,3})(?P<rest>[^-]*)",
    re.IGNORECASE,
)
"""The part of a tag before the local version, if the tag may be a version."""
_Key = tuple[bool, Version, str]
"""Whether a text is a version, the version, and the text."""
_PRE_RELEASE = re.compile(r"[abc]|dev|pre", re.IGNORECASE)


class _Kind(Enum):
    """What a tag looks like. If there are too many tags, the first kinds are kept."""

    FINAL = "final releases"
    PRE_RELEASE = "pre-releases"
    OTHER = "others"


def list_projects(namespace: RepositoryCaller) -> Sequence[NormalizedName]:
    """List the projects directly below a namespace, at most `MOST_PROJECTS`, sorted.

    Repositories that do not contain packages are listed too, because checking would take one call
    per repository. The probe's is not.

    Raises:
        NotFoundError: the registry cannot list its repositories.
    """
    repositories = list_repositories(namespace)
    registry = namespace.repository.registry.netloc
    if repositories is None:
        raise NotFoundError(
            f"{registry} offers no list of its repositories, so projects cannot be listed; open "
            "a project by its name",
            advice="Open a project by its name",
        )
    prefix = f"{namespace.repository.name}/"
    below = (name.removeprefix(prefix) for name in repositories if name.startswith(prefix))
    found = {canonicalize_name(name) for name in below if _is_project(name)} - {PROBE.normalized}
    return sorted(found)[:MOST_PROJECTS]


def _is_project(segment: str) -> bool:
    try:
        ProjectName(segment)
    except InvalidRequestError:
        return False
    return True


def find_project(
    candidates: Candidates, *, empty_is_found: bool = True
) -> tuple[ProjectRepository, list[str]]:
    """Find the project's repository and its tags, in one call and one more per further page.

    The candidates after the repository may contain further versions, and become its `others`. If
    `empty_is_found` is false, a repository without tags does not prove that the project exists, so
    an error is raised if access to the repository of another spelling is denied.

    Raises:
        NotFoundError: none of the repositories exists.
    """
    empty = None
    for number, repository in enumerate(candidates):
        try:
            tags = repository.read_tags()
        except (AuthenticationRequiredError, DeniedError):
            if empty is None or not empty_is_found:
                raise
            continue  # the project exists, even if the other spelling does not
        if tags:
            others = candidates[number + 1 :]
            return replace(repository, others=others), first_tags(repository, tags)
        if tags is not None and empty is None:
            # Some registries return an empty list for unknown and for emptied repositories.
            empty = repository
    if empty is not None:
        return empty, []
    first = candidates[0]
    raise NotFoundError(
        f"{first.caller.repository.registry.netloc} has no project {first.project} "
        f"(no repository {first.caller.repository.name})",
        advice="Check the spelling of the project and the namespace",
    )


def first_tags(repository: ProjectRepository, tags: Sequence[str]) -> list[str]:
    """Return the tags; if there are too many, keep the newest final releases, then pre-releases."""
    if len(tags) <= _MOST_TAGS:
        return list(tags)
    kinds = [_looks_like(tag) for tag in tags]
    kept: list[str] = []
    left = []
    for kind in _Kind:
        found = [tag for tag, its in zip(tags, kinds, strict=True) if its is kind]
        room = _MOST_TAGS - len(kept)
        kept += found if len(found) <= room else nlargest(room, found, key=_first_numbers)
        left.append(f"{max(0, len(found) - room)} {kind.value}")
    logger.warning(
        "%s has %d tags, of which %d are listed; left out, judging by their names: %s",
        repository.caller.repository,
        len(tags),
        len(kept),
        ", ".join(left),
    )
    return kept


def _looks_like(tag: str) -> _Kind:
    """Return what a tag is likely to be, without parsing it."""
    found = _VERSION.match(tag)
    if found is None:
        return _Kind.OTHER
    return _Kind.PRE_RELEASE if _PRE_RELEASE.search(found["rest"]) else _Kind.FINAL


def _first_numbers(tag: str) -> tuple[int, ...]:
    found = _VERSION.match(tag)
    if found is None:
        return ()
    return int(found["epoch"] or 0), *map(int, found["release"].split("."))


Read = Callable[[Sequence[str]], Mapping[str, VersionFiles | Skipped | None]]
"""Reads the versions of these tags, in this order if not all fit. The result of a tag is None if it
does not exist."""


def list_files(
    repository: ProjectRepository, tags: Sequence[str], read: Read, limit: int
) -> Project:
    """List the project with the files of `limit` versions, or of all if 0 (see `first_to_list`)."""
    keyed = in_order(tags)
    ordered = [tag for _, tag in keyed]
    wanted = first_to_list(keyed)
    listed = read(wanted[:limit] if limit else wanted)
    read_ones = [one for tag in ordered if isinstance(one := listed.get(tag), VersionFiles)]
    # Leave out tags that are not versions, and versions that were deleted on a registry that can
    # only empty them. A tag that was not read is left out if its text is not a version.
    shown = (
        (key, version_of(tag))
        for key, tag in keyed
        if (_is_shown(listed[tag]) if tag in listed else key[0])
    )
    return Project(
        repository.project.normalized,
        _one_spelling(shown),
        tuple(file for one in read_ones for file in one.files),
        tuple(version_of(tag) for tag in ordered if _is_too_large(listed.get(tag))),
        sum(one.weight for one in read_ones),
    )


def limits_of(parts: Sequence[Sequence[str]], limit: int) -> list[int]:
    """Divide a limit among the repositories of a project. `parts` contains the tags of each."""
    if not limit:
        return [0 for _ in parts]
    wanted = Counter(first_to_list(in_order(tag for tags in parts for tag in tags))[:limit])
    limits = []
    for tags in parts:
        taken = wanted & Counter(tags)
        wanted -= taken
        limits.append(taken.total())
    return limits


def merged(parts: Sequence[Project]) -> Project:
    """Merge the parts of a project that are in several repositories."""
    files = [file for part in parts for file in part.files]
    return Project(
        parts[0].name,
        _one_spelling(
            sorted(
                ((_version_key(one), one) for part in parts for one in part.versions), reverse=True
            )
        ),
        tuple(sorted(files, key=lambda file: _version_key(file.version)[:2], reverse=True)),
        tuple(version for part in parts for version in part.left_out),
        sum(part.weight for part in parts),
    )


def _one_spelling(versions: Iterable[tuple[_Key, str]]) -> tuple[str, ...]:
    """Keep the first spelling of each version; equal versions must be adjacent."""
    groups = groupby(versions, lambda one: one[0][:2] if one[0][0] else one[1])
    return tuple(next(same)[1] for _, same in groups)


def _is_shown(found: VersionFiles | Skipped | None) -> bool:
    return bool(found.files) if isinstance(found, VersionFiles) else _is_too_large(found)


def _is_too_large(found: VersionFiles | Skipped | None) -> bool:
    return isinstance(found, Skipped) and found.is_version


def newest_first(tags: Sequence[str]) -> list[str]:
    """Sort tags by version (PEP 440), newest first; tags that are not versions come last."""
    return [tag for _, tag in in_order(tags)]


def in_order(tags: Iterable[str]) -> list[tuple[_Key, str]]:
    """Return the tags in the order of `newest_first`, each with its key."""
    return sorted(((_key(tag), tag) for tag in tags), reverse=True)


def first_to_list(keyed: Iterable[tuple[_Key, str]]) -> list[str]:
    """Sort tags, given by `in_order`, in the order in which to list them if not all fit.

    The newest come first, but at least half of the leading tags, however many, are final releases
    as long as there are any. Installers use only final releases by default, so pre-releases must
    not take their place. Tags that are not versions come last.
    """
    finals: deque[tuple[_Key, str]] = deque()
    others: deque[tuple[_Key, str]] = deque()
    for one in keyed:
        (finals if is_final(one[0]) else others).append(one)
    found: list[tuple[_Key, str]] = []
    taken = 0
    while finals and others:
        short = 2 * taken < len(found) + 1
        if short or finals[0] > others[0]:
            found.append(finals.popleft())
            taken += 1
        else:
            found.append(others.popleft())
    return [tag for _, tag in (*found, *finals, *others)]


def is_final(key: _Key) -> bool:
    """Return whether a tag is a final release; post releases and local versions are final."""
    is_version, version, _ = key
    return is_version and not version.is_prerelease


@lru_cache(maxsize=4096)
def _key(tag: str) -> _Key:
    return _version_key(version_of(tag))


def _version_key(text: str) -> _Key:
    version = version_or_none(text)
    return version is not None, version or _NO_VERSION, text


_NO_VERSION = Version("0")
