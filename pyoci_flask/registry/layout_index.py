"""The `index.json` of an image layout, which maps tags to manifests.

Image specification, section Image Layout. The file has one entry per line. If it has changed, only
new lines have to be parsed.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from pyoci_flask.common.grammar import IMAGE_INDEX
from pyoci_flask.registry.documents import (
    Descriptor,
    parse_descriptor,
    parse_object,
)
from pyoci_flask.registry.errors import DistributionError
from pyoci_flask.registry.names import Digest, Tag, parse_tag

REF_NAME = "org.opencontainers.image.ref.name"

_HEAD_END = b'"manifests":[\n'
_BETWEEN = b",\n"
_TAIL = b"\n]}"


class DamagedIndexError(ValueError):
    """An `index.json` is not valid."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of `index.json`: its text, and members parsed from the text."""

    text: bytes
    ref_name: str
    digest: object
    manifest: Descriptor | None
    """None if the entry is not a manifest of a known media type."""


class LayoutIndex:
    """A parsed `index.json`. `head` is its text before the entries."""

    def __init__(self, head: bytes, entries: Sequence[Entry]) -> None:
        self.head = head
        self.entries = tuple(entries)

    @cached_property
    def tags(self) -> Mapping[Tag, Descriptor]:
        """Maps each tag to its manifest: the first one, if another program wrote several."""
        tags: dict[Tag, Descriptor] = {}
        for entry in self.entries:
            tag = parse_tag(entry.ref_name)
            if tag is not None and entry.manifest is not None:
                tags.setdefault(tag, entry.manifest)
        return MappingProxyType(tags)

    @cached_property
    def manifests(self) -> Mapping[Digest, Descriptor]:
        """The manifests in the index. Manifests that another program wrote may have no tag."""
        manifests: dict[Digest, Descriptor] = {}
        for entry in self.entries:
            if entry.manifest is not None:
                manifests.setdefault(entry.manifest.digest, entry.manifest)
        return MappingProxyType(manifests)

    @cached_property
    def foreign(self) -> int:
        """The number of entries that are not manifests of a known media type."""
        return sum(entry.manifest is None for entry in self.entries)

    def changed(self, is_dropped: Callable[[Entry], bool], added: Iterable[Entry]) -> "LayoutIndex":
        """Return the index without the dropped entries and with the added entries at its end."""
        kept = [entry for entry in self.entries if not is_dropped(entry)]
        return LayoutIndex(self.head, [*kept, *added])

    def serialize(self) -> bytes:
        """Return the text of `index.json`."""
        return self.head + _BETWEEN.join(entry.text for entry in self.entries) + _TAIL


EMPTY_INDEX = LayoutIndex(
    b'{"schemaVersion":2,"mediaType":"' + IMAGE_INDEX.encode() + b'",' + _HEAD_END, ()
)


def tag_entry(tag: Tag, manifest: Descriptor) -> Entry:
    """Return the entry that points `tag` to a manifest."""
    return _entry(
        {
            "mediaType": manifest.media_type,
            "digest": str(manifest.digest),
            "size": manifest.size,
            "annotations": {REF_NAME: tag},
        }
    )


def parse_index(content: bytes, before: LayoutIndex = EMPTY_INDEX) -> LayoutIndex:
    """Parse an `index.json`. Entries of `before`, the previous content, are not parsed again.

    Raises `DamagedIndexError` if the content is not valid.
    """
    if content.endswith(_TAIL):
        with suppress(DistributionError):
            return _parse_lines(content, {entry.text: entry for entry in before.entries})
    return _parse_document(content)


def _parse_lines(content: bytes, known: Mapping[bytes, Entry]) -> LayoutIndex:
    """Parse the output of `serialize`; raise `DistributionError` for other content."""
    before, mark, rest = content.partition(_HEAD_END)
    head, lines = before + mark, rest.removesuffix(_TAIL)
    parse_object(head + _TAIL)
    texts = lines.split(_BETWEEN) if lines else ()
    entries = [known.get(text) or _entry(parse_object(text), text) for text in texts]
    return LayoutIndex(head, entries)


def _parse_document(content: bytes) -> LayoutIndex:
    try:
        document = parse_object(content)
    except DistributionError as error:
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
