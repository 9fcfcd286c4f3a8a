"""One project's repository: its candidates, and reading a version's image index from it."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from pyoci_flask.common.budget import ByteBudget
from pyoci_flask.common.redaction import shown
from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    NotFoundError,
    OversizedError,
    PyOCIError,
)
from pyoci_flask.index.callers import Guesses
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import ProjectName, tag_of, tags_of, version_key, version_of
from pyoci_flask.index.project import ARTIFACT_TYPE, File, files_of, relevant
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.model import INDEX_TYPE, Descriptor, ImageIndex, MalformedDocumentError
from pyoci_flask.oci.reference import Digest, Tag
from pyoci_flask.oci.repository import Manifest, list_tags, read_manifest

logger = logging.getLogger("pyoci.index")


_NAMED = 3
"""Things that one line of the log names."""
_FILE_WEIGHT = 1024
"""Bytes that a file counts at least."""
_WHOLE = ByteBudget(16 * 1024 * 1024)
"""Bytes of large image indexes that requests work on; each takes some ten of memory."""
_LARGE = 512 * 1024
_RECORDED = 256 * 1024
"""Bytes of one version that the listing cache records at most."""


@dataclass(frozen=True, slots=True)
class ProjectRepository:
    """A repository that may hold a project, with the caller's right to it."""

    project: ProjectName
    caller: RepositoryCaller
    guesses: Guesses | None = None
    """Of a repository that may well not exist."""
    others: Sequence["ProjectRepository"] = ()
    """Those that may hold further versions, see `find_project`."""

    def of(self, file: File) -> "ProjectRepository":
        """Return the one that holds a file of the project."""
        for other in self.others:
            if other.segment == file.segment:
                return other
        return self

    def tags(self) -> list[str] | None:
        """List the tags; None = no such repository."""
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
        """Whether it need not exist, and was denied to this caller a moment ago.

        That says nothing where the project is in another repository, and must be asked again
        where it is not.
        """
        return self.guesses is not None and self.caller in self.guesses.denied

    @property
    def segment(self) -> str:
        """Last segment of the repository's name, of which the original builds filenames."""
        return self.caller.repository.name.rpartition("/")[2]


Candidates = Sequence[ProjectRepository]
"""Repositories of one project, likeliest first (see `ProjectName.spellings`)."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class VersionIndex:
    """A version's image index, as read: its digest, itself and its files."""

    version: str
    tag: Tag
    digest: Digest
    index: ImageIndex
    files: Sequence[File]


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """The files of a version without the rest of its image index, for listings."""

    version: str
    digest: Digest
    files: Sequence[File]
    """Their entries have no annotations."""
    weight: int
    """Bytes that it counts in a listing, about a fifth of the memory that it takes."""
    document: str | None = None
    """What its files are made of, for the record of the listing cache; None = too large."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A tag whose files cannot be listed."""

    reason: str
    is_version: bool
    """Whether it is a version that cannot be read, rather than something else than a package."""
    answered: bool = True
    """Whether the registry said so. If not, it is not remembered, and proves no right to read."""


BEYOND = Skipped("others take all the memory that a listing may have", True, answered=False)


class NotAPackageError(PyOCIError):
    """A tag holds something else than a version of a package; the text says what."""


def load_version(repository: ProjectRepository, version: str, tag: Tag) -> VersionIndex | None:
    """Fetch the image index of a version; None = there is no such tag.

    Raises:
        NotAPackageError: the tag holds something else.
        OversizedError: the index is too large.
        BusyError: other requests work on too many large ones.
    """

    def parse(manifest: Manifest) -> VersionIndex:
        found = _parsed(repository, version, tag, manifest)
        if len(manifest.document) > _LARGE:
            _WHOLE.keep(len(manifest.document), found)
        return found

    return read_manifest(repository.caller, tag, parse)


def _parsed(
    repository: ProjectRepository, version: str, tag: Tag, manifest: Manifest
) -> VersionIndex:
    if manifest.media_type != INDEX_TYPE:
        kind = shown(manifest.media_type) if manifest.media_type else "manifest without a mediaType"
        raise NotAPackageError(f"a {kind}")
    try:
        index = ImageIndex.parse(manifest.document)
    except MalformedDocumentError as error:
        raise NotAPackageError(str(error)) from error
    if index.artifact_type != ARTIFACT_TYPE:
        if not index.artifact_type:
            raise NotAPackageError("an image index without an artifactType")
        raise NotAPackageError(f"an image index of {shown(index.artifact_type)}")
    files, faults = files_of(index, version, repository.project, repository.segment)
    if faults:
        logger.warning(
            "%s:%s: left out %s", repository.caller.repository, tag, few(faults, "entries")
        )
    return VersionIndex(version, tag, manifest.digest, index, files)


def read_version(repository: ProjectRepository, version: str, tag: Tag) -> VersionIndex | None:
    """Fetch the image index of a version, for reading.

    None where the tag is gone or holds something else than a package (which is logged): a
    repository may hold container images and signatures as well.
    """
    try:
        return load_version(repository, version, tag)
    except NotAPackageError as error:
        tell_skipped(repository, {tag.text: Skipped(str(error), is_version=False)})
        return None


def load_files(
    repository: ProjectRepository,
    version: str,
    tag: Tag,
    wanted: Callable[[], bool] = lambda: True,
) -> VersionFiles | Skipped | None:
    """Fetch the files of a version for a listing; None = there is no such tag.

    `BEYOND` if it is not `wanted` any more when its turn to be parsed comes.
    """

    def parse(manifest: Manifest) -> VersionFiles | Skipped:
        if not wanted():
            return BEYOND
        found = _parsed(repository, version, tag, manifest)
        if len(manifest.document) <= _RECORDED and manifest.document.isascii():
            document = manifest.document
        else:
            document = relevant(found.index).serialize()
        return listed_files(version, found.digest, document.decode("ascii"), found.files)

    try:
        return read_manifest(repository.caller, tag, parse)
    except NotAPackageError as error:
        return Skipped(str(error), is_version=False)
    except OversizedError as error:
        return Skipped(str(error), is_version=True)


def listed_files(
    version: str, digest: Digest, document: str, files: Sequence[File]
) -> VersionFiles:
    """Keep of a version what a listing needs; `document` is the index of `files`, or most of it."""
    weight = max(len(document), _FILE_WEIGHT * len(files))
    return VersionFiles(
        version,
        digest,
        tuple(replace(file, entry=_bare(file.entry)) for file in files),
        weight,
        document if len(document) <= _RECORDED else None,
    )


def _bare(entry: Descriptor) -> Descriptor:
    return Descriptor(entry.media_type, entry.digest, entry.size)


def tell_skipped(repository: ProjectRepository, skipped: Mapping[str, Skipped]) -> None:
    """Log which tags are left out, in one line for each kind."""
    name = repository.caller.repository
    others = [f"{tag} is {one.reason}" for tag, one in skipped.items() if not one.is_version]
    large = [f"{tag}: {one.reason}" for tag, one in skipped.items() if one.is_version]
    if others:
        logger.info("%s: skipped %s that are no packages", name, few(others, "tags"))
    if large:
        logger.warning("%s: left out %s", name, few(large, "versions"))


def few(reasons: Sequence[str], what: str) -> str:
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
    """Look for a version in the project's repositories, under every tag that spells it.

    Nearly always the first one is all there is: go on only where it is not enough, as that asks
    for tag lists.
    """
    first, *others = candidates
    files: list[File] = []
    found = read(first, version, tag_of(version))
    if found is not None:
        files += found.files
        yield first, found
    tags: Sequence[str] = ()
    # That the tags cannot be listed does not make the version as it is spelled unreachable.
    with suppress(AuthenticationRequiredError, DeniedError):
        tags = first.tags() or ()
    for repository, found in find_spelled(first, tags, version, read):
        files += found.files
        yield repository, found
    is_there = bool(files or tags)
    yield from find_in(with_tags(others, files, is_there=is_there), version, read)


def find_spelled(
    repository: ProjectRepository, tags: Sequence[str], version: str, read: ReadTag[_T]
) -> Iterator[tuple[ProjectRepository, _T]]:
    """Look for a version under those tags that spell it otherwise."""
    expected = tag_of(version).text
    yield from find_in([(repository, [tag for tag in tags if tag != expected])], version, read)


def find_in(
    tagged: Sequence[Tagged], version: str, read: ReadTag[_T]
) -> Iterator[tuple[ProjectRepository, _T]]:
    """Look for a version in repositories of which these are the tags."""
    for repository, tags in tagged:
        for text in tags_of(tags, version):
            found = read(repository, version_of(text), Tag(text))
            if found is not None:
                yield repository, found


def with_tags(
    others: Candidates, files: Sequence[File], *, is_there: bool = True
) -> Sequence[Tagged]:
    """Return the project's repositories besides the one that holds `files`, with their tags.

    None are asked for if there are files and none of them shows that the project's name has dots.
    If the project `is_there`, a repository that is denied is left out: it need not exist.

    Raises:
        AuthenticationRequiredError, DeniedError: a repository is denied, and the project is not
            there otherwise.
    """
    if files and not any(file.dotted for file in files):
        return ()
    found = []
    for other in others:
        if is_there and other.was_denied:
            continue
        try:
            found.append((other, other.tags() or ()))
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
    """Hold the lock on a version, whichever way it is spelled."""
    return locks.hold(repository.caller.repository.location, version_key(version))


def hold_blobs(
    repository: ProjectRepository, locks: VersionLocks, *, shared: bool
) -> AbstractContextManager[None]:
    """Hold the blobs of a repository: shared to publish to it, alone to delete some of them."""
    return locks.hold_blobs(repository.caller.repository.location, shared=shared)
