"""The documents of the OCI image specification in which the index is stored.

Parsing is strict about types and tolerates missing members. Unknown members are preserved, so
that rewriting an index loses nothing that another program wrote.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pyoci_flask.common.grammar import (
    IMAGE_INDEX,
    IMAGE_MANIFEST,
    MOST_VALUES,
    has_too_many_values,
)
from pyoci_flask.errors import InvalidRequestError, OversizedError, RegistryError
from pyoci_flask.oci.reference import Digest

INDEX_TYPE = IMAGE_INDEX
MANIFEST_TYPE = IMAGE_MANIFEST
EMPTY_CONFIG_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY_CONFIG = b"{}"

DOCUMENT_LIMIT = 4 * 1024 * 1024
"""Bytes of a manifest or index. The distribution-spec asks registries to accept at least this."""
MOST_ENTRIES = 10_000
"""Entries of an index. No version on PyPI has even a twentieth of this."""
_KEPT_DEPTH = 32


class MalformedDocumentError(RegistryError):
    """The document is not JSON of the shape that the image specification describes."""


@dataclass(frozen=True, slots=True)
class Platform:
    """`platform` of a descriptor; it distinguishes the files of one version."""

    architecture: str
    os: str
    others: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Points to content by digest (image-spec, Content Descriptors). `size` is in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    others: Mapping[str, Any] = field(default_factory=dict)
    """Members that are not read here; `urls` and `data` are never followed or trusted."""

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read a descriptor.

        Raises:
            MalformedDocumentError: a required member is missing, or a member has the wrong type.
        """
        members = dict(_object(value, "descriptor"))
        platform = members.pop("platform", None)
        size = members.pop("size", None)
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise MalformedDocumentError("a descriptor without a size")
        return cls(
            media_type=_string(members.pop("mediaType", None), "mediaType"),
            digest=_digest(members.pop("digest", None)),
            size=size,
            annotations=_annotations(members.pop("annotations", None)),
            platform=None if platform is None else _platform(platform),
            others=_kept(members),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the members in the order of the specification."""
        members: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.annotations:
            members["annotations"] = dict(self.annotations)
        if self.platform is not None:
            members["platform"] = {
                "architecture": self.platform.architecture,
                "os": self.platform.os,
                **self.platform.others,
            }
        return {**members, **self.others}


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """An image index (image-spec, Image Index). Here, it is one version of a project."""

    artifact_type: str | None
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, document: bytes, members: Mapping[str, Any] | None = None) -> Self:
        """Read an index. `members` is the object in the document, if it was parsed already.

        Raises:
            MalformedDocumentError: the document is not an index.
            OversizedError: it has more than `MOST_ENTRIES` entries.
        """
        members = _of_type(parse_object(document) if members is None else members, INDEX_TYPE)
        entries = members.pop("manifests", None)
        if not isinstance(entries, list):
            raise MalformedDocumentError("an index without manifests")
        if len(entries) > MOST_ENTRIES:
            raise OversizedError(
                f"an index has more than {MOST_ENTRIES} entries",
                advice="Delete files of this version that are not needed",
            )
        return cls(
            artifact_type=_artifact_type(members),
            manifests=tuple(Descriptor.from_json(entry) for entry in entries),
            annotations=_annotations(members.pop("annotations", None)),
            others=_kept(members),
        )

    def serialize(self) -> bytes:
        """Write the JSON; the digest is over exactly these bytes."""
        entries = [entry.to_json() for entry in self.manifests]
        return _dump(self, INDEX_TYPE, {"manifests": entries}, self.others)


@dataclass(frozen=True, slots=True)
class ImageManifest:
    """An image manifest (image-spec, Image Manifest). Here, it is one file of a version."""

    artifact_type: str | None
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, document: bytes) -> Self:
        """Read a manifest.

        Raises:
            MalformedDocumentError: the document is not a manifest.
        """
        members = _of_type(parse_object(document), MANIFEST_TYPE)
        layers = members.get("layers")
        if not isinstance(layers, list):
            raise MalformedDocumentError("a manifest without layers")
        return cls(
            artifact_type=_artifact_type(members),
            config=Descriptor.from_json(members.get("config")),
            layers=tuple(Descriptor.from_json(layer) for layer in layers),
            annotations=_annotations(members.get("annotations")),
        )

    def serialize(self) -> bytes:
        """Write the JSON; the digest is over exactly these bytes."""
        layers = [layer.to_json() for layer in self.layers]
        return _dump(self, MANIFEST_TYPE, {"config": self.config.to_json(), "layers": layers}, {})


def parse_object(document: bytes) -> dict[str, Any]:
    """Read a JSON object that came from outside.

    Raises:
        MalformedDocumentError: the document is not a JSON object.
        OversizedError: the document contains too many values to be parsed.
    """
    if has_too_many_values(document):
        raise OversizedError(
            f"a document has more than {MOST_VALUES} JSON values",
            advice="Delete versions or files that are not needed",
        )
    try:
        value = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise MalformedDocumentError("a document that is not JSON") from error
    return dict(_object(value, "document"))


def _of_type(document: Mapping[str, Any], media_type: str) -> dict[str, Any]:
    members = dict(document)
    if members.pop("schemaVersion", None) != 2:
        raise MalformedDocumentError("a document whose schemaVersion is not 2")
    stated = members.pop("mediaType", media_type)
    if stated != media_type:
        raise MalformedDocumentError("a document with an unexpected mediaType")
    return members


def _dump(
    document: ImageIndex | ImageManifest,
    media_type: str,
    content: Mapping[str, Any],
    others: Mapping[str, Any],
) -> bytes:
    members: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type}
    if document.artifact_type is not None:
        members["artifactType"] = document.artifact_type
    members |= content
    if document.annotations:
        members["annotations"] = dict(document.annotations)
    # ASCII is used because a preserved member may contain text that UTF-8 cannot express.
    return json.dumps({**members, **others}, separators=(",", ":")).encode("ascii")


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise MalformedDocumentError(f"a {what} that is not a JSON object")
    return value


def _kept(members: dict[str, Any]) -> dict[str, Any]:
    """Return members that are not read here, unless they are nested too deeply.

    How deeply JSON may be nested depends on what else is on a thread's stack. Without this limit,
    one thread could read a document that another thread could not write.
    """
    if not members:
        return members
    level: list[Any] = list(members.values())
    for _ in range(_KEPT_DEPTH):
        within = [list(one.values()) if isinstance(one, dict) else one for one in level]
        level = [value for one in within if isinstance(one, list) for value in one]
        if not level:
            return members
    raise MalformedDocumentError("a document that is nested too deeply")


def _string(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise MalformedDocumentError(f"a document whose {what} is not a string")
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise MalformedDocumentError(f"a document whose {what} is not Unicode text") from error
    return value


def _digest(value: object) -> Digest:
    try:
        return Digest(_string(value, "digest"))
    except InvalidRequestError as error:
        raise MalformedDocumentError("a descriptor whose digest is not sha256") from error


def _platform(value: object) -> Platform:
    members = dict(_object(value, "platform"))
    return Platform(
        architecture=_string(members.pop("architecture", None), "architecture"),
        os=_string(members.pop("os", None), "os"),
        others=_kept(members),
    )


def _annotations(value: object) -> Mapping[str, str]:
    if value is None:
        return {}
    notes = _object(value, "annotations")
    try:
        "".join((*notes, *notes.values())).encode()
    except (TypeError, UnicodeEncodeError):
        for text in (*notes, *notes.values()):
            _string(text, "annotation")  # raises the error of the first one that is wrong
    return dict(notes)


def _artifact_type(members: dict[str, Any]) -> str | None:
    value = members.pop("artifactType", None)
    return None if value is None else _string(value, "artifactType")
