"""Read and find the versions of a project."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from pyoci_flask.common.budget import ByteBudget
from pyoci_flask.common.redaction import shown
from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    OversizedError,
    PyOCIError,
)
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import Filename, tag_of, tags_of, version_of
from pyoci_flask.index.project import ARTIFACT_TYPE, File, files_of, last_change, relevant
from pyoci_flask.index.project_repository import (
    Candidates,
    ProjectRepository,
    Tagged,
    hold_lock,
    no_version,
    with_tags,
)
from pyoci_flask.oci.manifests import Manifest, Unchanged, read_manifest
from pyoci_flask.oci.model import INDEX_TYPE, ImageIndex, MalformedDocumentError
from pyoci_flask.oci.reference import Digest, Tag

logger = logging.getLogger("pyoci.index")

_WHOLE = ByteBudget(16 * 1024 * 1024)
"""Maximum bytes of large image indexes in use by requests. Each takes some ten in memory."""
_LARGE = 512 * 1024
_NAMED = 3
"""Maximum number of tags or entries that one log line lists."""
_FILE_WEIGHT = 1024
"""Minimum number of bytes that a file counts as."""
_MANIFESTS = ("application/vnd.oci.", "application/vnd.docker.")
"""How the media types of manifests begin."""
_RECORDED = 256 * 1024
"""Maximum size of one version in the listing cache, in bytes."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class VersionIndex:
    """The image index of a version as it was read, and the files in it."""

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
    """Bytes that it counts as in a listing: about a fifth of the memory that it takes."""
    document: str | None = None
    """What its files are parsed from, for the listing cache, or None if it is too large."""
    changed: datetime | None = None
    """When its index was last changed, if the index says so."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A tag whose files cannot be listed."""

    reason: str
    is_version: bool
    """True for a version that cannot be read; false for a tag that is not a package."""
    answered: bool = True
    """Whether the registry gave the reason. If not, it is not cached and is no proof of access."""


BEYOND = Skipped("other versions take all the memory that a listing may use", True, answered=False)


def same_files(found: VersionFiles | VersionIndex, filename: Filename) -> list[File]:
    """Return the files of a version with this filename, in any spelling.

    There is at most one, unless another program has added it twice.
    """
    return [file for file in found.files if file.filename.architecture == filename.architecture]


class NotAPackageError(PyOCIError):
    """A tag does not contain a version of a package, or not even a manifest (`is_manifest`)."""

    def __init__(self, message: str, *, is_manifest: bool = True) -> None:
        super().__init__(message)
        self.is_manifest = is_manifest


def parse_index(
    repository: ProjectRepository, version: str, tag: Tag, manifest: Manifest, *, listed: bool
) -> VersionIndex:
    """Read the image index of a version; log what is wrong with entries that are left out.

    `listed` keeps only what a listing needs of the files (see `files_of`).

    Raises:
        NotAPackageError: the manifest is something else.
    """
    if manifest.media_type != INDEX_TYPE:
        kind = shown(manifest.media_type) if manifest.media_type else "manifest without a mediaType"
        raise NotAPackageError(f"a {kind}", is_manifest=manifest.media_type.startswith(_MANIFESTS))
    try:
        index = ImageIndex.parse(manifest.document, manifest.members)
    except MalformedDocumentError as error:
        raise NotAPackageError(str(error)) from error
    if index.artifact_type != ARTIFACT_TYPE:
        if not index.artifact_type:
            raise NotAPackageError("an image index without an artifactType")
        raise NotAPackageError(f"an image index with artifact type {shown(index.artifact_type)}")
    files, faults = files_of(index, version, repository.project, repository.segment, listed=listed)
    if faults:
        logger.warning(
            "%s:%s: left out %s", repository.caller.repository, tag, _few(faults, "entries")
        )
    return VersionIndex(version, tag, manifest.digest, index, files)


def listed_files(
    version: str,
    digest: Digest,
    document: str,
    files: Sequence[File],
    changed: datetime | None = None,
) -> VersionFiles:
    """Return files for a listing. `document` is the index that they were parsed from."""
    weight = max(len(document), _FILE_WEIGHT * len(files))
    return VersionFiles(
        version,
        digest,
        tuple(files),
        weight,
        document if len(document) <= _RECORDED else None,
        changed,
    )


def load_version(repository: ProjectRepository, version: str, tag: Tag) -> VersionIndex | None:
    """Fetch the image index of a version, or return None if the tag does not exist.

    Raises:
        NotAPackageError: the tag does not contain a version of a package.
        OversizedError: the index is too large.
        BusyError: other requests use too many large indexes.
    """

    def parse(manifest: Manifest) -> VersionIndex:
        found = parse_index(repository, version, tag, manifest, listed=False)
        if len(manifest.document) > _LARGE:
            _WHOLE.keep(len(manifest.document), found)
        return found

    return read_manifest(repository.caller, tag, parse)


def read_version(repository: ProjectRepository, version: str, tag: Tag) -> VersionIndex | None:
    """Fetch the image index of a version, for reading.

    Return None if the tag does not exist. If it does not contain a package, log that and return
    None, because a repository may contain container images and signatures as well.
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
    known: VersionFiles | None = None,
) -> VersionFiles | Skipped | None:
    """Fetch the files of a version for a listing, or return None if the tag does not exist.

    Return `BEYOND` if `wanted` returns false before the index is parsed. Return `known`, which was
    read earlier from the same tag, if the registry still has the same index.
    """

    def parse(manifest: Manifest) -> VersionFiles | Skipped:
        if not wanted():
            return BEYOND
        found = parse_index(repository, version, tag, manifest, listed=True)
        document = manifest.document
        if len(document) > _RECORDED or not document.isascii():
            document = relevant(found.index).serialize()
        changed = last_change(found.index)
        return listed_files(version, found.digest, document.decode("ascii"), found.files, changed)

    try:
        if known is None:
            return read_manifest(repository.caller, tag, parse)
        found = read_manifest(repository.caller, tag, parse, known.digest)
        return known if isinstance(found, Unchanged) else found
    except NotAPackageError as error:
        return Skipped(str(error), is_version=False, answered=error.is_manifest)
    except OversizedError as error:
        return Skipped(str(error), is_version=True)


def log_skipped(
    repository: ProjectRepository, read: Mapping[str, VersionFiles | Skipped | None]
) -> None:
    """Log the skipped tags, one line per kind (not packages, too large)."""
    name = repository.caller.repository
    skipped = {tag: one for tag, one in read.items() if isinstance(one, Skipped)}
    others = [f"{tag} is {one.reason}" for tag, one in skipped.items() if not one.is_version]
    large = [f"{tag}: {one.reason}" for tag, one in skipped.items() if one.is_version]
    if others:
        logger.info("%s: skipped %s that are not packages", name, _few(others, "tags"))
    if large:
        logger.warning("%s: left out %s", name, _few(large, "versions"))


def _few(reasons: Sequence[str], what: str) -> str:
    """Return the number of reasons and the first of them, for one log line."""
    more = "; ..." if len(reasons) > _NAMED else ""
    return f"{len(reasons)} {what} ({'; '.join(reasons[:_NAMED])}{more})"


_T = TypeVar("_T", bound=VersionFiles | VersionIndex)
ReadTag = Callable[[ProjectRepository, str, Tag], _T | None]
"""Reads a version from a tag; returns None if the tag does not contain one."""


def find_versions(
    candidates: Candidates, version: str, read: ReadTag[_T]
) -> Iterator[tuple[ProjectRepository, _T]]:
    """Find a version in the project's repositories, under every tag that spells it.

    There is nearly always only one part. Stop after it if it is enough, because finding others
    needs the lists of tags.
    """
    first, *others = candidates
    files: list[File] = []
    found = read(first, version, tag_of(version))
    if found is not None:
        files += found.files
        yield first, found
    tags: Sequence[str] = ()
    # The version can be read by this spelling even if the tags cannot be listed.
    with suppress(AuthenticationRequiredError, DeniedError):
        tags = first.read_tags() or ()
    for repository, found in find_spelled(first, tags, version, read):
        files += found.files
        yield repository, found
    yield from find_in(with_tags(others, files, is_there=bool(files or tags)), version, read)


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


@contextmanager
def hold_version(
    candidates: Candidates, version: str, locks: VersionLocks
) -> Iterator[Sequence[tuple[ProjectRepository, VersionIndex]]]:
    """Hold the version's lock (the one that publish takes) and find all its parts.

    Raises:
        NotFoundError: the version does not exist.
    """
    with hold_lock(candidates[0], version, locks):
        found = list(find_versions(candidates, version, read_version))
        if not found:
            raise no_version(candidates[0].project, version)
        yield found
