"""The listing cache: versions that were read before, for callers who may read them.

The tag list is not cached, so a new version appears immediately. A version is shown for
`PYOCI_CACHE_TTL` after it was read. If it had not changed for a long time, it is shown for longer,
and after the response, the registry is asked whether it has changed (`recheck.py`). Cached versions
are shown only to callers whose credentials were used to read the repository within the time to
live. Operations that change something never use the cache.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial

from packaging.utils import NormalizedName

from pyoci_flask.common.memory import KeyedLocks
from pyoci_flask.common.threads import in_background
from pyoci_flask.errors import OversizedError, PyOCIError
from pyoci_flask.index.entries import Entries, Entry
from pyoci_flask.index.fetch import Allowance, FetchPool, Read
from pyoci_flask.index.known import Known, KnownVersions, existing, is_fresh, may_be_shown
from pyoci_flask.index.lifetimes import Lifetimes
from pyoci_flask.index.listing import list_files
from pyoci_flask.index.names import tag_of, tags_of
from pyoci_flask.index.newest import Found, KnownRows
from pyoci_flask.index.project import Project
from pyoci_flask.index.project_repository import Candidates, ProjectRepository, RecentCallers
from pyoci_flask.index.reader import Enough, Later, VersionReader, any_part
from pyoci_flask.index.recheck import Recheck
from pyoci_flask.index.releases import Release
from pyoci_flask.index.store import Store
from pyoci_flask.index.versions import Skipped, VersionFiles, load_files, log_skipped
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.manifest_digests import head_manifest
from pyoci_flask.oci.reference import Repository, Tag
from pyoci_flask.transport.request import Credentials

_PATIENCE = 3.0
"""Seconds to wait for another request that reads the same project."""


class CachedReader(VersionReader):
    """Reads versions from the registry, and remembers them in the store."""

    def __init__(
        self,
        pool: FetchPool,
        store: Store,
        ttl: float,
        clock: Callable[[], float] | None = None,
        *,
        stale: float = 0.0,
    ) -> None:
        """Cache each version for `ttl` seconds, counted from the request to the registry.

        `stale` is the maximum number of seconds for which a version that had not changed for a long
        time is shown. `clock` replaces the system's clocks.
        """
        super().__init__(pool)
        self._clock = clock or time.time
        self._entries = Entries(
            store, Lifetimes(ttl, stale), self._clock, in_process=pool.is_in_process
        )
        self._known = KnownVersions(self._entries)
        self._proofs = RecentCallers(ttl, clock or time.monotonic)
        self._rows = KnownRows(self._known, ttl, self._clock)
        self._reading = KeyedLocks[str]()

    def close(self) -> None:
        """Stop the threads and close the store."""
        super().close()
        self._entries.close()

    def find_project(
        self, candidates: Candidates, *, empty_is_found: bool = True
    ) -> tuple[ProjectRepository, list[str]]:
        """Find the project's repository and its tags (see `listing.find_project`).

        If it is not known whether the caller may see the cached versions, ask for one of them at
        the same time.
        """
        first = candidates[0]
        tag = None if first.caller in self._proofs else self._entries.sample(first)
        if tag is None:
            return super().find_project(candidates, empty_is_found=empty_is_found)
        prove = partial(self._prove, first.caller, Tag(tag))
        registry = first.caller.repository.registry
        with in_background(prove, parallel=self.pool.is_parallel(registry)):
            return super().find_project(candidates, empty_is_found=empty_is_found)

    def was_read(self, repository: ProjectRepository) -> bool:
        """Return whether this caller has read a version that is still cached."""
        return repository.caller in self._proofs and self._entries.sample(repository) is not None

    def _prove(self, caller: RepositoryCaller, tag: Tag) -> None:
        # If this fails, a version is read later, which shows why. So it need not be repeated.
        with suppress(PyOCIError):
            if head_manifest(replace(caller, may_wait=False), tag) is not None:
                self._proofs.add(caller)

    def _project(
        self,
        repository: ProjectRepository,
        tags: Sequence[str],
        limit: int,
        allowance: Allowance,
        later: Later,
    ) -> Project:
        known, now = self._known.get(repository), self._clock()
        shown = known.shown
        if (
            shown is not None
            and shown.lists(tags, limit)
            and may_be_shown(shown, now)
            and repository.caller in self._proofs
        ):
            allowance.spend(shown.project.weight)
            if not is_fresh(shown, now):
                later(partial(self._recheck, repository, shown.entries))
            return shown.project
        entries: dict[str, Entry | None] = {}

        def read(wanted: Sequence[str]) -> Mapping[str, Read]:
            nonlocal known
            known, found = self._read(repository, known, tags, wanted, allowance)
            for tag in wanted:
                entry = known.entries.get(tag)
                # If `found` differs from the entry, this caller may not see it, or it is too large.
                entries[tag] = entry if entry and entry.found is found[tag] else None
            return found

        project = list_files(repository, tags, read, limit)
        kept = {tag: entry for tag, entry in entries.items() if entry is not None}
        if kept and len(kept) == len(entries):
            project = known.show(tags, limit, kept, project)
        now = self._clock()
        if not all(is_fresh(entry, now) for entry in kept.values()):
            later(partial(self._recheck, repository, kept))
        return project

    def _recheck(self, repository: ProjectRepository, entries: Mapping[str, Entry]) -> None:
        """Begin to ask the registry whether the entries that are not fresh have changed."""
        now = self._clock()
        old = {tag: entry for tag, entry in entries.items() if not is_fresh(entry, now)}
        deny = partial(self._proofs.remove, repository.caller)

        def learn(read: Mapping[str, Read]) -> Mapping[str, Read]:
            self._note(repository, read)
            return self._sure(repository, read)

        recheck = Recheck(repository, self._entries, self._known, self.pool, learn, deny, now)
        recheck.begin(old)

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
            known = self._known.get(repository)
            if known.fresh(tag, self._clock()) is None:
                stored, _ = self._entries.look_up(repository, [tag], known.parsed)
                if stored:
                    known = self._known.keep(repository, known.renewed(stored))
            found = known.fresh(tag, self._clock())
            if found is not None:
                yield repository, found
            for other in tags_of(known.entries, version):
                found = known.fresh(other, self._clock())
                if found is not None and other != tag:
                    yield repository, found

    def newest(self, candidates: Candidates) -> Release | None:
        """Return the version that pages show first (see `VersionReader.newest`)."""
        before = self._known.get(candidates[0])
        repository, tags = self.find_project(candidates)
        return self._rows.read(repository, tags, before, self.recall, self.read_tag)

    def known_below(
        self, namespace: Repository, credentials: Credentials | None
    ) -> dict[NormalizedName, Release]:
        """Return the known projects of a namespace (see `VersionReader.known_below`)."""
        return self._rows.below(namespace, self._proofs.below(namespace, credentials))

    def read_tag(
        self, repository: ProjectRepository, version: str, tag: Tag
    ) -> VersionFiles | None:
        """Read a version from a tag in the registry, and cache it."""
        known = self._known.get(repository)
        stored, numbers = self._entries.look_up(repository, [tag.text], known.parsed)
        old, sent = stored.get(tag.text), self._clock()
        found = load_files(repository, version, tag, known=old.version if old else None)
        self._note(repository, {tag.text: found})
        if found is not None:
            self._known.write(repository, known, {tag.text: found}, numbers, sent, before=stored)
        elif old is not None and old.found is not None and repository.caller in self._proofs:
            # Registries report every tag as missing to callers without permission to read.
            self._entries.count_change([repository], tag.text)
        if isinstance(found, Skipped):
            if not found.is_version:
                return None
            raise OversizedError(
                f"version {version} in {repository.caller.repository} cannot be read: "
                f"{found.reason}",
                advice="Publish a new version, and delete this one in the registry",
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
        known: Known,
        tags: Sequence[str],
        wanted: Sequence[str],
        allowance: Allowance,
    ) -> tuple[Known, Mapping[str, Read]]:
        """Read the versions that must not be shown from the cache.

        One request at a time reads several of a project. Return what is known afterwards, and the
        result for each wanted tag.
        """
        location = repository.caller.repository.location
        several = len(known.missing(wanted, self._clock())) > 1
        with self._reading.hold(location, _PATIENCE) if several else nullcontext(False) as waited:
            if waited:
                known = self._known.get(repository)  # the other request may have read them
            missing = known.missing(wanted, self._clock())
            stored, numbers = self._entries.look_up(repository, missing, known.parsed)
            if stored:
                known = self._known.keep(repository, known.renewed(stored))
            missing = known.missing(wanted, self._clock())
            numbers = {tag: one.changes for tag, one in known.entries.items()} | numbers
            fresh = set(wanted).difference(missing)
            allowance.spend(sum(known.entries[tag].weight for tag in fresh))
            if not missing and repository.caller not in self._proofs:
                missing = wanted[:1]
            sent = self._clock()
            answered: dict[str, Read] = {}
            try:
                read = self._ask(repository, missing, allowance, answered, known)
                if repository.caller not in self._proofs:
                    # None of the tags exists, so it is not proven that the caller may read.
                    rest = [tag for tag in wanted if tag not in read]
                    read |= self._ask(repository, rest, allowance, answered, known)
            except PyOCIError:
                # Keep what was read, so that the next request can continue from there.
                some = existing(dict(answered))  # calls under way may still add to it
                self._note(repository, some)
                self._known.write(repository, known, some, numbers, sent, tags)
                raise
            found = {tag: one.found for tag, one in known.entries.items()} | read
            sure = self._sure(repository, read)
            return (
                self._known.write(repository, known, sure, numbers, sent, tags),
                {tag: found[tag] for tag in wanted},
            )

    def _ask(
        self,
        repository: ProjectRepository,
        tags: Sequence[str],
        allowance: Allowance,
        answered: dict[str, Read],
        known: Known,
    ) -> dict[str, Read]:
        old = {tag: entry.version for tag, entry in known.parsed.items() if entry.version}
        read = allowance.read(repository, tags, answered, old)
        self._note(repository, read)
        return read

    def _note(self, repository: ProjectRepository, read: Mapping[str, Read]) -> None:
        """Note that the caller may read, if a response proves it; log what cannot be listed."""
        if any(one.answered if isinstance(one, Skipped) else one for one in read.values()):
            self._proofs.add(repository.caller)
        log_skipped(repository, read)

    def _sure(self, repository: ProjectRepository, read: Mapping[str, Read]) -> Mapping[str, Read]:
        """Return what is true for all callers.

        Registries report every tag as missing to callers without permission to read.
        """
        return read if repository.caller in self._proofs else existing(read)
