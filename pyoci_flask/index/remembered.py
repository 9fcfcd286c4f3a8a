"""What the listing cache remembers of a repository, as JSON and as one worker has parsed it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyoci_flask.index.names import version_of
from pyoci_flask.index.project import Project, files_of
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.store import Record
from pyoci_flask.index.version_index import Skipped, VersionFiles, listed_files
from pyoci_flask.oci.model import ImageIndex
from pyoci_flask.oci.reference import Digest

_OVERHEAD = 500
"""Bytes that a tag counts beside its index."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag as it was read: its version, or None where it holds something else or is gone."""

    read: float
    """When, in seconds of the clock that all processes share."""
    version: VersionFiles | Skipped | None
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
        return _OVERHEAD + (len(self.stored[-1]) if self.stored and self.version else 0)

    @property
    def weight(self) -> int:
        """Bytes that it counts in a listing."""
        return self.version.weight if isinstance(self.version, VersionFiles) else 0


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


def make_entry(read: float, found: VersionFiles | Skipped) -> Entry:
    """Make what is remembered of a tag; a version that is too large for the record is not in it."""
    if isinstance(found, VersionFiles):
        document = found.document
        stored = None if document is None else [read, found.digest.text, document]
        return Entry(read, found, stored)
    if not found.is_version:
        return Entry(read, None, [read])
    return Entry(read, found, [read, found.reason] if found.answered else None)


def parse_entry(tag: str, value: list[Any], repository: ProjectRepository) -> Entry:
    """Read a tag's member of the document, which this program wrote."""
    if len(value) == 1:
        return Entry(value[0], None, value)
    if len(value) == 2:
        return Entry(value[0], Skipped(value[1], is_version=True), value)
    index, version = ImageIndex.parse(value[2].encode()), version_of(tag)
    files, _ = files_of(index, version, repository.project, repository.segment)
    found = listed_files(version, Digest(value[1]), value[2], files)
    return Entry(value[0], found, value)
