"""Ask the registry whether old versions have changed, while no request waits for the answer.

This is `stale-while-revalidate` (RFC 5861, section 3). Each version takes one HEAD, which does not
count as a pull.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

from pyoci_flask.errors import AuthenticationRequiredError, DeniedError, PyOCIError
from pyoci_flask.index.entries import Entries, Entry
from pyoci_flask.index.fetch import FetchPool, Read
from pyoci_flask.index.known import KnownVersions
from pyoci_flask.index.names import version_of
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.versions import load_files
from pyoci_flask.oci.manifest_digests import UnconfirmedMissingError, head_manifest
from pyoci_flask.oci.reference import Tag

logger = logging.getLogger("pyoci.cache")

_LONGEST = 30.0
"""Seconds after which a check makes no further calls. The next page continues from there."""


class Recheck:
    """One check of a repository's old entries, with the credentials of the caller who saw them.

    It ends at the first error, because the registry may be busy. Then no other check of this
    repository begins for a minute.

    If the caller is denied, or if every version is reported as missing, the caller may have lost
    the right to read, and has to prove it again.
    """

    def __init__(
        self,
        repository: ProjectRepository,
        entries: Entries,
        known: KnownVersions,
        pool: FetchPool,
        learn: Callable[[Mapping[str, Read]], Mapping[str, Read]],
        deny: Callable[[], None],
        now: float,
    ) -> None:
        """Use `pool` for the calls, and keep their results in `entries` and `known`.

        `learn` is called with what was read, and returns what is true for all callers. `deny` is
        called if the caller may no longer read. `now` is the time at which the calls are made.
        """
        caller = replace(repository.caller, may_wait=False)
        self._repository = replace(repository, caller=caller)
        self._entries = entries
        self._known = known
        self._pool = pool
        self._learn, self._deny = learn, deny
        self._lock = threading.Lock()
        self._running = 1
        self._failed = False
        self._denied = False
        self._takes_head = True
        self._due: deque[str] = deque()
        self._sent = now
        self._read: dict[str, Read] = {}
        self._until = time.monotonic() + _LONGEST

    def begin(self, old: Mapping[str, Entry]) -> None:
        """Check the versions of these entries.

        Do nothing if no thread is free, or if another check of the repository is running.
        """
        versions = {tag: entry for tag, entry in old.items() if entry.version}
        if versions:
            self._begin(lambda: self._lead(versions))

    def _begin(self, function: Callable[[], None]) -> bool:
        share = self._pool.share(self._repository.caller.repository.registry)
        return self._pool.begin_background(share, function)

    def _lead(self, old: Mapping[str, Entry]) -> None:
        lease = self._entries.begin_check(self._repository)
        if lease is None:
            return
        self._lease = lease
        self._begun = known = self._known.get(self._repository)
        # Another process may have checked some of them since this one parsed them.
        self._stored, self._numbers = self._entries.look_up(
            self._repository, old, {**known.parsed, **old}
        )
        self._known.keep(self._repository, known.renewed(self._stored))
        self._due.extend(
            tag
            for tag, entry in self._stored.items()
            if entry.version and entry.until <= self._sent
        )
        for _ in range(len(self._due) - 1):
            with self._lock:
                self._running += 1
            if not self._begin(self._work):
                with self._lock:
                    self._running -= 1
                break
        self._work()

    def _work(self) -> None:
        try:
            while (tag := self._next()) is not None:
                self._read[tag] = self._ask(tag)
        except BaseException as error:
            self._failed = True
            self._due.clear()
            if not isinstance(error, PyOCIError):
                raise
            if isinstance(error, AuthenticationRequiredError | DeniedError):
                self._denied = True
                self._deny()
            name = self._repository.caller.repository
            logger.info("%s: could not check whether old versions have changed: %s", name, error)
        finally:
            with self._lock:
                self._running -= 1
                is_last = not self._running
            if is_last and not self._pool.closed:
                self._end()

    def _next(self) -> str | None:
        if self._pool.closed or time.monotonic() >= self._until:
            return None
        try:
            return self._due.popleft()
        except IndexError:
            return None

    def _ask(self, tag: str) -> Read:
        known = self._stored[tag].version
        if known is not None and self._takes_head:
            try:
                digest = head_manifest(self._repository.caller, Tag(tag))
            except UnconfirmedMissingError:
                pass
            else:
                if digest == known.digest:
                    return known
                self._takes_head = digest is not None
        return load_files(self._repository, version_of(tag), Tag(tag), known=known)

    def _end(self) -> None:
        if self._read:
            if not any(self._read.values()):
                # Registries report every tag as missing to callers without permission to read.
                self._deny()
            read = self._learn(self._read)
            if self._denied:
                self._deny()  # what was read before the denial counts as a proof
            known = self._known.get(self._repository)
            # What was read before a change must not count as read after it.
            known = known if known.changes == self._begun.changes else self._begun
            self._known.write(
                self._repository, known, read, self._numbers, self._sent, before=self._stored
            )
        if not self._failed:
            self._entries.end_check(self._repository, self._lease)
