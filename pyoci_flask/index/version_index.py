"""What the tag of a version holds: the image index, its files, or a reason why there are none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyoci_flask.common.redaction import shown
from pyoci_flask.errors import PyOCIError
from pyoci_flask.index.names import ProjectName
from pyoci_flask.index.project import ARTIFACT_TYPE, File, files_of, relevant
from pyoci_flask.oci.manifests import Manifest
from pyoci_flask.oci.model import INDEX_TYPE, Descriptor, ImageIndex, MalformedDocumentError
from pyoci_flask.oci.reference import Digest, Tag

_FILE_WEIGHT = 1024
"""Bytes that a file counts at least."""
_RECORDED = 256 * 1024
"""Bytes of one version that the listing cache records at most."""


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
    """Bytes that it counts in a listing, about a fifth of the memory that it takes."""
    document: str | None = None
    """What its files are parsed from, for the listing cache; None = too large."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A tag whose files cannot be listed."""

    reason: str
    is_version: bool
    """True for a version that cannot be read; false for what is not a package at all."""
    answered: bool = True
    """Whether the registry said so. If not, it is not remembered and proves no right to read."""


BEYOND = Skipped("others take all the memory that a listing may have", True, answered=False)


class NotAPackageError(PyOCIError):
    """A tag does not hold a version of a package; the text says what it holds."""


def parse_index(
    manifest: Manifest, version: str, tag: Tag, project: ProjectName, segment: str
) -> tuple[VersionIndex, list[str]]:
    """Read the image index of a version; return also what is wrong with entries that are left out.

    `segment` is that of `ProjectRepository`.

    Raises:
        NotAPackageError: it is something else.
    """
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
    files, faults = files_of(index, version, project, segment)
    return VersionIndex(version, tag, manifest.digest, index, files), faults


def files_to_list(found: VersionIndex, document: bytes) -> VersionFiles:
    """Keep of a version what a listing needs; `document` is what its index was parsed from."""
    if len(document) > _RECORDED or not document.isascii():
        document = relevant(found.index).serialize()
    return listed_files(found.version, found.digest, document.decode("ascii"), found.files)


def listed_files(
    version: str, digest: Digest, document: str, files: Sequence[File]
) -> VersionFiles:
    """Keep of files what a listing needs; `document` is the index that they were parsed from."""
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
