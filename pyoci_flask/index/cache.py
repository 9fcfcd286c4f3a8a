"""The listing cache: versions that were read within `PYOCI_CACHE_TTL`, by those who may read them.

The tag list is not cached: it is asked for anew each time, so a new version shows at once. What is
cached is given only to credentials that have themselves pulled from the repository within the
same time (`Proofs`), and never to an operation that changes something.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from pyoci_flask.errors import OversizedError, PyOCIError
from pyoci_flask.index.allowance import Allowance, Read
from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.index.listing import list_files
from pyoci_flask.index.names import tag_of, tags_of
from pyoci_flask.index.project import Project
from pyoci_flask.index.project_repository import (
    Candidates,
    ProjectRepository,
    load_files,
    log_skipped,
)
from pyoci_flask.index.proofs import Proofs
from pyoci_flask.index.reader import Enough, Found, VersionReader, any_part
from pyoci_flask.index.remembered import Entry, Parsed, document_of, make_entry, parse_entry
from pyoci_flask.index.store import Record, RecordStore
from pyoci_flask.index.version_index import Skipped, VersionFiles
from pyoci_flask.oci.reference import Tag

_TURNS = 4096
_MOST_PARSED = 10 * 1024 * 1024
"""Bytes of records that a worker keeps parsed; each costs some five of memory."""
_GONE_FOR = 5.0
"""Seconds for which a tag that names nothing is not asked for again: some registries list what
was deleted."""
_TURN_PATIENCE = 3.0
"""Seconds to wait for another request that is reading the same project."""


class CachedReader(VersionReader):
    """Reads versions from the registry, or remembers them."""

    def __init__(
        self,
        pool: FetchPool,
        store: RecordStore,
        ttl: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Remember each version for `ttl` seconds of `clock`, which all processes share."""
        super().__init__(pool)
        self._store = store
        self._ttl = ttl
        self._clock = clock
        self._proofs = Proofs(ttl)
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        """Records are parsed one by one: while that lasts, each takes several times its size."""
        self._parsed: OrderedDict[str, Parsed] = OrderedDict()
        self._turns: dict[str, threading.Lock] = {}

    def close(self) -> None:
        """Stop the threads and close the database."""
        super().close()
        self._store.close()

    def _project(
        self,
        repository: ProjectRepository,
        tags: Sequence[str],
        limit: int,
        allowance: Allowance,
    ) -> Project:
        known = self._known(repository)
        if known is not None and known.shown is not None and self._proofs.holds(repository.caller):
            shown_tags, shown_limit, oldest, project = known.shown
            if shown_limit == limit and self._is_fresh(oldest) and shown_tags == tuple(tags):
                allowance.spend(project.weight)
                return project
        oldest = self._clock()
        whole = False

        def read(wanted: Sequence[str]) -> Mapping[str, VersionFiles | Skipped | None]:
            nonlocal known, oldest, whole
            known, entries = self._read(repository, tags, wanted, allowance)
            oldest = min((one.read for one in entries.values() if one), default=oldest)
            whole = all(one and one.kept for one in entries.values())
            return {tag: one.version if one else None for tag, one in entries.items()}

        project = list_files(repository, tags, read, limit)
        if known is not None and whole:
            known.shown = tuple(tags), limit, oldest, project
        return project

    def recall(
        self, candidates: Candidates, version: str, enough: Enough = any_part
    ) -> Found | None:
        """Return what is remembered of a version; the first part of it that is `enough`."""
        return next(filter(enough, self._recalled(candidates, version)), None)

    def _recalled(self, candidates: Candidates, version: str) -> Iterator[Found]:
        tag = str(tag_of(version))
        for repository in candidates:
            if not self._proofs.holds(repository.caller):
                continue
            known = self._known(repository)
            if known is None:
                continue
            if isinstance(found := self._fresh(known, tag), VersionFiles):
                yield repository, found
            for other in tags_of(known.entries, version):
                found = self._fresh(known, other) if other != tag else None
                if isinstance(found, VersionFiles):
                    yield repository, found

    def _fresh(self, known: Parsed, tag: str) -> VersionFiles | Skipped | None:
        entry = known.entries.get(tag)
        return entry.version if entry and self._is_fresh(entry.read) else None

    def read_tag(
        self, repository: ProjectRepository, version: str, tag: Tag
    ) -> VersionFiles | None:
        """Ask the registry for what a tag holds of a version, and remember it."""
        known = self._known(repository)
        read = load_files(repository, version, tag)
        entry = self._entries(repository, self._clock(), {tag.text: read})[tag.text]
        old = known.entries.get(tag.text) if known is not None else None
        # To those without proof, registries say of everything that it is not there.
        proven = self._proofs.holds(repository.caller)
        if entry is None and proven and old is not None and not old.gone:
            self._store.invalidate(repository.caller.repository.location, tag.text)
        if entry is None:
            return None
        self._remember(repository, known, {tag.text: entry}, None)
        if isinstance(entry.version, Skipped):
            raise OversizedError(
                f"{version} in {repository.caller.repository} cannot be read: "
                f"{entry.version.reason}"
            )
        return entry.version

    @contextmanager
    def changing(self, candidates: Candidates, version: str) -> Iterator[None]:
        """Forget the version when the context ends, however it ends: it may have been changed."""
        tag = str(tag_of(version))
        try:
            yield
        finally:
            for repository in candidates:
                location = repository.caller.repository.location
                # From here on, what was read before is not remembered.
                self._store.invalidate(location, tag)
                # Most of the candidates have no record, and none is made by looking. Not `_known`:
                # a record of thousands of versions would be parsed for its tags.
                has_record = self._store.revision(location) is not None
                record = self._store.begin(location) if has_record else None
                for other in tags_of(record.document if record else (), version):
                    self._store.invalidate(location, other)

    def _read(
        self,
        repository: ProjectRepository,
        tags: Sequence[str],
        wanted: Sequence[str],
        allowance: Allowance,
    ) -> tuple[Parsed | None, Mapping[str, Entry | None]]:
        """Read versions, one call for each that is not known; at most one request at a time."""
        known = self._known(repository)
        missing = self._missing(known, wanted)
        turn = self._turn(repository.caller.repository.location) if len(missing) > 1 else None
        taken = turn is not None and turn.acquire(timeout=_TURN_PATIENCE)
        try:
            if taken:
                # Another request may have read them meanwhile.
                known = self._known(repository)
                missing = self._missing(known, wanted)
            if not missing and wanted and not self._proofs.holds(repository.caller):
                missing = list(wanted[:1])
            known_ones = known.entries if known is not None else {}
            allowance.spend(sum(known_ones[tag].weight for tag in wanted if tag in known_ones))
            begun = self._clock()
            gone = Entry(begun - max(0.0, self._ttl - _GONE_FOR), None, None)
            try:
                read = self._ask_all(repository, missing, allowance)
                if not self._proofs.holds(repository.caller):
                    # Nothing that was asked for is there: that proves nothing.
                    others = [tag for tag in wanted if tag not in read]
                    read |= self._ask_all(repository, others, allowance)
            except PyOCIError:
                # The next try goes on from there.
                some = self._entries(repository, begun, allowance.answered(repository))
                self._remember(repository, known, _present(some), tags)
                raise
            if self._proofs.holds(repository.caller):
                # To others, registries say of everything that it is not there.
                read = {tag: one or gone for tag, one in read.items()}
            found = _present(read)
            parsed = self._remember(repository, known, found, tags) if found else known
        finally:
            if taken and turn is not None:
                turn.release()
        old = known.entries if known is not None else {}
        return parsed, {tag: read[tag] if tag in read else old.get(tag) for tag in wanted}

    def _missing(self, known: Parsed | None, wanted: Sequence[str]) -> list[str]:
        entries = known.entries if known is not None else {}
        return [
            tag
            for tag in wanted
            if (entry := entries.get(tag)) is None or not self._is_fresh(entry.read)
        ]

    def _is_fresh(self, read: float) -> bool:
        # A clock that was set back must not make entries live longer.
        return 0 <= self._clock() - read < self._ttl

    def _turn(self, key: str) -> threading.Lock:
        with self._lock:
            if len(self._turns) > _TURNS:
                self._turns = {key: turn for key, turn in self._turns.items() if turn.locked()}
            return self._turns.setdefault(key, threading.Lock())

    def _ask_all(
        self, repository: ProjectRepository, tags: Sequence[str], allowance: Allowance
    ) -> dict[str, Entry | None]:
        now = self._clock()
        return self._entries(repository, now, allowance.read(repository, tags))

    def _entries(
        self, repository: ProjectRepository, now: float, read: Mapping[str, Read]
    ) -> dict[str, Entry | None]:
        """What is remembered of tags that were asked for; None = it is gone."""
        if any(_is_answered(one) for one in read.values()):
            self._proofs.add(repository.caller)
        log_skipped(repository, {tag: one for tag, one in read.items() if isinstance(one, Skipped)})
        return {tag: None if one is None else make_entry(now, one) for tag, one in read.items()}

    def _known(self, repository: ProjectRepository) -> Parsed | None:
        """What the record holds, parsed at most once in this worker."""
        parsed = self._kept(repository)
        if parsed is not None:
            return parsed
        key = repository.caller.repository.location
        with self._loading:
            parsed = self._kept(repository)
            if parsed is not None:
                return parsed
            record = self._store.begin(key)
            if record is None:
                return None
            document = record.document
            entries = {tag: parse_entry(tag, one, repository) for tag, one in document.items()}
            return self._keep(key, Parsed(Record(record.generation, record.revision, {}), entries))

    def _kept(self, repository: ProjectRepository) -> Parsed | None:
        """The record as this worker has parsed it, if it did not change since."""
        key = repository.caller.repository.location
        revision = self._store.revision(key)
        with self._lock:
            parsed = self._parsed.get(key)
            if parsed is not None and parsed.record.revision == revision:
                self._parsed.move_to_end(key)
                return parsed
            self._parsed.pop(key, None)
        return None

    def _keep(self, key: str, parsed: Parsed) -> Parsed:
        with self._lock:
            self._parsed[key] = parsed
            self._parsed.move_to_end(key)
            size = sum(one.size for one in self._parsed.values())
            while size > _MOST_PARSED and len(self._parsed) > 1:
                size -= self._parsed.popitem(last=False)[1].size
        return parsed

    def _remember(
        self,
        repository: ProjectRepository,
        known: Parsed | None,
        read: Mapping[str, Entry],
        tags: Sequence[str] | None,
    ) -> Parsed | None:
        """Add what was read to the record; of others, keep what is among `tags` (None = all)."""
        if known is None:
            return None
        kept = known.entries if tags is None else _those_of(known.entries, tags)
        entries = {tag: one for tag, one in {**kept, **read}.items() if one.kept}
        changed, revision = document_of(read), known.record.revision
        if changed:
            written = self._store.write(
                repository.caller.repository.location, known.record, document_of(entries), changed
            )
            if written is None:
                return None
            revision = written
        record = Record(known.record.generation, revision, {})
        return self._keep(repository.caller.repository.location, Parsed(record, entries))


def _is_answered(found: Read) -> bool:
    return found.answered if isinstance(found, Skipped) else found is not None


def _present(entries: Mapping[str, Entry | None]) -> dict[str, Entry]:
    return {tag: entry for tag, entry in entries.items() if entry is not None}


def _those_of(entries: Mapping[str, Entry], tags: Sequence[str]) -> dict[str, Entry]:
    wanted = set(tags)
    return {tag: entry for tag, entry in entries.items() if tag in wanted}
