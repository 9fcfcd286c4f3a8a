"""The entries of the listing cache and the numbers of changes, as the store keeps them.

Each version has a number of changes, which every change through this server increments. An entry
contains the number from before the registry was asked, and is valid only while the number is the
same. So what was read before a change is never shown after it. Each repository has a number as
well, which every change and every new entry increments. While it is the same, what was read from
the store is up to date.

A number starts at a random value. So if the store drops a number to make room, the entries that
were read before do not become valid again.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

from packaging.utils import canonicalize_version

from pyoci_flask.common.grammar import is_tag
from pyoci_flask.errors import PyOCIError
from pyoci_flask.index.fetch import Read
from pyoci_flask.index.lifetimes import Lifetimes
from pyoci_flask.index.names import version_of, version_or_none
from pyoci_flask.index.project import files_of, last_change
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.store import Store, Stored
from pyoci_flask.index.versions import Skipped, VersionFiles, listed_files
from pyoci_flask.oci.model import ImageIndex
from pyoci_flask.oci.reference import Digest, Registry

_OVERHEAD = 500
"""Bytes that each tag counts as, in addition to its index."""
_NUMBERS_LIVE = 24 * 60 * 60.0
"""Seconds for which numbers of changes are kept, in addition to the life of an entry. Without its
number, an entry is not valid."""
_LEASE = 60.0
"""Seconds after which another check of a repository may begin if one fails or does not end."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What was read from a tag. Times are seconds since 1970."""

    changes: int
    """The version's number of changes before the registry was asked."""
    since: float
    """When it was read."""
    until: float
    """Until then it counts as fresh."""
    shown_until: float
    """Until then pages show it. If it is not fresh, the registry is asked afterwards."""
    found: Read
    """None if the tag was listed but does not exist."""

    @classmethod
    def of(cls, changes: int, found: Read, read: float, lifetimes: Lifetimes) -> Self:
        """Return the entry of what was read at `read`."""
        fresh, shown = lifetimes.of(found, read)
        return cls(changes, read, read + fresh, read + shown, found)

    @property
    def version(self) -> VersionFiles | None:
        """The version that was read, if the tag contains one."""
        return self.found if isinstance(self.found, VersionFiles) else None

    @property
    def weight(self) -> int:
        """The bytes that it counts as in a listing."""
        return self.version.weight if self.version else 0

    @property
    def size(self) -> int:
        """The bytes that it counts as in this worker's memory."""
        return _OVERHEAD + len((self.version and self.version.document) or "")


class Entries:
    """Reads and writes entries and numbers of changes in a store."""

    def __init__(
        self,
        store: Store,
        lifetimes: Lifetimes,
        clock: Callable[[], float] = time.time,
        *,
        in_process: Callable[[Registry], bool] = lambda _: False,
    ) -> None:
        """Keep entries for as long as `lifetimes` says.

        No old entries of a registry that is `in_process` are shown, because asking it costs little.
        """
        self._store = store
        self._lifetimes = lifetimes
        self._clock = clock
        self._in_process = in_process
        self._parsing = threading.Lock()
        """Lets one thread parse at a time, because parsing takes several times a project's size."""

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def changes(self, repository: ProjectRepository) -> int | None:
        """Return the repository's number of changes, or None if the store does not work."""
        key = _changes_key(repository.caller.repository.location)
        return self._numbers(self._store.get_many([key]), [key]).get(key)

    def all_changes(self, locations: Iterable[str]) -> dict[str, int]:
        """Return the numbers of changes of many repositories, as far as they have one."""
        keys = {_changes_key(location): location for location in locations}
        stored = self._store.get_many(keys)
        return {keys[key]: int(one.value) for key, one in stored.items() if one.value.isdigit()}

    def count_change(self, repositories: Iterable[ProjectRepository], tag: str) -> None:
        """Count a change of a tag's version, whose entries are then no longer valid."""
        locations = [one.caller.repository.location for one in repositories]
        self._store.increment(
            [key for one in locations for key in (_changes_key(one, tag), _changes_key(one))]
        )

    def look_up(
        self, repository: ProjectRepository, tags: Collection[str], parsed: Mapping[str, Entry]
    ) -> tuple[dict[str, Entry], dict[str, int]]:
        """Return the stored entries of these tags, and their versions' numbers of changes.

        Entries that are the same in `parsed` are not parsed again.
        """
        location, lifetimes = repository.caller.repository.location, self._lifetimes_of(repository)
        keys = {tag: _changes_key(location, tag) for tag in tags}
        with self._parsing if len(tags) > 1 else nullcontext():
            stored = self._store.get_many(
                [*keys.values(), *(_entry_key(location, tag) for tag in tags)]
            )
            numbers = self._numbers(stored, keys.values())
            entries = {
                tag: entry
                for tag, key in keys.items()
                if (value := stored.get(_entry_key(location, tag))) is not None
                and (entry := _parse(tag, value, repository, lifetimes, parsed.get(tag)))
                is not None
                and entry.changes == numbers.get(key)
            }
        return entries, {tag: numbers[key] for tag, key in keys.items() if key in numbers}

    def write(
        self,
        repository: ProjectRepository,
        read: Mapping[str, Read],
        numbers: Mapping[str, int],
        sent: float,
        others: Mapping[str, Entry] = MappingProxyType({}),
        *,
        count: bool = True,
    ) -> tuple[dict[str, Entry], int | None]:
        """Write what was read by a request that was sent at `sent`, when `numbers` were current.

        `others` are further entries in the store. `count` increments the repository's number of
        changes. It is false if only the times of entries in the store change. Return the entries
        that were written, and the incremented number.
        """
        location, lifetimes = repository.caller.repository.location, self._lifetimes_of(repository)
        entries = {
            tag: Entry.of(numbers[tag], found, sent, lifetimes)
            for tag, found in read.items()
            if tag in numbers
        }
        values: dict[float, dict[str, bytes]] = {}
        for tag, entry in list(entries.items()):
            value = _serialized(entry)
            if value is None:
                del entries[tag]
                continue
            kept = entry.until if entry.version is None else sent + self._lifetimes.longest
            values.setdefault(kept, {})[_entry_key(location, tag)] = value
        versions = [
            (entry.shown_until, tag)
            for tag, entry in {**others, **entries}.items()
            if entry.version is not None
        ]
        if versions and values:
            until, tag = max(versions)
            values.setdefault(until, {})[_sample_key(location)] = tag.encode()
        now = self._clock()
        if not values or not all(
            self._store.set_many(part, until - now) for until, part in values.items()
        ):
            return {}, None
        key = _changes_key(location)
        return entries, self._store.increment([key]).get(key) if count else None

    def sample(self, repository: ProjectRepository) -> str | None:
        """Return the tag of a version in the store that may be shown, if there is one."""
        key = _sample_key(repository.caller.repository.location)
        stored = self._store.get_many([key]).get(key)
        tag = stored.value.decode(errors="replace") if stored else ""
        return tag if is_tag(tag) else None

    def begin_check(self, repository: ProjectRepository) -> bytes | None:
        """Return a lease if a check of a repository's old entries may begin, otherwise None.

        Only one may run at a time, in all processes that share the store. It counts as running
        until `end_check` is called, or for a minute.
        """
        key, own = _check_key(repository), secrets.token_bytes(16)
        return own if self._store.start_many({key: own}, _LEASE).get(key) == own else None

    def end_check(self, repository: ProjectRepository, lease: bytes) -> None:
        """Let another check begin, unless the lease has expired and another one is running."""
        key = _check_key(repository)
        stored = self._store.get_many([key]).get(key)
        if stored is not None and stored.value == lease:
            self._store.set_many({key: b""}, 0.0)

    def _lifetimes_of(self, repository: ProjectRepository) -> Lifetimes:
        asks_first = self._in_process(repository.caller.repository.registry)
        return Lifetimes(self._lifetimes.ttl) if asks_first else self._lifetimes

    def _numbers(self, stored: Mapping[str, Stored], keys: Collection[str]) -> dict[str, int]:
        """Return numbers of changes. Missing ones start at random values, so none is used twice."""
        found = {
            key: int(stored[key].value)
            for key in keys
            if key in stored and stored[key].value.isdigit()
        }
        values = {key: str(secrets.randbits(62)).encode() for key in keys if key not in found}
        # If another thread has started some of them in the meantime, its numbers count.
        started = (
            self._store.start_many(values, _NUMBERS_LIVE + self._lifetimes.longest)
            if values
            else {}
        )
        return found | {key: int(value) for key, value in started.items() if value.isdigit()}


def _entry_key(location: str, tag: str) -> str:
    return f"entry\n{location}\n{tag}"


def _changes_key(location: str, tag: str | None = None) -> str:
    """Return the key of the number of changes of a repository, or of a tag's version."""
    version = tag and version_or_none(version_of(tag))
    return f"changes\n{location}\n{(canonicalize_version(version) if version else tag) or ''}"


def _sample_key(location: str) -> str:
    return f"sample\n{location}"


def _check_key(repository: ProjectRepository) -> str:
    return f"check\n{repository.caller.repository.location}"


def _serialized(entry: Entry) -> bytes | None:
    """Serialize an entry for the store, or return None if it must not be cached."""
    found = entry.found
    if found is None:
        members: dict[str, object] = {}
    elif isinstance(found, Skipped):
        if not found.answered:
            return None
        members = {"skipped": found.reason, "is_version": found.is_version}
    else:
        if found.document is None:
            return None
        members = {"digest": found.digest.text, "document": found.document}
    return json.dumps({"changes": entry.changes, "read": entry.since, **members}).encode()


def _parse(
    tag: str, stored: Stored, repository: ProjectRepository, lifetimes: Lifetimes, old: Entry | None
) -> Entry | None:
    """Parse an entry; return None if it is damaged."""
    try:
        members = json.loads(stored.value)
        found: Read = None
        if "skipped" in members:
            found = Skipped(members["skipped"], is_version=members["is_version"])
        elif old and old.version and old.version.digest.text == members.get("digest"):
            found = old.found
        elif "digest" in members:
            index, version = ImageIndex.parse(members["document"].encode()), version_of(tag)
            files, _ = files_of(index, version, repository.project, repository.segment, listed=True)
            digest, document = Digest(members["digest"]), members["document"]
            found = listed_files(version, digest, document, files, last_change(index))
        return Entry.of(members["changes"], found, float(members["read"]), lifetimes)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, PyOCIError):
        return None
