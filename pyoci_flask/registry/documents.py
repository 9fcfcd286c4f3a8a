"""Parses manifests and indexes to find out what they refer to.

Image specification, sections Image Manifest, Image Index and Content Descriptors. Docker's
equivalents (schema 2) have the same members as far as this module reads them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pyoci_flask.common.grammar import (
    DOCKER_MANIFEST,
    DOCKER_MANIFEST_LIST,
    IMAGE_INDEX,
    IMAGE_MANIFEST,
)
from pyoci_flask.registry.errors import DistributionError, manifest_invalid
from pyoci_flask.registry.names import Digest

INDEX_TYPES = frozenset({IMAGE_INDEX, DOCKER_MANIFEST_LIST})
MANIFEST_TYPES = frozenset({IMAGE_MANIFEST, DOCKER_MANIFEST}) | INDEX_TYPES

# Layers that a registry need not store, because clients fetch them from elsewhere.
_FOREIGN_PREFIXES = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to content: its media type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: int

    @property
    def is_manifest(self) -> bool:
        """Whether the content is a manifest or an index rather than a plain blob."""
        return self.media_type in MANIFEST_TYPES

    @property
    def is_foreign(self) -> bool:
        """Whether the content may be missing, because clients fetch it from elsewhere."""
        return self.media_type.startswith(_FOREIGN_PREFIXES)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index. `references` are the config and layers, or the index's manifests."""

    media_type: str
    references: tuple[Descriptor, ...]
    subject: Digest | None
    artifact_type: str | None
    annotations: Mapping[str, str]


def parse_manifest(body: bytes, media_type: str | None) -> Manifest:
    """Parse a document that was sent as `media_type`.

    Raises `DistributionError` (MANIFEST_INVALID) if the document is not of that type.
    """
    document = parse_object(body)
    declared = document.get("mediaType") or media_type
    if media_type is not None and declared != media_type:
        raise manifest_invalid(f"Content-Type is {media_type}, but mediaType is {declared}")
    if not isinstance(declared, str) or declared not in MANIFEST_TYPES:
        raise manifest_invalid(f"{declared} is not the media type of a manifest")
    if document.get("schemaVersion") != 2:
        raise manifest_invalid("schemaVersion is not 2")
    config: Descriptor | None = None
    if declared in INDEX_TYPES:
        # Two readers could interpret a document that is both types as two different images.
        _forbid(document, "an index", "config", "layers")
        references = _descriptors(document, "manifests")
    else:
        _forbid(document, "an image manifest", "manifests")
        config = _descriptor(document.get("config"), "config")
        references = (config, *_descriptors(document, "layers"))
    subject = document.get("subject")
    return Manifest(
        media_type=declared,
        references=references,
        subject=None if subject is None else _descriptor(subject, "subject").digest,
        artifact_type=_text(document, "artifactType") or (config.media_type if config else None),
        annotations=_annotations(document),
    )


def parse_object(body: bytes) -> dict[str, object]:
    """Return the JSON object in `body`; raises `DistributionError` (MANIFEST_INVALID)."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise manifest_invalid("not a JSON document") from error
    if not isinstance(document, dict):
        raise manifest_invalid("not a JSON object")
    return document


def parse_descriptor(value: object) -> Descriptor | None:
    """Return the descriptor in a part of a stored document, or None if it is not a descriptor."""
    try:
        return _descriptor(value, "descriptor")
    except DistributionError:
        return None


def _forbid(document: Mapping[str, object], what: str, *fields: str) -> None:
    for field in fields:
        if field in document:
            raise manifest_invalid(f"{what} must not have {field}")


def _descriptors(document: Mapping[str, object], field: str) -> tuple[Descriptor, ...]:
    # Programs written in Go write an empty list as null.
    values = document.get(field)
    if field in document and values is None:
        return ()
    if not isinstance(values, list):
        raise manifest_invalid(f"{field} is not a list")
    return tuple(_descriptor(value, f"{field}[{n}]") for n, value in enumerate(values))


def _descriptor(value: object, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise manifest_invalid(f"{where} is not a descriptor object")
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str):
        raise manifest_invalid(f"{where} needs a mediaType and a digest")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise manifest_invalid(f"{where} needs a size in bytes")
    try:
        return Descriptor(media_type, Digest.parse(digest), size)
    except DistributionError as error:
        raise manifest_invalid(f"{where}: {error.message}") from error


def _text(document: Mapping[str, object], field: str) -> str | None:
    value = document.get(field)
    if value is not None and not isinstance(value, str):
        raise manifest_invalid(f"{field} is not a string")
    return value or None


def _annotations(document: Mapping[str, object]) -> dict[str, str]:
    annotations = document.get("annotations")
    if annotations is None:
        return {}
    if not isinstance(annotations, dict) or not all(
        isinstance(value, str) for value in annotations.values()
    ):
        raise manifest_invalid("annotations must be an object whose values are strings")
    return annotations
