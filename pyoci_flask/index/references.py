"""Which blobs the tags of a repository reference, through indexes and manifests."""

import time
from collections.abc import Iterator, Set
from typing import Any

from pyoci_flask.common.redaction import shown
from pyoci_flask.errors import OversizedError, RegistryError, RegistryTimeoutError
from pyoci_flask.index.project import ARTIFACT_TYPE, blobs_of
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.manifests import Manifest, read_manifest
from pyoci_flask.oci.model import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    MalformedDocumentError,
    parse_object,
)
from pyoci_flask.oci.reference import Digest, Tag
from pyoci_flask.oci.tags import list_tags

_INDEXES = frozenset({INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json"})
_MANIFESTS = frozenset({MANIFEST_TYPE, "application/vnd.docker.distribution.manifest.v2+json"})
_MANIFEST_MEMBERS = frozenset({"config", "layers", "fsLayers", "blobs"})
_MOST_READS = 10_000
"""Tags, manifests and indexes."""


def referenced(caller: RepositoryCaller, blobs: Set[Digest], limit: float) -> set[Digest]:
    """Return those of `blobs` that are referenced by a manifest that a tag leads to.

    Stop with an error at `limit`, in seconds of `time.monotonic`.

    Raises:
        PyOCIError: not every manifest could be read.
    """
    return _Walk(caller, blobs, limit).named()


class _Walk:
    def __init__(self, caller: RepositoryCaller, blobs: Set[Digest], limit: float) -> None:
        self._caller = caller
        self._blobs = blobs
        self._limit = limit
        self._reads = 0
        self._named: set[Digest] = set()
        self._seen: set[Digest] = set()
        """Manifests and indexes that were read, or are `_left`."""
        self._left: list[Descriptor] = []
        self._subjects: set[Digest] = set()
        """Referrers often outlive them."""

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
                    "reference these blobs"
                )
        return self._named

    def _count(self, reads: int) -> None:
        self._reads += reads
        if self._reads > _MOST_READS:
            raise OversizedError(
                f"the tags of {self._caller.repository} lead to more than {_MOST_READS} manifests"
            )

    def _read(self, reference: Tag | Digest) -> bool:
        if time.monotonic() > self._limit:
            raise RegistryTimeoutError(
                f"reading the manifests of all tags of {self._caller.repository} took too long"
            )
        try:
            return read_manifest(self._caller, reference, self._note) is True
        except MalformedDocumentError as error:
            raise RegistryError(
                f"{reference} in {self._caller.repository} holds {error}; it may reference these "
                "blobs"
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
            for entry in (config, *_descriptors(document, "layers")):
                self._name(entry.digest)
        else:
            raise _unknown(manifest.media_type)
        if document.get("subject") is not None:
            subject = Descriptor.from_json(document["subject"])
            self._subjects.add(subject.digest)
            self._lead_to(subject, is_ours=False)
        return True

    def _lead_to(self, entry: Descriptor, *, is_ours: bool) -> None:
        self._name(entry.digest)
        told = blobs_of(entry) if is_ours and entry.media_type == MANIFEST_TYPE else (None, None)
        for digest in told:
            if digest is not None:
                self._name(digest)
        if None not in told:
            return
        if entry.media_type not in _INDEXES | _MANIFESTS:
            raise _unknown(entry.media_type)
        if entry.digest not in self._seen:
            self._count(1)
            self._seen.add(entry.digest)
            self._left.append(entry)

    def _name(self, digest: Digest) -> None:
        if digest in self._blobs:
            self._named.add(digest)


def _descriptors(document: dict[str, Any], member: str) -> Iterator[Descriptor]:
    entries = document.get(member)
    if not isinstance(entries, list):
        raise MalformedDocumentError(f"a document without {member}")
    return (Descriptor.from_json(entry) for entry in entries)


def _unknown(media_type: str) -> MalformedDocumentError:
    return MalformedDocumentError(f"a document of an unknown type ({shown(media_type)})")
