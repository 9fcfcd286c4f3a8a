"""What the listing cache remembers of a repository, as JSON and as one worker has parsed it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyoci_flask.index.names import version_of
from pyoci_flask.index.project import Project, files_of
from pyoci_flask.index.repository import ProjectRepository, VersionIndex
from pyoci_flask.index.store import Record
from pyoci_flask.oci.model import ImageIndex
from pyoci_flask.oci.reference import Digest, Tag

_OVERHEAD = 500
"""Bytes that a tag counts beside its index."""
_INDEX_LIMIT = 256 * 1024
"""Bytes of one version's index; larger ones are not remembered."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag as it was read: its version, or None where it holds something else or is gone."""

    read: float
    """When, in seconds of the clock that all processes share."""
    version: VersionIndex | None
    stored: Sequence[Any] | None
    """As it stands in the record; None = it does not."""

    @property
    def gone(self) -> bool:
        """Whether the tag was listed, and names nothing."""
        return self.version is None and self.stored is None

    @property
    def kept(self) -> bool:
        """Whether it may stay in memory."""
        return self.gone or self.stored is not None

    @property
    def size(self) -> int:
        """Bytes that it counts."""
        return _OVERHEAD + (len(self.stored[2]) if self.stored and self.version else 0)


@dataclass(slots=True)
class Parsed:
    """A record as this worker has parsed it, and the project that was made of it last."""

    record: Record
    entries: Mapping[str, Entry]
    shown: tuple[tuple[str, ...], int, float, Project] | None = None
    """Of which tags, with which limit, and when the oldest part of it was read."""
    size: int = field(init=False)
    """Bytes of the record, about."""

    def __post_init__(self) -> None:
        self.size = _OVERHEAD + sum(one.size for one in self.entries.values())


def document_of(entries: Mapping[str, Entry]) -> dict[str, Any]:
    """The record's document."""
    return {tag: one.stored for tag, one in entries.items() if one.stored is not None}


def stored(read: float, version: VersionIndex | None) -> Sequence[Any] | None:
    """A tag's member of the document; None = it is too large for it."""
    if version is None:
        return [read]
    index = version.index.serialize().decode("ascii")
    return [read, version.digest.text, index] if len(index) <= _INDEX_LIMIT else None


def parse_entry(tag: str, value: list[Any], repository: ProjectRepository) -> Entry:
    """Read a tag's member of the document, which this program wrote."""
    if len(value) == 1:
        return Entry(value[0], None, value)
    index, version = ImageIndex.parse(value[2].encode()), version_of(tag)
    files, _ = files_of(index, version, repository.project, repository.segment)
    found = VersionIndex(version, Tag(tag), Digest(value[1]), index, files)
    return Entry(value[0], found, value)
