"""The listing cache: versions read within `PYOCI_CACHE_TTL`, for callers who may read them.

The tag list is not cached, so a new version appears immediately. Cached versions are shown only to
callers whose credentials were used to read the repository within the same time. Operations that
change something never use the cache.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

from pyoci_flask.common.memory import KeyedLocks, Memory
from pyoci_flask.errors import OversizedError, PyOCIError
from pyoci_flask.index.entries import Entries, Entry
from pyoci_flask.index.fetch import Allowance, FetchPool, Read
from pyoci_flask.index.listing import list_files
from pyoci_flask.index.names import tag_of, tags_of
from pyoci_flask.index.project import Project
from pyoci_flask.index.project_repository import Candidates, ProjectRepository, RecentCallers
from pyoci_flask.index.reader import Enough, Found, VersionReader, any_part
from pyoci_flask.index.store import Store
from pyoci_flask.index.versions import Skipped, VersionFiles, load_files, log_skipped
from pyoci_flask.oci.reference import Tag

_MOST_PARSED = 10 * 1024 * 1024
"""Maximum bytes of image indexes that a worker keeps parsed. Each takes about five in memory."""
_PATIENCE = 3.0
"""Seconds to wait for another request that reads the same project."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """A project as it was listed, from entries that are fresh between `since` and `until`."""

    tags: tuple[str, ...]
    limit: int
    since: float
    until: float
    project: Project


@dataclass(slots=True)
class _Known:
    """What a worker has parsed of a repository. It is valid for one number of changes."""

    changes: int | None
    """The repository's number of changes, or None if the store does not work."""
    entries: Mapping[str, Entry]
    shown: _Shown | None = None
    before: Mapping[str, Entry] = field(default_factory=dict)
    """Entries that were parsed at an earlier number of changes. Most of them are still the same."""

    @property
    def size(self) -> int:
        return sum(entry.size for entry in {**self.before, **self.entries}.values())


class CachedReader(VersionReader):
    """Reads versions from the registry, and remembers them in the store."""

    def __init__(
        self,
        pool: FetchPool,
        store: Store,
        ttl: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Cache each version for `ttl` seconds, counted from the request to the registry."""
        super().__init__(pool)
        self._entries = Entries(store, ttl, clock)
        self._clock = clock
        self._proofs = RecentCallers(ttl, clock)
        self._reading = KeyedLocks[str]()
        self._parsed: Memory[str, _Known] = Memory(
            entries=1000, max_bytes=_MOST_PARSED, size=lambda known: known.size
        )

    def close(self) -> None:
        """Stop the threads and close the store."""
        super().close()
        self._entries.close()

    def _project(
        self,
        repository: ProjectRepository,
        tags: Sequence[str],
        limit: int,
        allowance: Allowance,
    ) -> Project:
        known = self._known(repository)
        shown = known.shown
        if (
            shown is not None
            and (shown.tags, shown.limit) == (tuple(tags), limit)
            and self._is_fresh(shown)
            and repository.caller in self._proofs
        ):
            allowance.spend(shown.project.weight)
            return shown.project
        entries: list[Entry | None] = []

        def read(wanted: Sequence[str]) -> Mapping[str, Read]:
            nonlocal known
            known, found = self._read(repository, known, tags, wanted, allowance)
            for tag in wanted:
                entry = known.entries.get(tag)
                # If `found` differs from the entry, this caller may not see it, or it is too large.
                entries.append(entry if entry and entry.found is found[tag] else None)
            return found

        project = list_files(repository, tags, read, limit)
        kept = [entry for entry in entries if entry is not None]
        if kept and len(kept) == len(entries):
            since, until = max(one.since for one in kept), min(one.until for one in kept)
            known.shown = _Shown(tuple(tags), limit, since, until, project)
        return project

    def recall(
        self, candidates: Candidates, version: str, enough: Enough = any_part
    ) -> Found | None:
        """Return the first cached part of a version that is `enough`, or None."""
        return next(filter(enough, self._recalled(candidates, version)), None)

    def _recalled(self, candidates: Candidates, version: str) -> Iterator[Found]:
        tag = tag_of(version).text
        for repository in candidates:
            if repository.caller not in self._proofs:
                continue
            known = self._known(repository)
            if self._missing(known.entries, [tag]):
                stored, _ = self._entries.look_up(repository, [tag], known.before)
                if stored:
                    known = replace(known, entries={**known.entries, **stored})
                    self._keep(repository, known)
            found = self._fresh_version(known, tag)
            if found is not None:
                yield repository, found
            for other in tags_of(known.entries, version):
                found = self._fresh_version(known, other)
                if found is not None and other != tag:
                    yield repository, found

    def _fresh_version(self, known: _Known, tag: str) -> VersionFiles | None:
        entry = known.entries.get(tag)
        if entry is None or not self._is_fresh(entry):
            return None
        return entry.found if isinstance(entry.found, VersionFiles) else None

    def read_tag(
        self, repository: ProjectRepository, version: str, tag: Tag
    ) -> VersionFiles | None:
        """Read a version from a tag in the registry, and cache it."""
        known = self._known(repository)
        stored, numbers = self._entries.look_up(
            repository, [tag.text], {**known.before, **known.entries}
        )
        sent = self._clock()
        found = load_files(repository, version, tag)
        self._note(repository, {tag.text: found})
        old = stored.get(tag.text)
        if found is not None:
            self._remember(repository, known, {tag.text: found}, numbers, sent)
        elif old is not None and old.found is not None and repository.caller in self._proofs:
            # Registries report every tag as missing to callers without permission to read.
            self._entries.count_change([repository], tag.text)
        if isinstance(found, Skipped):
            if not found.is_version:
                return None
            raise OversizedError(
                f"version {version} in {repository.caller.repository} cannot be read: "
                f"{found.reason}"
            )
        return found

    @contextmanager
    def changing(self, candidates: Candidates, version: str) -> Iterator[None]:
        """Drop the version from the cache when the block ends, as it may have been changed."""
        tag = tag_of(version).text
        try:
            yield
        finally:
            self._entries.count_change(candidates, tag)

    def _read(
        self,
        repository: ProjectRepository,
        known: _Known,
        tags: Sequence[str],
        wanted: Sequence[str],
        allowance: Allowance,
    ) -> tuple[_Known, Mapping[str, Read]]:
        """Read the versions that are not cached. One request at a time reads several of a project.

        Return what is known afterwards, and the result for each wanted tag.
        """
        location = repository.caller.repository.location
        several = len(self._missing(known.entries, wanted)) > 1
        with self._reading.hold(location, _PATIENCE) if several else nullcontext(False) as waited:
            if waited:
                known = self._known(repository)  # the other request may have read them
            missing = self._missing(known.entries, wanted)
            stored, numbers = self._entries.look_up(repository, missing, known.before)
            if stored:
                known = self._keep(repository, _Known(known.changes, {**known.entries, **stored}))
            missing = self._missing(known.entries, wanted)
            numbers = {tag: one.changes for tag, one in known.entries.items()} | numbers
            fresh = set(wanted).difference(missing)
            allowance.spend(sum(known.entries[tag].weight for tag in fresh))
            if not missing and repository.caller not in self._proofs:
                missing = wanted[:1]
            sent = self._clock()
            answered: dict[str, Read] = {}
            try:
                read = self._ask(repository, missing, allowance, answered)
                if repository.caller not in self._proofs:
                    # None of the tags exists, so it is not proven that the caller may read.
                    rest = [tag for tag in wanted if tag not in read]
                    read |= self._ask(repository, rest, allowance, answered)
            except PyOCIError:
                # Keep what was read, so that the next request can continue from there.
                some = _existing(dict(answered))  # calls under way may still add to it
                self._note(repository, some)
                self._remember(repository, known, some, numbers, sent, tags)
                raise
            # Registries report every tag as missing to callers without permission to read.
            sure = read if repository.caller in self._proofs else _existing(read)
            found = {tag: one.found for tag, one in known.entries.items()} | read
            return (
                self._remember(repository, known, sure, numbers, sent, tags),
                {tag: found[tag] for tag in wanted},
            )

    def _missing(self, entries: Mapping[str, Entry], wanted: Sequence[str]) -> Sequence[str]:
        return [
            tag
            for tag in wanted
            if (entry := entries.get(tag)) is None or not self._is_fresh(entry)
        ]

    def _is_fresh(self, one: Entry | _Shown) -> bool:
        return one.since <= self._clock() < one.until

    def _ask(
        self,
        repository: ProjectRepository,
        tags: Sequence[str],
        allowance: Allowance,
        answered: dict[str, Read],
    ) -> dict[str, Read]:
        read = allowance.read(repository, tags, answered)
        self._note(repository, read)
        return read

    def _note(self, repository: ProjectRepository, read: Mapping[str, Read]) -> None:
        """Note that the caller may read, if a response proves it; log what cannot be listed."""
        if any(one.answered if isinstance(one, Skipped) else one for one in read.values()):
            self._proofs.add(repository.caller)
        log_skipped(repository, read)

    def _known(self, repository: ProjectRepository) -> _Known:
        """Return what this worker has parsed. After a change, the old entries are in `before`."""
        changes = self._entries.changes(repository)
        known = self._parsed.get(repository.caller.repository.location)
        if known is None or changes is None:
            return _Known(changes, {})
        if known.changes == changes:
            return known
        return _Known(changes, {}, before={**known.before, **known.entries})

    def _remember(
        self,
        repository: ProjectRepository,
        known: _Known,
        read: Mapping[str, Read],
        numbers: Mapping[str, int],
        sent: float,
        tags: Sequence[str] | None = None,
    ) -> _Known:
        """Cache what was requested at `sent`. Keep the known entries of `tags` (None means all)."""
        entries, changes = self._entries.write(repository, read, numbers, sent)
        if not entries:
            return known
        wanted = known.entries if tags is None else set(tags).intersection(known.entries)
        kept = {tag: known.entries[tag] for tag in wanted if tag not in read}
        is_all = known.changes is not None and changes == known.changes + 1
        # If another request wrote something at the same time, the next request reads the store.
        known = _Known(changes, kept | entries, before=known.before if tags is None else {})
        return self._keep(repository, known) if is_all else known

    def _keep(self, repository: ProjectRepository, known: _Known) -> _Known:
        if known.changes is not None:
            self._parsed.put(repository.caller.repository.location, known)
        return known


def _existing(read: Mapping[str, Read]) -> dict[str, Read]:
    return {tag: found for tag, found in read.items() if found is not None}
