"""One project's repository: its candidates, and reading a version's image index from it."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pyoci_flask.errors import NotFoundError, PyOCIError
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import ProjectName, tag_of
from pyoci_flask.index.project import ARTIFACT_TYPE, File, files_of
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.model import INDEX_TYPE, ImageIndex, MalformedDocumentError
from pyoci_flask.oci.reference import Digest, Tag
from pyoci_flask.oci.repository import get_manifest
from pyoci_flask.redaction import shown

logger = logging.getLogger("pyoci.index")


@dataclass(frozen=True, slots=True)
class ProjectRepository:
    """A repository that may hold a project, with the caller's right to it."""

    project: ProjectName
    caller: RepositoryCaller

    @property
    def segment(self) -> str:
        """Last segment of the repository's name, of which the original builds filenames."""
        return self.caller.repository.name.rpartition("/")[2]


Candidates = Sequence[ProjectRepository]
"""Repositories of one project, likeliest first (see `ProjectName.repositories`)."""


@dataclass(frozen=True, slots=True)
class VersionIndex:
    """A version's image index, as read: its digest, itself and its files."""

    version: str
    tag: Tag
    digest: Digest
    index: ImageIndex
    files: Sequence[File]


class NotAPackageError(PyOCIError):
    """A tag holds something else than a version of a package; the text says what."""


def load_version(repository: ProjectRepository, version: str, tag: Tag) -> VersionIndex | None:
    """Fetch the image index of a version; None = there is no such tag.

    Raises:
        NotAPackageError: the tag holds something else.
    """
    manifest = get_manifest(repository.caller, tag)
    if manifest is None:
        return None
    if manifest.media_type != INDEX_TYPE:
        raise NotAPackageError(f"a {shown(manifest.media_type)}")
    try:
        index = ImageIndex.parse(manifest.document)
    except MalformedDocumentError as error:
        raise NotAPackageError(str(error)) from error
    if index.artifact_type != ARTIFACT_TYPE:
        raise NotAPackageError(f"an index of {shown(index.artifact_type or '')}")
    files, faults = files_of(index, version, repository.project, repository.segment)
    for fault in faults:
        logger.warning("%s:%s: left out %s", repository.caller.repository, tag, fault)
    return VersionIndex(version, tag, manifest.digest, index, files)


def read_version(repository: ProjectRepository, version: str, tag: Tag) -> VersionIndex | None:
    """Fetch the image index of a version, for reading.

    None where the tag is gone or holds something else than a package (which is logged): a
    repository may hold container images and signatures as well.
    """
    try:
        return load_version(repository, version, tag)
    except NotAPackageError as error:
        tell_no_package(repository, tag, error)
        return None


def tell_no_package(repository: ProjectRepository, tag: Tag, error: NotAPackageError) -> None:
    """Log why a tag is left out."""
    logger.info("%s:%s is no package but %s", repository.caller.repository, tag, error)


def find_version(
    candidates: Candidates, version: str
) -> tuple[ProjectRepository, VersionIndex] | None:
    """Look for a version in the project's repositories."""
    tag = tag_of(version)
    for repository in candidates:
        found = read_version(repository, version, tag)
        if found is not None:
            return repository, found
    return None


@contextmanager
def hold_version(
    candidates: Candidates, version: str, locks: VersionLocks
) -> Iterator[tuple[ProjectRepository, VersionIndex]]:
    """Hold the version's lock (the one that publish takes) and find it.

    Raises:
        NotFoundError: there is no such version.
    """
    with locks.hold(candidates[0].caller.repository.location, str(tag_of(version))):
        found = find_version(candidates, version)
        if found is None:
            raise NotFoundError(f"{candidates[0].project} has no version {version}")
        yield found
