"""Delete the blobs of deleted files, unless a tag of the repository leads to them."""

import logging
import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

from pyoci_flask.common.grammar import DOCKER_MANIFEST, DOCKER_MANIFEST_LIST
from pyoci_flask.common.redaction import shown
from pyoci_flask.errors import OversizedError, PyOCIError, RegistryError, RegistryTimeoutError
from pyoci_flask.index.project import ARTIFACT_TYPE, blobs_of
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.oci.blobs import delete_blob, shows_blob
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.manifests import Deletion, Manifest, get_manifest, read_manifest
from pyoci_flask.oci.model import (
    EMPTY_CONFIG,
    INDEX_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    ImageManifest,
    MalformedDocumentError,
    parse_object,
)
from pyoci_flask.oci.reference import EMBEDDED, Digest, Tag
from pyoci_flask.oci.tags import list_tags

logger = logging.getLogger("pyoci.index")

_SECONDS = 60.0
"""Maximum seconds for reading what references the blobs. Uploads to the repository wait for it."""
_EMPTY = Digest.of(EMPTY_CONFIG)
_INDEXES = frozenset({INDEX_TYPE, DOCKER_MANIFEST_LIST})
_MANIFESTS = frozenset({MANIFEST_TYPE, DOCKER_MANIFEST})
_MANIFEST_MEMBERS = frozenset({"config", "layers", "fsLayers", "blobs"})
_MOST_READS = 10_000
"""Maximum number of tags, manifests and indexes that are read."""


@dataclass(frozen=True, slots=True)
class DeletedBlobs:
    """The result of deleting the blobs of deleted files."""

    found: int | None
    """The number of blobs, or None if it could not be read and no blob was deleted."""
    deleted: int = 0
    kept: int = 0
    """The number of blobs that are referenced elsewhere."""
    fault: str | None = None
    """Why the other blobs were not deleted."""


class FileBlobs:
    """Notes the blobs of files before the files are deleted, and deletes the blobs on request."""

    def __init__(self, *, every: bool = False) -> None:
        """If `every` is set, note all blobs for `delete`; otherwise one for `ask_if_readable`."""
        self._every = every
        self._blobs: list[tuple[RepositoryCaller, Digest]] = []
        self._fault: str | None = None
        self._limit = time.monotonic() + _SECONDS

    def note(self, repository: ProjectRepository, entries: Sequence[Descriptor]) -> None:
        """Note the blobs of files that are about to be deleted."""
        caller = repository.caller
        try:
            for entry in entries if self._every else entries[:1]:
                self._note(caller, entry)
        except PyOCIError as error:
            logger.info(
                "cannot read which blobs the deleted files of %s have: %s", caller.repository, error
            )
            self._fault = str(error)

    def _note(self, caller: RepositoryCaller, entry: Descriptor) -> None:
        digest, metadata = blobs_of(entry)
        if digest is None or (self._every and metadata is None):
            if time.monotonic() > self._limit:
                raise RegistryTimeoutError(
                    "reading the manifests of the files took too long", advice="Try again later"
                )
            found = list(_read_blobs(caller, entry))
        else:
            found = [digest, *([metadata] if metadata else [])]
        self._blobs += [(caller, blob) for blob in found if blob != _EMPTY]

    def ask_if_readable(self) -> bool:
        """Ask the registry whether the first file can still be read by its digest.

        The embedded registry is not asked, because it keeps all blobs until its own command deletes
        them.
        """
        if not self._blobs:
            return False
        caller, digest = self._blobs[0]
        return caller.repository.registry != EMBEDDED and shows_blob(caller, digest)

    def delete(self) -> DeletedBlobs:
        """Delete the noted blobs that are no longer referenced. The manifests must be gone.

        The caller must hold the exclusive lock on the repository's blobs. If a manifest that may
        reference the blobs cannot be read, no blob is deleted.
        """
        if self._fault is not None:
            return DeletedBlobs(None, fault=self._fault)
        by_place: dict[str, tuple[RepositoryCaller, set[Digest]]] = {}
        for caller, digest in self._blobs:
            by_place.setdefault(caller.base, (caller, set()))[1].add(digest)
        found = sum(len(digests) for _, digests in by_place.values())
        deleted = kept = 0
        try:
            for caller, digests in by_place.values():
                named = referenced(caller, digests, self._limit)
                kept += len(named)
                for digest in sorted(digests - named):
                    if delete_blob(caller, digest) is Deletion.UNSUPPORTED:
                        fault = "this registry does not delete blobs"
                        return DeletedBlobs(found, deleted, kept, fault)
                    deleted += 1
        except PyOCIError as error:
            logger.warning("blobs of deleted files are still stored in the registry: %s", error)
            return DeletedBlobs(found, deleted, kept, str(error))
        return DeletedBlobs(found, deleted, kept)


def _read_blobs(caller: RepositoryCaller, entry: Descriptor) -> Iterator[Digest]:
    """Read the digests of a file and of its config from the file's manifest, in this order."""
    manifest = get_manifest(caller, entry.digest)
    if manifest is not None:
        parsed = ImageManifest.parse(manifest.document)
        yield from (layer.digest for layer in parsed.layers)
        yield parsed.config.digest


def referenced(caller: RepositoryCaller, blobs: Set[Digest], limit: float) -> set[Digest]:
    """Return those of `blobs` that are referenced by a manifest that a tag leads to.

    Raise an error when `time.monotonic` reaches `limit`.

    Raises:
        PyOCIError: not every manifest could be read.
    """
    return _References(caller, blobs, limit).named()


class _References:
    """Follows the tags of a repository through indexes and manifests."""

    def __init__(self, caller: RepositoryCaller, blobs: Set[Digest], limit: float) -> None:
        self._caller = caller
        self._blobs = blobs
        self._limit = limit
        self._reads = 0
        self._named: set[Digest] = set()
        self._seen: set[Digest] = set()
        """Manifests and indexes that were read or are in `_left`."""
        self._left: list[Descriptor] = []
        self._subjects: set[Digest] = set()
        """These may no longer exist, because referrers often outlive their subjects."""

    def named(self) -> set[Digest]:
        tags = list_tags(self._caller, whole=True) or []
        self._count(len(tags))
        for tag in tags:
            self._read(Tag(tag))
        while self._left:
            entry = self._left.pop()
            if not self._read(entry.digest) and entry.digest not in self._subjects:
                raise RegistryError(
                    f"{self._caller.repository} is missing the manifest {entry.digest}, which may "
                    "reference these blobs",
                    advice="Delete the blobs in the registry itself",
                )
        return self._named

    def _count(self, reads: int) -> None:
        self._reads += reads
        if self._reads > _MOST_READS:
            raise OversizedError(
                f"the tags of {self._caller.repository} lead to more than {_MOST_READS} manifests",
                advice="Delete the blobs in the registry itself",
            )

    def _read(self, reference: Tag | Digest) -> bool:
        if time.monotonic() > self._limit:
            raise RegistryTimeoutError(
                f"reading the manifests of all tags of {self._caller.repository} took too long",
                advice="Try again later, or delete the blobs in the registry itself",
            )
        try:
            return read_manifest(self._caller, reference, self._note) is True
        except MalformedDocumentError as error:
            raise RegistryError(
                f"{reference} in {self._caller.repository} is malformed ({error}); it might refer "
                "to these blobs",
                advice="Delete the blobs in the registry itself",
            ) from error

    def _note(self, manifest: Manifest) -> bool:
        document = parse_object(manifest.document)
        if "manifests" in document and not _MANIFEST_MEMBERS.isdisjoint(document):
            raise MalformedDocumentError("a document that is both an index and a manifest")
        if manifest.media_type in _INDEXES:
            is_ours = document.get("artifactType") == ARTIFACT_TYPE
            for entry in _descriptors(document, "manifests"):
                self._lead_to(entry, is_ours=is_ours)
        elif manifest.media_type in _MANIFESTS:
            config = Descriptor.from_json(document.get("config"))
            layers = _descriptors(document, "layers")
            self._name(config.digest, *(layer.digest for layer in layers))
        else:
            raise _unknown(manifest.media_type)
        if document.get("subject") is not None:
            subject = Descriptor.from_json(document["subject"])
            self._subjects.add(subject.digest)
            self._lead_to(subject, is_ours=False)
        return True

    def _lead_to(self, entry: Descriptor, *, is_ours: bool) -> None:
        digests = blobs_of(entry) if is_ours and entry.media_type == MANIFEST_TYPE else (None, None)
        self._name(entry.digest, *digests)
        if None not in digests:
            return
        if entry.media_type not in _INDEXES | _MANIFESTS:
            raise _unknown(entry.media_type)
        if entry.digest not in self._seen:
            self._count(1)
            self._seen.add(entry.digest)
            self._left.append(entry)

    def _name(self, *digests: Digest | None) -> None:
        self._named |= self._blobs & {*digests}


def _descriptors(document: dict[str, Any], member: str) -> Iterator[Descriptor]:
    entries = document.get(member)
    if not isinstance(entries, list):
        raise MalformedDocumentError(f"a document without {member}")
    return (Descriptor.from_json(entry) for entry in entries)


def _unknown(media_type: str) -> MalformedDocumentError:
    return MalformedDocumentError(f"a document of an unknown type ({shown(media_type)})")
