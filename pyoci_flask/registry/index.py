"""The `index.json` of an image layout: which tag names which manifest.

Image specification, section Image Layout. It is written with one entry a line: of a file that has
changed, only the lines that were not there before have to be parsed.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
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

_HEAD_END = b'"manifests":[\n'
_BETWEEN = b",\n"
_TAIL = b"\n]}"


class DamagedIndexError(ValueError):
    """An `index.json` is not what it should be."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of `index.json`: its text, and what the text says."""

    text: bytes
    ref_name: str
    digest: object
    manifest: Descriptor | None
    """None if it is no manifest of a kind that the registry knows."""


class LayoutIndex:
    """What `index.json` says. `head` is all that stands before the entries."""

    def __init__(self, head: bytes, entries: Sequence[Entry]) -> None:
        self.head = head
        self.entries = tuple(entries)

    @cached_property
    def tags(self) -> Mapping[Tag, Descriptor]:
        """The manifest that each tag names: the first, if another program wrote several."""
        tags: dict[Tag, Descriptor] = {}
        for entry in self.entries:
            tag = parse_tag(entry.ref_name)
            if tag is not None and entry.manifest is not None:
                tags.setdefault(tag, entry.manifest)
        return MappingProxyType(tags)

    @cached_property
    def manifests(self) -> Mapping[Digest, Descriptor]:
        """The manifests that are listed, tagged or (by another program) not."""
        manifests: dict[Digest, Descriptor] = {}
        for entry in self.entries:
            if entry.manifest is not None:
                manifests.setdefault(entry.manifest.digest, entry.manifest)
        return MappingProxyType(manifests)

    @cached_property
    def foreign(self) -> int:
        """The number of entries that are not manifests of a kind that the registry knows."""
        return sum(entry.manifest is None for entry in self.entries)

    def changed(self, is_dropped: Callable[[Entry], bool], added: Iterable[Entry]) -> "LayoutIndex":
        """Return the index without some entries, and with others at its end."""
        kept = [entry for entry in self.entries if not is_dropped(entry)]
        return LayoutIndex(self.head, [*kept, *added])

    def serialize(self) -> bytes:
        """Return the text of `index.json`."""
        return self.head + _BETWEEN.join(entry.text for entry in self.entries) + _TAIL


EMPTY_INDEX = LayoutIndex(
    b'{"schemaVersion":2,"mediaType":"' + IMAGE_INDEX.encode() + b'",' + _HEAD_END, ()
)


def tag_entry(tag: Tag, manifest: Descriptor) -> Entry:
    """Return the entry that lets `tag` name a manifest."""
    return _entry(
        {
            "mediaType": manifest.media_type,
            "digest": str(manifest.digest),
            "size": manifest.size,
            "annotations": {REF_NAME: tag},
        }
    )


def parse_index(content: bytes, before: LayoutIndex = EMPTY_INDEX) -> LayoutIndex:
    """Read an `index.json`, of which `before` is what it said before.

    Raises `DamagedIndexError` if it is none.
    """
    if content.endswith(_TAIL):
        with suppress(RegistryError):
            return _parse_lines(content, {entry.text: entry for entry in before.entries})
    return _parse_document(content)


def _parse_lines(content: bytes, known: Mapping[bytes, Entry]) -> LayoutIndex:
    """Read what `serialize` has written; raises `RegistryError` if it is something else."""
    before, mark, rest = content.partition(_HEAD_END)
    head, lines = before + mark, rest.removesuffix(_TAIL)
    parse_object(head + _TAIL)
    texts = lines.split(_BETWEEN) if lines else ()
    entries = [known.get(text) or _entry(parse_object(text), text) for text in texts]
    return LayoutIndex(head, entries)


def _parse_document(content: bytes) -> LayoutIndex:
    try:
        document = parse_object(content)
    except RegistryError as error:
        raise DamagedIndexError(f"index.json is {error.message}") from error
    listed = document.pop("manifests", None)
    entries = [e for e in listed if isinstance(e, dict)] if isinstance(listed, list) else []
    head = _text({**document, "manifests": []}).removesuffix(b"]}") + b"\n"
    return LayoutIndex(head, [_entry(entry) for entry in entries])


def _entry(entry: dict[str, object], text: bytes | None = None) -> Entry:
    manifest = parse_descriptor(entry)
    if manifest is not None and not manifest.is_manifest:
        manifest = None
    return Entry(text or _text(entry), _ref_name(entry), entry.get("digest"), manifest)


def _text(value: dict[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _ref_name(entry: dict[str, object]) -> str:
    annotations = entry.get("annotations")
    name = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else ""
