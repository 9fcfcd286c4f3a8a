"""The repositories that may contain a project, their tags and locks, and recent callers."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pyoci_flask.common.memory import Memory
from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    VersionNotFoundError,
)
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import ProjectName, version_key
from pyoci_flask.index.project import File
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.reference import Repository
from pyoci_flask.oci.tags import list_tags
from pyoci_flask.transport.request import Credentials, fingerprint

_MOST_CALLERS = 4096
_MOST_BYTES = 4 * 1024 * 1024


def no_version(
    project: ProjectName, version: str, where: str = "", *, versions: Sequence[str] = ()
) -> VersionNotFoundError:
    """Return the error for a version that does not exist; `where` ends the sentence.

    `versions` are those that the project has, if they are known.
    """
    return VersionNotFoundError(
        f"{project} has no version {version}{where}",
        version,
        versions,
        advice="Check the version; the page of the project lists those that exist",
    )


class RecentCallers:
    """Remembers pairs of credentials and a repository, each for a limited time."""

    def __init__(self, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Remember each caller for `ttl` seconds."""
        self._callers: Memory[tuple[str, str], bool] = Memory(
            entries=_MOST_CALLERS, max_bytes=_MOST_BYTES, ttl=ttl, clock=clock
        )

    def add(self, caller: RepositoryCaller) -> None:
        """Remember a caller from now on."""
        self._callers.put(_key(caller), value=True)

    def remove(self, caller: RepositoryCaller) -> None:
        """Forget a caller."""
        self._callers.remove(_key(caller))

    def __contains__(self, caller: RepositoryCaller) -> bool:
        return _key(caller) in self._callers

    def below(self, namespace: Repository, credentials: Credentials | None) -> list[str]:
        """Return the segments directly below a namespace that these credentials belong to."""
        prefix, mine = f"{namespace.location}/", fingerprint(credentials)
        found = [
            location.removeprefix(prefix)
            for location, whose in self._callers.keys()  # noqa: SIM118 - not a dict
            if whose == mine and location.startswith(prefix)
        ]
        return [segment for segment in found if "/" not in segment]


def _key(caller: RepositoryCaller) -> tuple[str, str]:
    return caller.repository.location, fingerprint(caller.credentials)


class Guesses:
    """What is known about the repositories that a project may have besides its usual one."""

    def __init__(self, ttl: float = 60.0) -> None:
        """Remember each result for `ttl` seconds."""
        self.missing = RecentCallers(ttl)
        """The registry reported that the repository does not exist."""
        self.empty = RecentCallers(ttl)
        """The repository has no tags. The project exists, unlike that of a missing repository."""
        self.denied = RecentCallers(ttl)


@dataclass(frozen=True, slots=True)
class ProjectRepository:
    """A repository that may contain a project, as used by one caller."""

    project: ProjectName
    caller: RepositoryCaller
    guesses: Guesses | None = None
    """Set only if the repository might not exist."""
    others: Sequence["ProjectRepository"] = ()
    """Repositories that may contain further versions (see `find_project`)."""

    def of(self, file: File) -> "ProjectRepository":
        """Return the repository that contains a file of the project."""
        for other in self.others:
            if other.segment == file.segment:
                return other
        return self

    def read_tags(self) -> list[str] | None:
        """Read the list of tags; return None if the repository does not exist."""
        if self.guesses is None:
            return list_tags(self.caller)
        if self.caller in self.guesses.missing:
            return None
        if self.caller in self.guesses.empty:
            return []
        try:
            tags = list_tags(self.caller)
        except (AuthenticationRequiredError, DeniedError):
            self.guesses.denied.add(self.caller)
            raise
        if not tags:
            (self.guesses.missing if tags is None else self.guesses.empty).add(self.caller)
        return tags

    @property
    def was_denied(self) -> bool:
        """Whether this caller was recently denied access to a repository that might not exist.

        Ignore this if the project is in another repository. Otherwise, read the tags again.
        """
        return self.guesses is not None and self.caller in self.guesses.denied

    @property
    def segment(self) -> str:
        """The last segment of the repository's name, from which the original builds filenames."""
        return self.caller.repository.name.rpartition("/")[2]


Candidates = Sequence[ProjectRepository]
"""Repositories of one project, the most likely one first (see `ProjectName.spellings`)."""
Tagged = tuple[ProjectRepository, Sequence[str]]
"""A repository and its tags."""


def with_tags(
    others: Candidates, files: Sequence[File], *, is_there: bool = True
) -> Sequence[Tagged]:
    """Return the project's repositories besides the one that contains `files`, with their tags.

    No repository is called if there are files and none of them shows that the project's name has
    dots. If `is_there` is true, a repository that denies access is left out, because it might not
    exist.

    Raises:
        AuthenticationRequiredError, DeniedError: a repository denies access, and the project was
            not found elsewhere.
    """
    if not others or (files and not any(file.dotted for file in files)):
        return ()
    found = []
    for other in others:
        if is_there and other.was_denied:
            continue
        try:
            found.append((other, other.read_tags() or ()))
        except (AuthenticationRequiredError, DeniedError):
            if not is_there:
                raise
    return [(other, tags) for other, tags in found if tags]


def hold_lock(
    repository: ProjectRepository, version: str, locks: VersionLocks
) -> AbstractContextManager[None]:
    """Hold the lock on a version, which all its spellings share."""
    return locks.hold(repository.caller.repository.location, version_key(version))


def hold_blobs(
    repository: ProjectRepository, locks: VersionLocks, *, shared: bool
) -> AbstractContextManager[None]:
    """Hold the lock on a repository's blobs: shared to publish, exclusive to delete blobs."""
    return locks.hold_blobs(repository.caller.repository.location, shared=shared)
