"""What a worker has parsed of the versions in the listing cache."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pyoci_flask.common.memory import Memory
from pyoci_flask.index.entries import Entries, Entry
from pyoci_flask.index.fetch import Read
from pyoci_flask.index.project import Project
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.versions import VersionFiles

_MOST_PARSED = 10 * 1024 * 1024
"""Maximum bytes of image indexes that a worker keeps parsed. Each takes about five in memory."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A project as it was listed, the entries that it was made of, and when all of them hold."""

    tags: tuple[str, ...]
    limit: int
    entries: Mapping[str, Entry]
    project: Project
    since: float
    until: float
    shown_until: float

    def lists(self, tags: Sequence[str], limit: int) -> bool:
        """Return whether this is the listing of these tags."""
        return (self.tags, self.limit) == (tuple(tags), limit)


@dataclass(frozen=True, slots=True)
class Newest:
    """The tags that decide which version of a project pages prefer, and when they were listed."""

    tags: tuple[str, ...]
    since: float
    until: float


def is_fresh(one: Entry | Shown | Newest, now: float) -> bool:
    """Return whether the registry need not be asked again."""
    return one.since <= now < one.until


def may_be_shown(one: Entry | Shown, now: float) -> bool:
    """Return whether a page may show this."""
    return one.since <= now < one.shown_until


@dataclass(slots=True)
class Known:
    """What a worker has parsed of a repository. It is valid for one number of changes."""

    changes: int | None
    """The repository's number of changes, or None if the store does not work."""
    entries: Mapping[str, Entry]
    shown: Shown | None = None
    newest: Newest | None = None
    before: Mapping[str, Entry] = field(default_factory=dict)
    """Entries that were parsed at an earlier number of changes. Most of them are still the same."""

    @property
    def parsed(self) -> Mapping[str, Entry]:
        """All entries, whether or not they are valid."""
        return {**self.before, **self.entries}

    @property
    def size(self) -> int:
        """The bytes that this counts as in the worker's memory."""
        return sum(entry.size for entry in self.parsed.values())

    def fresh(self, tag: str, now: float) -> VersionFiles | None:
        """Return the version of a tag if the registry need not be asked for it again."""
        entry = self.entries.get(tag)
        return entry.version if entry is not None and is_fresh(entry, now) else None

    def missing(self, wanted: Sequence[str], now: float) -> Sequence[str]:
        """Return the tags without an entry that may be shown."""
        return [
            tag
            for tag in wanted
            if (entry := self.entries.get(tag)) is None or not may_be_shown(entry, now)
        ]

    def show(
        self, tags: Sequence[str], limit: int, entries: Mapping[str, Entry], project: Project
    ) -> Project:
        """Keep a listing and return it, or the one from before if the versions are the same.

        Rendered pages are kept for each object.
        """
        old = self.shown
        if old is not None and old.lists(tags, limit) and _are_same(old.entries, entries):
            project = old.project
        every = entries.values()
        self.shown = Shown(
            tuple(tags),
            limit,
            entries,
            project,
            max(entry.since for entry in every),
            min(entry.until for entry in every),
            min(entry.shown_until for entry in every),
        )
        return project

    def renewed(self, entries: Mapping[str, Entry]) -> "Known":
        """Return this with newer entries, and the listing if its versions are the same."""
        known = replace(self, entries={**self.entries, **entries}, shown=None)
        old = self.shown
        if old is not None:
            newest = {tag: entries.get(tag, entry) for tag, entry in old.entries.items()}
            if _are_same(old.entries, newest):
                known.show(old.tags, old.limit, newest, old.project)
        return known


def _are_same(old: Mapping[str, Entry], new: Mapping[str, Entry]) -> bool:
    return old.keys() == new.keys() and all(old[tag].found is new[tag].found for tag in old)


def existing(read: Mapping[str, Read]) -> dict[str, Read]:
    """Return what was read, without the tags that do not exist."""
    return {tag: found for tag, found in read.items() if found is not None}


class KnownVersions:
    """What a worker has parsed, by repository."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._known: Memory[str, Known] = Memory(
            entries=1000, max_bytes=_MOST_PARSED, size=lambda known: known.size
        )

    def get(self, repository: ProjectRepository) -> Known:
        """Return what this worker has parsed. After a change, the old entries are in `before`."""
        changes = self._entries.changes(repository)
        known = self._known.get(repository.caller.repository.location)
        if known is None or changes is None:
            return Known(changes, {})
        if known.changes == changes:
            return known
        return Known(changes, {}, before=known.parsed)

    def current(self, locations: Collection[str]) -> dict[str, Known]:
        """Return what this worker has parsed of these repositories and is still true."""
        changes = self._entries.all_changes(locations)
        return {
            location: known
            for location in locations
            if (known := self._known.get(location)) is not None
            and known.changes == changes.get(location)
        }

    def keep(self, repository: ProjectRepository, known: Known) -> Known:
        """Remember what was parsed, and return it."""
        if known.changes is not None:
            self._known.put(repository.caller.repository.location, known)
        return known

    def write(
        self,
        repository: ProjectRepository,
        known: Known,
        read: Mapping[str, Read],
        numbers: Mapping[str, int],
        sent: float,
        tags: Sequence[str] | None = None,
        before: Mapping[str, Entry] | None = None,
    ) -> Known:
        """Cache what was requested at `sent`. Keep the known entries of `tags` (None means all).

        `before` contains valid entries of the store, by default those that are known. If what was
        read is the same, other workers need not read the store again.
        """
        before = known.entries if before is None else before
        same = all(tag in before and _is_same(found, before[tag]) for tag, found in read.items())
        entries, changes = self._entries.write(
            repository, read, numbers, sent, known.entries, count=not same
        )
        if not entries:
            return known
        if same:
            return self.keep(repository, known.renewed(entries))
        wanted = known.entries if tags is None else set(tags).intersection(known.entries)
        kept = {tag: known.entries[tag] for tag in wanted if tag not in read}
        is_all = known.changes is not None and changes == known.changes + 1
        # If another request wrote something at the same time, the next request reads the store.
        earlier = known.before if tags is None else {}
        known = Known(changes, kept | entries, newest=known.newest, before=earlier)
        return self.keep(repository, known) if is_all else known


def _is_same(found: Read, entry: Entry) -> bool:
    return found is entry.found if entry.version else found == entry.found
