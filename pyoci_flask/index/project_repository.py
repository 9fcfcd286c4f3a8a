"""The repositories that may hold a project: their tags, and finding a version in them."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from pyoci_flask.common.budget import ByteBudget
from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    NotFoundError,
    OversizedError,
)
from pyoci_flask.index.callers import Guesses
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import ProjectName, tag_of, tags_of, version_key, version_of
from pyoci_flask.index.project import File
from pyoci_flask.index.version_index import (
    BEYOND,
    NotAPackageError,
    Skipped,
    VersionFiles,
    VersionIndex,
    files_to_list,
    parse_index,
)
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.manifests import Manifest, read_manifest
from pyoci_flask.oci.reference import Tag
from pyoci_flask.oci.tags import list_tags

logger = logging.getLogger("pyoci.index")


_WHOLE = ByteBudget(16 * 1024 * 1024)
"""Bytes of large image indexes that requests work on; each takes some ten of memory."""
_LARGE = 512 * 1024
_NAMED = 3
"""Tags or entries that one line of the log names."""


@dataclass(frozen=True, slots=True)
class ProjectRepository:
    """A repository that may hold a project, as one caller may use it."""

    project: ProjectName
    caller: RepositoryCaller
    guesses: Guesses | None = None
    """For a repository that may well not exist."""
    others: Sequence["ProjectRepository"] = ()
    """Repositories that may hold further versions, see `find_project`."""

    def of(self, file: File) -> "ProjectRepository":
        """Return the repository that holds a file of the project."""
        for other in self.others:
            if other.segment == file.segment:
                return other
        return self

    def read_tags(self) -> list[str] | None:
        """Read the list of tags; None = no such repository."""
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
        """Whether the repository may not exist, and was recently denied to this caller.

        If the project is in another repository, this does not matter. If not, ask again.
        """
        return self.guesses is not None and self.caller in self.guesses.denied

    @property
    def segment(self) -> str:
        """Last segment of the repository's name, from which the original builds filenames."""
        return self.caller.repository.name.rpartition("/")[2]


Candidates = Sequence[ProjectRepository]
"""Repositories of one project, the most likely one first (see `ProjectName.spellings`)."""


def load_version(repository: ProjectRepository, version: str, tag: Tag) -> VersionIndex | None:
    """Fetch the image index of a version; None = there is no such tag.

    Raises:
        NotAPackageError: the tag does not hold a version of a package.
        OversizedError: the index is too large.
        BusyError: other requests use too many large indexes.
    """

    def parse(manifest: Manifest) -> VersionIndex:
        found = _parse(repository, version, tag, manifest)
        if len(manifest.document) > _LARGE:
            _WHOLE.keep(len(manifest.document), found)
        return found

    return read_manifest(repository.caller, tag, parse)


def _parse(
    repository: ProjectRepository, version: str, tag: Tag, manifest: Manifest
) -> VersionIndex:
    found, faults = parse_index(manifest, version, tag, repository.project, repository.segment)
    if faults:
        logger.warning(
            "%s:%s: left out %s", repository.caller.repository, tag, _few(faults, "entries")
        )
    return found


def read_version(repository: ProjectRepository, version: str, tag: Tag) -> VersionIndex | None:
    """Fetch the image index of a version, for reading.

    Return None if the tag is gone, or does not hold a package (which is logged): a repository may
    hold container images and signatures as well.
    """
    try:
        return load_version(repository, version, tag)
    except NotAPackageError as error:
        log_skipped(repository, {tag.text: Skipped(str(error), is_version=False)})
        return None


def load_files(
    repository: ProjectRepository,
    version: str,
    tag: Tag,
    wanted: Callable[[], bool] = lambda: True,
) -> VersionFiles | Skipped | None:
    """Fetch the files of a version for a listing; None = there is no such tag.

    Return `BEYOND` if it is no longer `wanted` when it could be parsed.
    """

    def parse(manifest: Manifest) -> VersionFiles | Skipped:
        if not wanted():
            return BEYOND
        return files_to_list(_parse(repository, version, tag, manifest), manifest.document)

    try:
        return read_manifest(repository.caller, tag, parse)
    except NotAPackageError as error:
        return Skipped(str(error), is_version=False)
    except OversizedError as error:
        return Skipped(str(error), is_version=True)


def log_skipped(
    repository: ProjectRepository, read: Mapping[str, VersionFiles | Skipped | None]
) -> None:
    """Log which of these tags are left out, in one line for each kind."""
    name = repository.caller.repository
    skipped = {tag: one for tag, one in read.items() if isinstance(one, Skipped)}
    others = [f"{tag} is {one.reason}" for tag, one in skipped.items() if not one.is_version]
    large = [f"{tag}: {one.reason}" for tag, one in skipped.items() if one.is_version]
    if others:
        logger.info("%s: skipped %s that are not packages", name, _few(others, "tags"))
    if large:
        logger.warning("%s: left out %s", name, _few(large, "versions"))


def _few(reasons: Sequence[str], what: str) -> str:
    """Return the number of things and the first reasons, for one line of a log."""
    more = "; ..." if len(reasons) > _NAMED else ""
    return f"{len(reasons)} {what} ({'; '.join(reasons[:_NAMED])}{more})"


_T = TypeVar("_T", bound=VersionFiles | VersionIndex)
ReadTag = Callable[[ProjectRepository, str, Tag], _T | None]
"""Reads a version from a tag; None = the tag holds no version of a package."""
Tagged = tuple[ProjectRepository, Sequence[str]]
"""A repository and its tags."""


def find_versions(
    candidates: Candidates, version: str, read: ReadTag[_T]
) -> Iterator[tuple[ProjectRepository, _T]]:
    """Find a version in the project's repositories, under every tag that spells it.

    There is nearly always only one part. Stop after it if it is enough: finding others needs the
    lists of tags.
    """
    first, *others = candidates
    files: list[File] = []
    found = read(first, version, tag_of(version))
    if found is not None:
        files += found.files
        yield first, found
    tags: Sequence[str] = ()
    # The version as it is spelled can be read even if the tags cannot be listed.
    with suppress(AuthenticationRequiredError, DeniedError):
        tags = first.read_tags() or ()
    for repository, found in find_spelled(first, tags, version, read):
        files += found.files
        yield repository, found
    is_there = bool(files or tags)
    yield from find_in(with_tags(others, files, is_there=is_there), version, read)


def find_spelled(
    repository: ProjectRepository, tags: Sequence[str], version: str, read: ReadTag[_T]
) -> Iterator[tuple[ProjectRepository, _T]]:
    """Find a version under the tags that spell it differently."""
    expected = tag_of(version).text
    yield from find_in([(repository, [tag for tag in tags if tag != expected])], version, read)


def find_in(
    tagged: Sequence[Tagged], version: str, read: ReadTag[_T]
) -> Iterator[tuple[ProjectRepository, _T]]:
    """Find a version in repositories with these tags."""
    for repository, tags in tagged:
        for text in tags_of(tags, version):
            found = read(repository, version_of(text), Tag(text))
            if found is not None:
                yield repository, found


def with_tags(
    others: Candidates, files: Sequence[File], *, is_there: bool = True
) -> Sequence[Tagged]:
    """Return the project's repositories besides the one that holds `files`, with their tags.

    No repository is called if there are files, and none of them shows that the project's name has
    dots. If the project `is_there`, a repository that is denied is left out: it may not exist.

    Raises:
        AuthenticationRequiredError, DeniedError: a repository is denied, and the project was not
            found elsewhere.
    """
    if files and not any(file.dotted for file in files):
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


@contextmanager
def hold_version(
    candidates: Candidates, version: str, locks: VersionLocks
) -> Iterator[Sequence[tuple[ProjectRepository, VersionIndex]]]:
    """Hold the version's lock (the one that publish takes) and find all its parts.

    Raises:
        NotFoundError: there is no such version.
    """
    with hold_lock(candidates[0], version, locks):
        found = list(find_versions(candidates, version, read_version))
        if not found:
            raise NotFoundError(f"{candidates[0].project} has no version {version}")
        yield found


def hold_lock(
    repository: ProjectRepository, version: str, locks: VersionLocks
) -> AbstractContextManager[None]:
    """Hold the lock on a version, which all its spellings share."""
    return locks.hold(repository.caller.repository.location, version_key(version))


def hold_blobs(
    repository: ProjectRepository, locks: VersionLocks, *, shared: bool
) -> AbstractContextManager[None]:
    """Hold the lock on a repository's blobs: shared to publish, alone to delete blobs."""
    return locks.hold_blobs(repository.caller.repository.location, shared=shared)
