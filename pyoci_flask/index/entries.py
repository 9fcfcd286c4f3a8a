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

from packaging.utils import canonicalize_version

from pyoci_flask.errors import PyOCIError
from pyoci_flask.index.fetch import Read
from pyoci_flask.index.names import version_of, version_or_none
from pyoci_flask.index.project import files_of
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.store import Store, Stored
from pyoci_flask.index.versions import Skipped, VersionFiles, listed_files
from pyoci_flask.oci.model import ImageIndex
from pyoci_flask.oci.reference import Digest

_OVERHEAD = 500
"""Bytes that each tag counts as, in addition to its index."""
_GONE_FOR = 5.0
"""Seconds until a tag that is listed but does not exist is read again. Some registries still list
deleted tags."""
_NUMBERS_LIVE = 24 * 60 * 60.0
"""Seconds for which numbers of changes are kept. Without its number, an entry is not valid."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What was read from a tag."""

    changes: int
    """The version's number of changes before the registry was asked."""
    since: float
    until: float
    """The time at which it expires, by this worker's clock."""
    found: Read
    """None if the tag was listed but does not exist."""

    @property
    def weight(self) -> int:
        """The bytes that it counts as in a listing."""
        return self.found.weight if isinstance(self.found, VersionFiles) else 0

    @property
    def size(self) -> int:
        """The bytes that it counts as in this worker's memory."""
        document = self.found.document if isinstance(self.found, VersionFiles) else None
        return _OVERHEAD + len(document or "")


class Entries:
    """Reads and writes entries and numbers of changes in a store."""

    def __init__(
        self, store: Store, ttl: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._ttl = ttl
        self._clock = clock
        self._parsing = threading.Lock()
        """Lets one thread parse at a time, because parsing takes several times a project's size."""

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def changes(self, repository: ProjectRepository) -> int | None:
        """Return the repository's number of changes, or None if the store does not work."""
        key = _changes_key(repository.caller.repository.location)
        return self._numbers(self._store.get_many([key]), [key]).get(key)

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
        location = repository.caller.repository.location
        keys = {tag: _changes_key(location, tag) for tag in tags}
        with self._parsing if len(tags) > 1 else nullcontext():
            now = self._clock()
            stored = self._store.get_many(
                [*keys.values(), *(_entry_key(location, tag) for tag in tags)]
            )
            numbers = self._numbers(stored, keys.values())
            entries = {
                tag: entry
                for tag, key in keys.items()
                if (value := stored.get(_entry_key(location, tag))) is not None
                and (entry := _parse(tag, value, repository, now, parsed.get(tag))) is not None
                and entry.changes == numbers.get(key)
            }
        return entries, {tag: numbers[key] for tag, key in keys.items() if key in numbers}

    def write(
        self,
        repository: ProjectRepository,
        read: Mapping[str, Read],
        numbers: Mapping[str, int],
        sent: float,
    ) -> tuple[dict[str, Entry], int | None]:
        """Write what was read by a request that was sent at `sent`, when `numbers` were current.

        Return the entries that were written, and the repository's number of changes after that.
        """
        location = repository.caller.repository.location
        entries: dict[str, Entry] = {}
        values: dict[float, dict[str, bytes]] = {}
        for tag, found in read.items():
            value = _serialized(numbers[tag], found) if tag in numbers else None
            if value is not None:
                until = sent + (self._ttl if found is not None else min(_GONE_FOR, self._ttl))
                entries[tag] = Entry(numbers[tag], sent, until, found)
                values.setdefault(until, {})[_entry_key(location, tag)] = value
        now = self._clock()
        if not values or not all(
            self._store.set_many(part, until - now) for until, part in values.items()
        ):
            return {}, None
        key = _changes_key(location)
        return entries, self._store.increment([key]).get(key)

    def _numbers(self, stored: Mapping[str, Stored], keys: Collection[str]) -> dict[str, int]:
        """Return numbers of changes. Missing ones start at random values, so none is used twice."""
        found = {
            key: int(stored[key].value)
            for key in keys
            if key in stored and stored[key].value.isdigit()
        }
        values = {key: str(secrets.randbits(62)).encode() for key in keys if key not in found}
        # If another thread has started some of them in the meantime, its numbers count.
        started = self._store.start_many(values, _NUMBERS_LIVE) if values else {}
        return found | {key: int(value) for key, value in started.items() if value.isdigit()}


def _entry_key(location: str, tag: str) -> str:
    return f"entry\n{location}\n{tag}"


def _changes_key(location: str, tag: str | None = None) -> str:
    """Return the key of the number of changes of a repository, or of a tag's version."""
    version = tag and version_or_none(version_of(tag))
    return f"changes\n{location}\n{(canonicalize_version(version) if version else tag) or ''}"


def _serialized(changes: int, found: Read) -> bytes | None:
    """Serialize an entry for the store, or return None if it must not be cached."""
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
    return json.dumps({"changes": changes, **members}).encode()


def _parse(
    tag: str, stored: Stored, repository: ProjectRepository, now: float, old: Entry | None
) -> Entry | None:
    """Parse an entry; return None if it is damaged."""
    try:
        members = json.loads(stored.value)
        found: Read = None
        if "skipped" in members:
            found = Skipped(members["skipped"], is_version=members["is_version"])
        elif (
            old
            and isinstance(old.found, VersionFiles)
            and old.found.digest.text == members.get("digest")
        ):
            found = old.found
        elif "digest" in members:
            index, version = ImageIndex.parse(members["document"].encode()), version_of(tag)
            files, _ = files_of(index, version, repository.project, repository.segment)
            found = listed_files(version, Digest(members["digest"]), members["document"], files)
        return Entry(members["changes"], now, now + stored.left, found)
    except (ValueError, TypeError, LookupError, AttributeError, PyOCIError):
        return None
