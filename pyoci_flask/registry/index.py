"""The `index.json` of an image layout: which tag names which manifest.

Image specification, section Image Layout.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pyoci_flask.registry.documents import (
    IMAGE_INDEX,
    Descriptor,
    parse_descriptor,
    parse_object,
)
from pyoci_flask.registry.errors import RegistryError
from pyoci_flask.registry.names import Digest, Tag, parse_tag

REF_NAME = "org.opencontainers.image.ref.name"
EMPTY_INDEX = {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": []}


class DamagedIndexError(ValueError):
    """An `index.json` is not what it should be."""


@dataclass(frozen=True, slots=True)
class LayoutIndex:
    """What `index.json` says.

    `manifests` are those that it lists, tagged or (by another program) not; `foreign` is the
    number of entries that are not manifests of a kind that the registry knows.
    """

    tags: Mapping[Tag, Descriptor]
    manifests: Mapping[Digest, Descriptor]
    foreign: int


def parse_index(content: bytes) -> LayoutIndex:
    """Read an `index.json`; raises `DamagedIndexError` if it is none."""
    tags: dict[Tag, Descriptor] = {}
    manifests: dict[Digest, Descriptor] = {}
    foreign = 0
    for entry in _entries(_document(content)):
        descriptor = parse_descriptor(entry)
        if descriptor is None or not descriptor.is_manifest:
            foreign += 1
            continue
        manifests.setdefault(descriptor.digest, descriptor)
        tag = parse_tag(_ref_name(entry))
        if tag is not None:
            tags.setdefault(tag, descriptor)
    return LayoutIndex(MappingProxyType(tags), MappingProxyType(manifests), foreign)


def with_tags(content: bytes, tags: Sequence[Tag], descriptor: Descriptor) -> bytes:
    """Return `index.json` with `tags` naming that manifest and no other."""
    entries = [
        {
            "mediaType": descriptor.media_type,
            "digest": str(descriptor.digest),
            "size": descriptor.size,
            "annotations": {REF_NAME: tag},
        }
        for tag in dict.fromkeys(tags)
    ]
    document = _document(content)
    kept = [other for other in _entries(document) if _ref_name(other) not in tags]
    return _write(document, [*kept, *entries])


def without_tag(content: bytes, tag: Tag) -> bytes:
    """Return `index.json` without that tag."""
    document = _document(content)
    return _write(document, [e for e in _entries(document) if _ref_name(e) != tag])


def without_manifest(content: bytes, digest: Digest) -> bytes:
    """Return `index.json` without any entry for that manifest, tagged or not."""
    document = _document(content)
    return _write(document, [e for e in _entries(document) if e.get("digest") != str(digest)])


def _document(content: bytes) -> dict[str, object]:
    try:
        return parse_object(content)
    except RegistryError as error:
        raise DamagedIndexError(f"index.json is {error.message}") from error


def _write(document: dict[str, object], entries: list[dict[str, object]]) -> bytes:
    return json.dumps({**document, "manifests": entries}, separators=(",", ":")).encode()


def _entries(document: dict[str, object]) -> list[dict[str, object]]:
    entries = document.get("manifests")
    return [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []


def _ref_name(entry: dict[str, object]) -> str:
    annotations = entry.get("annotations")
    name = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else ""
