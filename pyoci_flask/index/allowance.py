"""How much of a worker's memory the listing of a project may use.

The unit is the `weight` of `VersionFiles`: bytes of JSON, and at least 1 KiB for each file. A
listing that needs more than a small part of the limit waits for its turn, so that only a few large
ones are in memory at once.
"""

import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial

from pyoci_flask.common.budget import ByteBudget
from pyoci_flask.errors import (
    AuthenticationRequiredError,
    BusyError,
    DeniedError,
    PyOCIError,
    RegistryError,
    RegistryTimeoutError,
    RegistryUnreachableError,
    TransferBrokenError,
)
from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.index.names import version_of
from pyoci_flask.index.project_repository import ProjectRepository, load_files
from pyoci_flask.index.version_index import BEYOND, Skipped, VersionFiles
from pyoci_flask.oci.reference import Tag

LISTING_LIMIT = 16 * 1024 * 1024
_SMALL = 1024 * 1024
"""The most that a listing may weigh without waiting for a turn."""
_LARGE = ByteBudget(2 * LISTING_LIMIT, share=LISTING_LIMIT)
Read = VersionFiles | Skipped | None
_OF_ONE = (
    AuthenticationRequiredError,
    DeniedError,
    RegistryError,
    RegistryTimeoutError,
    RegistryUnreachableError,
    TransferBrokenError,
)
"""Errors that may concern one version only: its document is broken, or reading it is denied."""


class Failures:
    """Errors of versions, up to a limit, that do not make the whole listing fail."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self.errors: list[PyOCIError] = []

    def take(self, error: PyOCIError) -> bool:
        """Add an error; return whether the number of errors is within the limit."""
        with self._lock:
            self.errors.append(error)
            return len(self.errors) <= self._most


class Allowance:
    """The weight that one listing may still use."""

    def __init__(
        self, share: str, pool: FetchPool, held: ExitStack, failures: Failures | None = None
    ) -> None:
        """The turn of a large listing ends when `held` is closed."""
        self._share = share
        self._pool = pool
        self._held = held
        self._lock = threading.Lock()
        self._most = _SMALL
        self._spent = 0
        self._full = False
        self._failures = failures
        self._answered: dict[str, dict[str, Read]] = {}

    def answered(self, repository: ProjectRepository) -> dict[str, Read]:
        """Return what was read of a repository, even if the listing fails."""
        with self._lock:
            return dict(self._answered.get(repository.segment, {}))

    def spend(self, weight: int) -> None:
        """Count what is already in memory; wait for a turn if that is a lot.

        Raises:
            BusyError: other large listings take too long.
        """
        self._spent += weight
        if self._spent > self._most == _SMALL:
            self._wait()

    def read(self, repository: ProjectRepository, tags: Sequence[str]) -> dict[str, Read]:
        """Read versions in this order. Those that do not fit are `BEYOND`.

        Raises:
            BusyError: other large listings take too long.
        """
        read = partial(self._read, repository)
        found = dict(zip(tags, self._pool.map(self._share, read, tags), strict=True))
        again = [tag for tag, one in found.items() if one is BEYOND]
        if again and self._most == _SMALL:
            self._wait()
            found |= zip(again, self._pool.map(self._share, read, again), strict=True)
        return found

    def _read(self, repository: ProjectRepository, tag: str) -> Read:
        if self._full:
            return BEYOND
        try:
            found = load_files(repository, version_of(tag), Tag(tag), lambda: not self._full)
        except _OF_ONE as error:
            if self._failures is None or not self._failures.take(error):
                raise
            return Skipped(str(error), is_version=True, answered=False)
        weight = found.weight if isinstance(found, VersionFiles) else 0
        with self._lock:
            self._answered.setdefault(repository.segment, {})[tag] = found
            if self._spent + weight > self._most:
                self._grow()
            if self._spent + weight > self._most:
                self._full = True
                return BEYOND
            self._spent += weight
        return found

    def _grow(self) -> None:
        """Begin the turn of a large listing, unless others have to end first."""
        if self._most == _SMALL:
            with suppress(BusyError):
                self._wait(patience=0.0)

    def _wait(self, patience: float | None = None) -> None:
        """Wait for the turn of a large listing. Threads of the pool never wait here."""
        self._held.enter_context(_LARGE.hold(LISTING_LIMIT, self._share, patience))
        self._most, self._full = LISTING_LIMIT, False
